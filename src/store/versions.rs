//! Rows of dataset versions and of the segments that they share. Neither is ever changed; they go with their dataset.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Store,
    row::{count, json, parsed, to_json},
};
use crate::{
    domain::{
        dataset::{Class, SplitCounts},
        page::{Order, Page, PageRequest},
        time::Timestamp,
        version::{Change, ChangeKind, Version},
    },
    error::Result,
    id::DatasetId,
    protocol::IngestResult,
};

/// A version whose files are blobs already.
#[derive(Clone, Debug)]
pub struct NewVersion {
    pub dataset: DatasetId,
    pub version: u32,
    pub change: Change,
    pub images: u64,
    pub classes: Vec<Class>,
    pub splits: SplitCounts,
    pub content_sha256: String,
    /// Digest of the manifest.
    pub manifest: String,
    /// Numbers of the segments that its manifest names.
    pub segments: Vec<u32>,
    /// The one among them that comes with it.
    pub new_segment: Option<NewSegment>,
    /// The id that the next image of the dataset gets.
    pub next_image: u32,
}

/// Digests of a segment's files.
#[derive(Clone, Debug)]
pub struct NewSegment {
    pub number: u32,
    pub images: String,
    pub pack: String,
    pub pack_side: u32,
}

/// Digests of a version's files.
#[derive(Clone, Debug)]
pub struct VersionFiles {
    pub manifest: String,
    /// Those that its manifest names, in the order of their numbers.
    pub segments: Vec<SegmentFiles>,
}

/// Digests of a segment's files.
#[derive(Clone, Debug)]
pub struct SegmentFiles {
    pub number: u32,
    /// The version that it came with, whose manifest names every image in it.
    pub version: u32,
    pub images: String,
    pub pack: String,
    pub pack_side: u32,
}

impl NewVersion {
    /// What ingest made of a dataset's archive.
    pub fn first(dataset: DatasetId, result: IngestResult, pack_side: u32) -> Self {
        Self {
            dataset,
            version: 1,
            change: Change {
                added: result.images,
                ..Change::of(ChangeKind::Upload)
            },
            images: result.images,
            classes: result.classes,
            splits: result.splits,
            content_sha256: result.content_sha256,
            manifest: result.manifest.sha256,
            segments: vec![0],
            new_segment: Some(NewSegment {
                number: 0,
                images: result.images_file.sha256,
                pack: result.pack.sha256,
                pack_side,
            }),
            next_image: result.images as u32,
        }
    }
}

impl Store {
    /// Adds the version after the newest one. False when another change was faster, or the dataset has gone.
    pub async fn add_version(&self, new: NewVersion) -> Result<bool> {
        let dataset = new.dataset;
        let added = self
            .write(move |connection| {
                Box::pin(async move {
                    let before: Option<u32> =
                        sqlx::query_scalar("select version from datasets where id = $1 and status = 'ready'")
                            .bind(new.dataset.to_string())
                            .fetch_optional(&mut *connection)
                            .await?;
                    if before.map(|before| before + 1) != Some(new.version) {
                        return Ok(false);
                    }
                    insert(connection, new).await?;
                    Ok(true)
                })
            })
            .await?;
        self.dataset_changed(dataset);
        Ok(added)
    }

    /// Versions of a dataset; a page goes on after a version's number.
    pub async fn versions(&self, dataset: DatasetId, page: &PageRequest) -> Result<Page<Version>> {
        let (comparison, direction) = match page.order {
            Order::Desc => ("<", "desc"),
            Order::Asc => (">", "asc"),
        };
        let sql = format!(
            "select * from dataset_versions
            where dataset_id = $1 and ($2 is null or version {comparison} cast($2 as integer))
            order by version {direction}
            limit $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(dataset.to_string())
            .bind(&page.after)
            .bind(page.limit + 1)
            .fetch_all(&self.readers)
            .await?;
        let versions = rows.iter().map(read_version).collect::<Result<Vec<_>>>()?;
        Ok(Page::from_rows(versions, page.limit))
    }

    /// A version of a dataset, if there is this one.
    pub async fn version(&self, dataset: DatasetId, version: u32) -> Result<Option<Version>> {
        let row = sqlx::query("select * from dataset_versions where dataset_id = $1 and version = $2")
            .bind(dataset.to_string())
            .bind(version)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(read_version).transpose()
    }

    /// The files of a version, if there is this one.
    pub async fn version_files(&self, dataset: DatasetId, version: u32) -> Result<Option<VersionFiles>> {
        let manifest: Option<String> = sqlx::query_scalar(
            "select manifest_blob from dataset_versions where dataset_id = $1 and version = $2",
        )
        .bind(dataset.to_string())
        .bind(version)
        .fetch_optional(&self.readers)
        .await?;
        let Some(manifest) = manifest else { return Ok(None) };
        let rows = sqlx::query(
            "select segments.*
            from version_segments
            join segments on segments.dataset_id = version_segments.dataset_id and segments.number = version_segments.segment
            where version_segments.dataset_id = $1 and version_segments.version = $2
            order by number",
        )
        .bind(dataset.to_string())
        .bind(version)
        .fetch_all(&self.readers)
        .await?;
        let segments = rows.iter().map(read_segment).collect::<Result<Vec<_>>>()?;
        Ok(Some(VersionFiles { manifest, segments }))
    }

    /// The id that the next image of a dataset gets, and the number that its next segment gets.
    pub async fn next_of_dataset(&self, dataset: DatasetId) -> Result<(u32, u32)> {
        let row = sqlx::query(
            "select next_image, (select coalesce(max(number), -1) + 1 from segments where dataset_id = id) as next_segment
            from datasets
            where id = $1",
        )
        .bind(dataset.to_string())
        .fetch_one(&self.readers)
        .await?;
        Ok((row.try_get("next_image")?, row.try_get("next_segment")?))
    }

    /// Versions that were made before there were digests of their contents, each with its manifest and the names of its classes.
    pub async fn versions_without_digest(&self) -> Result<Vec<(DatasetId, u32, String, Vec<Class>)>> {
        let rows = sqlx::query(
            "select * from dataset_versions where content_sha256 is null order by dataset_id, version",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let (version, manifest) = (row.try_get("version")?, row.try_get("manifest_blob")?);
                Ok((
                    parsed(row, "dataset_id")?,
                    version,
                    manifest,
                    json(row, "classes")?,
                ))
            })
            .collect()
    }

    /// Writes down what was missing of such a version: its digest, and its classes with the counts of their parts.
    pub async fn complete_version(
        &self,
        dataset: DatasetId,
        version: u32,
        content_sha256: String,
        classes: Vec<Class>,
    ) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "update dataset_versions
                    set content_sha256 = $3, classes = $4
                    where dataset_id = $1 and version = $2 and content_sha256 is null",
                )
                .bind(dataset.to_string())
                .bind(version)
                .bind(content_sha256)
                .bind(to_json(&classes)?)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }
}

/// Adds the rows of a version and makes it its dataset's newest.
pub(super) async fn insert(connection: &mut SqliteConnection, new: NewVersion) -> Result<()> {
    let dataset = new.dataset.to_string();
    if let Some(segment) = &new.new_segment {
        sqlx::query(
            "insert into segments (dataset_id, number, version, images_blob, pack_blob, pack_side)
            values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&dataset)
        .bind(segment.number)
        .bind(new.version)
        .bind(&segment.images)
        .bind(&segment.pack)
        .bind(segment.pack_side)
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query(
        "insert into dataset_versions (dataset_id, version, created_at, change, images, classes, splits, content_sha256, manifest_blob)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&dataset)
    .bind(new.version)
    .bind(Timestamp::now().0)
    .bind(to_json(&new.change)?)
    .bind(new.images as i64)
    .bind(to_json(&new.classes)?)
    .bind(to_json(&new.splits)?)
    .bind(new.content_sha256)
    .bind(new.manifest)
    .execute(&mut *connection)
    .await?;
    for segment in new.segments {
        sqlx::query("insert into version_segments (dataset_id, version, segment) values ($1, $2, $3)")
            .bind(&dataset)
            .bind(new.version)
            .bind(segment)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("update datasets set version = $2, next_image = $3 where id = $1")
        .bind(&dataset)
        .bind(new.version)
        .bind(new.next_image)
        .execute(connection)
        .await?;
    Ok(())
}

fn read_version(row: &SqliteRow) -> Result<Version> {
    Ok(Version {
        object: "dataset_version".to_owned(),
        dataset: parsed(row, "dataset_id")?,
        version: row.try_get("version")?,
        created_at: Timestamp(row.try_get("created_at")?),
        change: json(row, "change")?,
        images: count(row, "images")?,
        classes: json(row, "classes")?,
        splits: json(row, "splits")?,
        content_sha256: row.try_get("content_sha256")?,
    })
}

fn read_segment(row: &SqliteRow) -> Result<SegmentFiles> {
    Ok(SegmentFiles {
        number: row.try_get("number")?,
        version: row.try_get("version")?,
        images: row.try_get("images_blob")?,
        pack: row.try_get("pack_blob")?,
        pack_side: row.try_get("pack_side")?,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sqlx::{SqlitePool, migrate::Migrator, sqlite::SqliteConnectOptions};

    use super::*;
    use crate::{
        digest,
        domain::{dataset::DatasetStatus, split::Split},
        fixtures::Stand,
    };

    /// A database as the program before versions left it.
    async fn database_of_before(file: &Path) -> (DatasetId, DatasetId, String) {
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        let mut migrator = sqlx::migrate!();
        migrator.migrations = migrator
            .iter()
            .filter(|step| step.version <= 3)
            .cloned()
            .collect();
        Migrator::run(&migrator, &pool).await.unwrap();
        let (ready, processing) = (DatasetId::new(), DatasetId::new());
        let blob = |name: &str| digest::of_bytes(name.as_bytes());
        sqlx::query(
            "insert into datasets (id, name, status, version, created_at, sha256, bytes, attempt, images, classes, splits, layout,
                manifest_blob, images_blob, pack_blob, pack_side, report_blob)
            values ($1, 'old', 'ready', 1, 1000, $2, 7, 1, 3, $3, '{\"train\":3,\"val\":0,\"test\":0}', '\"flat\"', $4, $5, $6, 256, $7)",
        )
        .bind(ready.to_string())
        .bind(blob("archive"))
        .bind(r#"[{"name":"ants","index":0,"images":2},{"name":"bees","index":1,"images":1}]"#)
        .bind(blob("manifest"))
        .bind(blob("images"))
        .bind(blob("pack"))
        .bind(blob("report"))
        .execute(&pool)
        .await
        .unwrap();
        sqlx::query(
            "insert into datasets (id, name, status, version, created_at, sha256, bytes, attempt, images, classes, splits)
            values ($1, 'new', 'processing', 1, 1000, $2, 7, 0, 0, '[]', '{\"train\":0,\"val\":0,\"test\":0}')",
        )
        .bind(processing.to_string())
        .bind(blob("other archive"))
        .execute(&pool)
        .await
        .unwrap();
        let job = crate::id::JobId::new().to_string();
        sqlx::query(
            "insert into jobs (id, kind, name, status, spec, dataset_id, dataset_version, device_choice, priority, max_attempts,
                not_before, created_at, attempt, deaths, milliseconds_used, cancel_requested)
            values ($1, 'train', 'old', 'queued', $2, $3, 1, 'auto', 0, 3, 0, 1000, 0, 0, 0, 0)",
        )
        .bind(&job)
        .bind(to_json(&crate::domain::spec::Spec::parse(&serde_json::json!({"dataset": "old"})).unwrap()).unwrap())
        .bind(ready.to_string())
        .execute(&pool)
        .await
        .unwrap();
        pool.close().await;
        (ready, processing, job)
    }

    #[tokio::test]
    async fn a_database_of_before_versions_goes_on_working() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("finetuned.db");
        let (ready, processing, job) = database_of_before(&file).await;
        let store = Store::open(&file).await.unwrap();

        let dataset = store.dataset("old").await.unwrap();
        assert_eq!(
            (dataset.version, dataset.latest_version, dataset.images),
            (1, 1, 3)
        );
        assert_eq!((dataset.classes.len(), dataset.splits.train), (2, 3));
        assert_eq!(dataset.content_sha256, None);
        let waiting = store.dataset("new").await.unwrap();
        assert_eq!(
            (waiting.id, waiting.status, waiting.images),
            (processing, DatasetStatus::Processing, 0)
        );

        let files = store.version_files(ready, 1).await.unwrap().unwrap();
        assert_eq!(files.manifest, digest::of_bytes(b"manifest"));
        assert_eq!((files.segments.len(), files.segments[0].pack_side), (1, 256));
        assert_eq!(files.segments[0].pack, digest::of_bytes(b"pack"));
        let kept = store.referenced_blobs().await.unwrap();
        for name in ["archive", "manifest", "images", "pack", "report", "other archive"] {
            assert!(kept.contains(&digest::of_bytes(name.as_bytes())), "{name}");
        }
        let versions = store.versions(ready, &first_page()).await.unwrap();
        assert_eq!((versions.data.len(), versions.data[0].change.added), (1, 3));
        assert_eq!(store.next_of_dataset(ready).await.unwrap(), (3, 1));

        let [(id, 1, _, classes)] = &store.versions_without_digest().await.unwrap()[..] else {
            panic!("the version that has no digest is not found");
        };
        let mut classes = classes.clone();
        classes[0].splits.train = 2;
        store
            .complete_version(*id, 1, "c".repeat(64), classes)
            .await
            .unwrap();
        assert_eq!(store.versions_without_digest().await.unwrap(), []);
        let dataset = store.dataset("old@1").await.unwrap();
        assert_eq!(dataset.content_sha256, Some("c".repeat(64)));
        assert_eq!(dataset.classes[0].splits.of(Split::Train), 2);

        let claimed = store
            .claim_job(vec!["cpu".to_owned()], false)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (claimed.id.to_string(), claimed.dataset.version),
            (job.clone(), 1)
        );
        assert_eq!(
            store.job(&job).await.unwrap().dataset.content_sha256,
            Some("c".repeat(64))
        );
    }

    fn first_page() -> PageRequest {
        PageRequest {
            limit: 20,
            after: None,
            order: Order::Asc,
        }
    }

    fn next(dataset: DatasetId, version: u32, segments: Vec<u32>) -> NewVersion {
        NewVersion {
            dataset,
            version,
            change: Change::of(ChangeKind::Edit),
            images: 5,
            classes: Vec::new(),
            splits: SplitCounts::default(),
            content_sha256: digest::of_bytes(&version.to_be_bytes()),
            manifest: digest::of_bytes(format!("manifest {version}").as_bytes()),
            segments,
            new_segment: None,
            next_image: 20,
        }
    }

    #[tokio::test]
    async fn of_two_changes_of_one_version_one_wins_and_old_versions_stay() {
        let stand = Stand::new().await;
        let first = stand.dataset("flowers").await;
        let store = &stand.store;
        assert!(store.add_version(next(first.id, 2, vec![0])).await.unwrap());
        assert!(
            !store.add_version(next(first.id, 2, vec![0])).await.unwrap(),
            "there is a version 2"
        );
        let mut third = next(first.id, 3, vec![0, 1]);
        third.new_segment = Some(NewSegment {
            number: 1,
            images: digest::of_bytes(b"more images"),
            pack: digest::of_bytes(b"more pixels"),
            pack_side: 256,
        });
        assert!(store.add_version(third).await.unwrap());

        let newest = store.dataset("flowers").await.unwrap();
        assert_eq!((newest.version, newest.latest_version, newest.images), (3, 3, 5));
        let old = store.dataset("flowers@1").await.unwrap();
        assert_eq!((old.version, old.latest_version, old.images), (1, 3, 20));
        assert_eq!(old.content_sha256, first.content_sha256);
        for absent in ["flowers@4", "flowers@0", "flowers@", "flowers@x"] {
            assert!(store.dataset(absent).await.is_err(), "{absent}");
        }
        assert_eq!(store.next_of_dataset(first.id).await.unwrap(), (20, 2));
        let segments = async |version| -> Vec<u32> {
            let files = store.version_files(first.id, version).await.unwrap().unwrap();
            files.segments.iter().map(|segment| segment.number).collect()
        };
        assert_eq!((segments(2).await, segments(3).await), (vec![0], vec![0, 1]));

        store.delete_dataset(first.id).await.unwrap();
        assert_eq!(store.referenced_blobs().await.unwrap().len(), 0);
        assert!(
            !store.add_version(next(first.id, 4, vec![0])).await.unwrap(),
            "it is gone"
        );
    }
}
