//! Rows of dataset versions and of the segments that they share. They go with their dataset, and until then nothing of them changes but
//! what `packs` notes of a segment's pack: when it was of use, and that it had to go.

#[cfg(test)]
mod tests;

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Store,
    access::quotas,
    recency,
    row::{count, json, owner, parsed, to_json},
};
use crate::{
    domain::{
        datasets::{
            dataset::Class,
            split::SplitCounts,
            version::{Change, ChangeKind, Version},
        },
        id::DatasetId,
        page::{Order, Page, PageRequest},
        time::Timestamp,
    },
    error::Result,
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
    /// Images with several labels, or with none of the classes.
    pub several_labels: u64,
    pub content_sha256: String,
    /// Digest of the manifest.
    pub manifest: String,
    /// Numbers of the segments that its manifest names.
    pub segments: Vec<u32>,
    /// The one among them that comes with it.
    pub new_segment: Option<SegmentFiles>,
    /// The id that the next image of the dataset gets.
    pub next_image: u32,
    /// Of the images that it adds.
    pub added_bytes: u64,
}

/// Digests of a segment's files.
#[derive(Clone, Debug)]
pub struct SegmentFiles {
    pub number: u32,
    pub images: String,
    pub pack: String,
    pub pack_bytes: u64,
    pub pack_side: u32,
}

/// Digests of a version's files.
#[derive(Clone, Debug)]
pub struct VersionFiles {
    pub manifest: String,
    /// Those that its manifest names, in the order of their numbers.
    pub segments: Vec<StoredSegment>,
}

/// A segment that is stored.
#[derive(Clone, Debug)]
pub struct StoredSegment {
    pub files: SegmentFiles,
    /// The version that it came with, whose manifest names every image in it.
    pub version: u32,
    /// Its pack was deleted to make room.
    pub pack_gone: bool,
}

impl NewVersion {
    /// What ingest made of a dataset's archive.
    pub fn first(dataset: DatasetId, result: IngestResult, segment: SegmentFiles) -> Self {
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
            several_labels: result.several_labels,
            content_sha256: result.content_sha256,
            manifest: result.manifest.sha256,
            segments: vec![segment.number],
            new_segment: Some(segment),
            next_image: result.images as u32,
            added_bytes: 0,
        }
    }
}

impl NewVersion {
    /// The version after `newest`, of an archive that was read again.
    pub(super) fn of_reading(
        dataset: DatasetId,
        newest: Newest,
        result: IngestResult,
        segment: SegmentFiles,
    ) -> Self {
        let change = Change {
            added: result.images,
            removed: newest.images,
            ..Change::of(ChangeKind::Reread)
        };
        let next_image = newest.next_image + result.images as u32;
        Self {
            version: newest.version + 1,
            change,
            next_image,
            ..Self::first(dataset, result, segment)
        }
    }
}

/// The newest version of a dataset.
pub(super) struct Newest {
    version: u32,
    images: u64,
    next_image: u32,
}

/// None if the dataset has no version yet.
pub(super) async fn newest(connection: &mut SqliteConnection, dataset: DatasetId) -> Result<Option<Newest>> {
    let row = sqlx::query(
        "select datasets.version, datasets.next_image, newest.images
        from datasets
        join dataset_versions as newest on newest.dataset_id = id and newest.version = datasets.version
        where id = $1",
    )
    .bind(dataset.to_string())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Newest {
        version: row.try_get("version")?,
        images: count(&row, "images")?,
        next_image: row.try_get("next_image")?,
    }))
}

impl Store {
    /// Adds the version after the newest one. False when another change was faster, or the dataset has gone.
    ///
    /// # Errors
    /// `quota-bytes` when the dataset's owner has no room for what it adds.
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
                    let added_bytes = new.added_bytes;
                    insert(&mut *connection, new).await?;
                    let row = sqlx::query("select owner_id, owner_name from datasets where id = $1")
                        .bind(dataset.to_string())
                        .fetch_one(&mut *connection)
                        .await?;
                    quotas::check_bytes(connection, owner(&row)?.as_ref(), added_bytes).await?;
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

    /// Writes down what was missing of such a version: its digest, and the counts of its classes' parts.
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
        let now = recency::now(connection).await?;
        sqlx::query(
            "insert into segments (dataset_id, number, version, images_blob, pack_blob, pack_side, pack_bytes, pack_used_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(&dataset)
        .bind(segment.number)
        .bind(new.version)
        .bind(&segment.images)
        .bind(&segment.pack)
        .bind(segment.pack_side)
        .bind(i64::try_from(segment.pack_bytes).unwrap_or(i64::MAX))
        .bind(now)
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query(
        "insert into dataset_versions
            (dataset_id, version, created_at, change, images, classes, splits, content_sha256, manifest_blob, several_labels)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
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
    .bind(new.several_labels as i64)
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
    sqlx::query(
        "update datasets set version = $2, next_image = $3, added_bytes = added_bytes + $4 where id = $1",
    )
    .bind(&dataset)
    .bind(new.version)
    .bind(new.next_image)
    .bind(i64::try_from(new.added_bytes).unwrap_or(i64::MAX))
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
        several_labels: count(row, "several_labels")?,
        content_sha256: row.try_get("content_sha256")?,
    })
}

fn read_segment(row: &SqliteRow) -> Result<StoredSegment> {
    Ok(StoredSegment {
        files: SegmentFiles {
            number: row.try_get("number")?,
            images: row.try_get("images_blob")?,
            pack: row.try_get("pack_blob")?,
            pack_bytes: count(row, "pack_bytes")?,
            pack_side: row.try_get("pack_side")?,
        },
        version: row.try_get("version")?,
        pack_gone: row.try_get("pack_gone")?,
    })
}
