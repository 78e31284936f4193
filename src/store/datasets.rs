//! Rows of datasets: claimed by an ingest child, finished when it has read the archive. `new_dataset` makes them.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Store, Topic, activations, references,
    row::{
        count, has_owner,
        list::{self, one_of},
        optional_json, owner, parsed, to_json, word,
    },
    sinks::outbox,
    versions::{self, NewVersion, SegmentFiles},
};
use crate::{
    domain::{
        datasets::{
            dataset::{Dataset, DatasetError, ReportSummary},
            reading::ReadOptions,
        },
        id::DatasetId,
        page::{Order, Page, PageRequest},
        sinks::{DatasetEnded, EventType},
        time::Timestamp,
    },
    error::{Error, Kind, Result},
    protocol::IngestResult,
};

/// A dataset that waits for its ingest child.
#[derive(Clone, Debug)]
pub struct DatasetToIngest {
    pub id: DatasetId,
    /// Digest of the archive.
    pub archive: String,
    /// Of the child that is to be started, from 1.
    pub attempt: u32,
    pub options: ReadOptions,
    /// The id of its first image, and the number of its segment.
    pub first_image: u32,
    pub segment: u32,
}

/// A dataset's own, and what of it is in the version that is `shown`.
const COLUMNS: &str = "datasets.*, shown.version as shown_version, shown.images, shown.classes, shown.splits,
    shown.content_sha256, shown.several_labels";

impl Store {
    /// The dataset of this id or name at its newest version, or version n for `name@n`.
    pub async fn dataset(&self, reference: &str) -> Result<Dataset> {
        let (dataset, version) = match reference.rsplit_once('@') {
            Some((dataset, digits)) => match digits.parse() {
                Ok(version) => (dataset, Some(version)),
                Err(_) => return Err(Error::not_found("dataset", reference)),
            },
            None => (reference, None),
        };
        self.dataset_at(dataset, version).await
    }

    /// The dataset of this id or name at this version, by default its newest.
    pub async fn dataset_at(&self, reference: &str, version: Option<u32>) -> Result<Dataset> {
        let sql = format!(
            "select {COLUMNS}
            from datasets
            left join dataset_versions as shown on shown.dataset_id = id and shown.version = coalesce($2, datasets.version)
            where id = $1 or name = $1
            order by (id = $1) desc, (status <> 'failed') desc, id desc
            limit 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(reference)
            .bind(version)
            .fetch_optional(&self.readers)
            .await?;
        let row = row.ok_or_else(|| Error::not_found("dataset", reference))?;
        let dataset = read_dataset(&row)?;
        if version.is_some_and(|version| version != dataset.version) {
            let which = format!("{reference}@{}", version.unwrap_or_default());
            return Err(Error::not_found("dataset version", &which));
        }
        Ok(dataset)
    }

    /// Datasets, each at its newest version; `owner` is the id or the name of a key, or `none`.
    pub async fn datasets(&self, owner: Option<&str>, page: &PageRequest) -> Result<Page<Dataset>> {
        let (comparison, direction) = match page.order {
            Order::Desc => ("<", "desc"),
            Order::Asc => (">", "asc"),
        };
        let has_owner = has_owner!("$2");
        let sql = format!(
            "select {COLUMNS}
            from datasets
            left join dataset_versions as shown on shown.dataset_id = id and shown.version = datasets.version
            where ($1 is null or id {comparison} $1) and {has_owner}
            order by id {direction}
            limit $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&page.after)
            .bind(owner)
            .bind(page.limit + 1)
            .fetch_all(&self.readers)
            .await?;
        let datasets = rows.iter().map(read_dataset).collect::<Result<Vec<_>>>()?;
        Ok(Page::from_rows(datasets, page.limit))
    }

    /// Takes the oldest dataset that is to be read, except those in `busy`, and counts the attempt.
    pub async fn claim_dataset(&self, busy: Vec<DatasetId>) -> Result<Option<DatasetToIngest>> {
        let busy: Vec<String> = busy.iter().map(ToString::to_string).collect();
        let busy = list::bound(&busy)?;
        self.write(move |connection| {
            Box::pin(async move {
                let row = sqlx::query(concat!(
                    "update datasets
                    set attempt = attempt + 1
                    where id = (
                        select id from datasets
                        where status = 'processing' and id not in ",
                    one_of!("$1"),
                    " order by id
                        limit 1
                    )
                    returning id, sha256, attempt, next_image, coalesce(pending_options, options) as options,
                        (select coalesce(max(number) + 1, 0) from segments where dataset_id = id) as segment",
                ))
                .bind(busy)
                .fetch_optional(connection)
                .await?;
                let Some(row) = row else { return Ok(None) };
                let archive = row.try_get("sha256")?;
                Ok(Some(DatasetToIngest {
                    id: parsed(&row, "id")?,
                    archive,
                    attempt: row.try_get("attempt")?,
                    options: optional_json(&row, "options")?.unwrap_or_default(),
                    first_image: row.try_get("next_image")?,
                    segment: row.try_get("segment")?,
                }))
            })
        })
        .await
    }

    /// Counts a reader that died by itself; how many there were, or none when the dataset is no longer there to be read.
    pub async fn count_reader_death(&self, dataset: &DatasetToIngest) -> Result<Option<u32>> {
        let (id, attempt) = (dataset.id, dataset.attempt);
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                let deaths = sqlx::query_scalar(
                    "update datasets
                    set deaths = deaths + 1
                    where id = $1 and attempt = $2 and status = 'processing'
                    returning deaths",
                )
                .bind(id.to_string())
                .bind(attempt)
                .fetch_optional(connection)
                .await?;
                Ok(deaths)
            })
        })
        .await
    }

    /// `ready -> processing`, or `failed -> processing`: the archive is to be read with these options. What was read before stays, and the
    /// next version is what will be read.
    ///
    /// # Errors
    /// `version-changed` if its newest version is none of the `expected`; `dataset-not-ready` while it is being read; `name-taken` where a failed dataset's name has been given to another one.
    pub async fn reread_dataset(
        &self,
        id: DatasetId,
        options: ReadOptions,
        expected: Option<Vec<u32>>,
    ) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                check_version(&mut *connection, id, expected).await?;
                let taken: i64 = sqlx::query_scalar(
                    "select count(*)
                    from datasets as mine
                    join datasets as other on other.name = mine.name and other.id <> mine.id and other.status <> 'failed'
                    where mine.id = $1",
                )
                .bind(id.to_string())
                .fetch_one(&mut *connection)
                .await?;
                if taken > 0 {
                    let detail = "another dataset has this one's name by now; upload the archive under another name";
                    return Err(Error::new(Kind::Conflict, "name-taken", detail));
                }
                let begun = sqlx::query(
                    "update datasets
                    set status = 'processing', attempt = 0, deaths = 0, pending_options = $2, error = null
                    where id = $1 and status in ('ready', 'failed')",
                )
                .bind(id.to_string())
                .bind(to_json(&options)?)
                .execute(connection)
                .await?;
                if begun.rows_affected() == 0 {
                    let detail = "the dataset is being read already; wait for it with ?wait=60";
                    return Err(Error::new(Kind::Conflict, "dataset-not-ready", detail));
                }
                Ok(())
            })
        })
        .await?;
        self.dataset_changed(id);
        self.signals.notify(Topic::Uploads);
        Ok(())
    }

    /// `processing -> ready`, with its first version, or the next one if its archive was read again; false when the dataset is no longer
    /// there to be finished.
    pub async fn finish_dataset(
        &self,
        dataset: &DatasetToIngest,
        result: IngestResult,
        segment: SegmentFiles,
    ) -> Result<bool> {
        let (id, attempt) = (dataset.id, dataset.attempt);
        let finished = self
            .write_even_if_full(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "update datasets
                        set status = 'ready', layout = $3, report = $4, report_blob = $5,
                            options = coalesce(pending_options, options), pending_options = null
                        where id = $1 and attempt = $2 and status = 'processing'",
                    )
                    .bind(id.to_string())
                    .bind(attempt)
                    .bind(to_json(&result.layout)?)
                    .bind(to_json(&result.report)?)
                    .bind(&result.report_entries.sha256)
                    .execute(&mut *connection)
                    .await?;
                    if done.rows_affected() == 0 {
                        return Ok(false);
                    }
                    let newest = versions::newest(connection, id).await?;
                    let new = match newest {
                        None => NewVersion::first(id, result, segment),
                        Some(newest) => NewVersion::of_reading(id, newest, result, segment),
                    };
                    versions::insert(connection, new).await?;
                    announce(connection, id, EventType::DatasetReady).await?;
                    Ok(true)
                })
            })
            .await?;
        self.dataset_changed(id);
        self.signals.notify(Topic::Outbox);
        Ok(finished)
    }

    /// `processing -> failed`, or back to `ready` if it was read before; false when the dataset is no longer there to be failed.
    pub async fn fail_dataset(
        &self,
        dataset: &DatasetToIngest,
        error: DatasetError,
        report: Option<ReportSummary>,
        report_blob: Option<String>,
    ) -> Result<bool> {
        let (id, attempt) = (dataset.id, dataset.attempt);
        let failed = self
            .write_even_if_full(move |connection| {
                Box::pin(async move {
                    let report = report.as_ref().map(to_json).transpose()?;
                    let done = sqlx::query(
                        "update datasets
                        set status = case when read_before then 'ready' else 'failed' end, error = $3,
                            report = case when read_before then report else $4 end,
                            report_blob = case when read_before then report_blob else $5 end, pending_options = null
                        from (select exists (select 1 from dataset_versions where dataset_id = $1) as read_before)
                        where id = $1 and attempt = $2 and status = 'processing'",
                    )
                    .bind(id.to_string())
                    .bind(attempt)
                    .bind(to_json(&error)?)
                    .bind(report)
                    .bind(report_blob)
                    .execute(&mut *connection)
                    .await?;
                    if done.rows_affected() == 0 {
                        return Ok(false);
                    }
                    announce(connection, id, EventType::DatasetFailed).await?;
                    Ok(true)
                })
            })
            .await?;
        self.dataset_changed(id);
        self.signals.notify(Topic::Outbox);
        Ok(failed)
    }

    /// Deletes a dataset's row. Its blobs go with the next sweep.
    ///
    /// # Errors
    /// `version-changed` if its newest version is none of the `expected`; `dataset-in-use` while an unfinished job needs it.
    pub async fn delete_dataset(&self, id: DatasetId, expected: Option<Vec<u32>>) -> Result<()> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                check_version(&mut *connection, id, expected).await?;
                let needed: i64 = sqlx::query_scalar(
                    "select count(*) from jobs where dataset_id = $1 and status in ('queued', 'running')",
                )
                .bind(id.to_string())
                .fetch_one(&mut *connection)
                .await?;
                if needed > 0 {
                    let detail =
                        format!("{needed} unfinished job(s) need this dataset; cancel them or wait for them");
                    return Err(Error::new(Kind::Conflict, "dataset-in-use", detail));
                }
                references::release(connection, references::OF_DATASET, &id.to_string()).await?;
                activations::forget_of_dataset(connection, &id.to_string()).await?;
                let done = sqlx::query("delete from datasets where id = $1")
                    .bind(id.to_string())
                    .execute(connection)
                    .await?;
                if done.rows_affected() == 0 {
                    return Err(Error::not_found("dataset", &id.to_string()));
                }
                Ok(())
            })
        })
        .await?;
        self.signals.notify(Topic::Dataset(id));
        Ok(())
    }

    /// Datasets that are being read, or wait for it.
    pub async fn processing_datasets(&self) -> Result<Vec<DatasetId>> {
        let rows = sqlx::query("select id from datasets where status = 'processing'")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| parsed(row, "id")).collect()
    }

    /// Digest of the full report; none before there is one.
    pub async fn report_blob(&self, id: DatasetId) -> Result<Option<String>> {
        let digest = sqlx::query_scalar("select report_blob from datasets where id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        Ok(digest.flatten())
    }

    /// Jobs that wait for a dataset may now be claimed.
    pub(super) fn dataset_changed(&self, id: DatasetId) {
        self.signals.notify(Topic::Dataset(id));
        self.signals.notify(Topic::Queue);
    }
}

/// Messages to webhooks that want to know of it. To be called when the rows say all of it.
async fn announce(connection: &mut SqliteConnection, id: DatasetId, event: EventType) -> Result<()> {
    if !outbox::is_wanted(connection, event).await? {
        return Ok(());
    }
    let sql = format!(
        "select {COLUMNS}
        from datasets
        left join dataset_versions as shown on shown.dataset_id = id and shown.version = datasets.version
        where id = $1"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.to_string())
        .fetch_one(&mut *connection)
        .await?;
    outbox::announce(connection, event, &DatasetEnded::from(read_dataset(&row)?)).await
}

async fn check_version(
    connection: &mut SqliteConnection,
    id: DatasetId,
    expected: Option<Vec<u32>>,
) -> Result<()> {
    let Some(expected) = expected else { return Ok(()) };
    let newest: Option<u32> = sqlx::query_scalar("select version from datasets where id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    match newest {
        Some(newest) if !expected.contains(&newest) => Err(Error::newer_version()),
        _ => Ok(()),
    }
}

fn read_dataset(row: &SqliteRow) -> Result<Dataset> {
    let latest = row.try_get("version")?;
    // None where it has no version yet: nothing is known of its images.
    let shown: Option<u32> = row.try_get("shown_version")?;
    Ok(Dataset {
        id: parsed(row, "id")?,
        object: "dataset".to_owned(),
        name: word(row, "name")?,
        status: word(row, "status")?,
        waiting: None,
        version: shown.unwrap_or(latest),
        latest_version: latest,
        created_at: Timestamp(row.try_get("created_at")?),
        owner: owner(row)?,
        sha256: row.try_get("sha256")?,
        bytes: count(row, "bytes")?,
        content_sha256: row.try_get("content_sha256")?,
        images: row.try_get::<Option<i64>, _>("images")?.unwrap_or(0).max(0) as u64,
        classes: optional_json(row, "classes")?.unwrap_or_default(),
        splits: optional_json(row, "splits")?.unwrap_or_default(),
        several_labels: row
            .try_get::<Option<i64>, _>("several_labels")?
            .unwrap_or(0)
            .max(0) as u64,
        layout: optional_json(row, "layout")?,
        report: optional_json(row, "report")?,
        error: optional_json(row, "error")?,
    })
}
