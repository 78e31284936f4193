//! Reads uploaded archives one by one, each in a child that is tried up to three times, and records the result in the dataset's row.
//!
//! Woken by a signal of the store and by a timer. A dataset that is being read when the server stops is read again from the beginning at
//! the next start: ingest has no checkpoints.

use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, try_join};

use crate::{
    blobs::Pin,
    domain::{
        datasets::dataset::DatasetError,
        id::DatasetId,
        jobs::job::{FailureCode, JobError, WaitingFor},
    },
    error::{Kind, Result},
    jobs::{
        blocking::blocking,
        children::{
            child::{self, End},
            failure,
            paths::absolute,
            supervisor::Stop,
        },
        context::Context,
        disk,
        disk_waits::DiskWait,
        queue::packs,
        retry::retry,
    },
    process::{self, log::Log},
    protocol::{IngestResult, IngestRun, Refusal, RunResult, RunSpec, WorkerMessage},
    store::{DatasetToIngest, SegmentFiles, Topic},
};

/// Shorter side of the images in a pixel pack; the default crop of 224 pixels is taken from it.
pub const PACK_SIDE: u32 = 256;
/// How often a child may crash over one archive. A child that ended with a killed server does not count.
const MOST_DEATHS: u32 = 3;
/// How often reading an archive may be started at all: stopping the server does not count as a crash, but an archive that takes the server
/// down with it must not do so forever.
const MOST_STARTS: u32 = 10;
/// Registered as waiting if no archive can be claimed.
pub const ARCHIVES: &str = "archives";
const RETRY_AFTER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(2);

enum Next {
    Done,
    Again,
}

enum Cause {
    Shutdown,
    Deleted,
}

pub async fn run(context: Arc<Context>) {
    if !context.may_begin().await {
        return;
    }
    let mut uploads = context.store.signals().subscribe(Topic::Uploads);
    let mut resting: HashMap<DatasetId, Instant> = HashMap::new();
    // While the disk is so full that not even the claim of an archive can be written.
    let mut full: Option<DiskWait> = None;
    while !context.shutdown.is_cancelled() {
        resting.retain(|_, until| *until > Instant::now());
        match context
            .store
            .claim_dataset(resting.keys().copied().collect())
            .await
        {
            Ok(Some(dataset)) => {
                full = None;
                let id = dataset.id;
                let read = tokio::spawn(read(context.clone(), dataset)).await;
                if let Err(error) = &read {
                    tracing::error!(dataset = %id, %error, "the server failed while handling an archive");
                }
                if !matches!(read, Ok(Next::Done)) {
                    resting.insert(id, Instant::now() + RETRY_AFTER);
                }
                continue;
            }
            Ok(None) => full = None,
            Err(error) => {
                if error.kind() == Kind::DiskFull {
                    full.get_or_insert_with(|| context.waits.begin(&ARCHIVES));
                }
                tracing::error!(%error, "cannot look for archives to read");
            }
        }
        let rested = resting.values().min().copied();
        let wait = rested.map_or(LOOK_EVERY, |until| {
            until.saturating_duration_since(Instant::now())
        });
        tokio::select! {
            () = context.shutdown.cancelled() => {}
            Ok(()) = uploads.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Runs one child for one archive, until its outcome is recorded.
async fn read(context: Arc<Context>, dataset: DatasetToIngest) -> Next {
    if dataset.attempt > MOST_STARTS {
        let message = format!("reading the archive was started {MOST_STARTS} times and never finished");
        let error = JobError::new(FailureCode::WorkerCrashed, message);
        return fail(&context, &dataset, error).await;
    }
    tracing::info!(dataset = %dataset.id, attempt = dataset.attempt, "reading an archive");
    let next = attempt(&context, &dataset).await;
    let (paths, id) = (context.paths.clone(), dataset.id);
    let removed = tokio::task::spawn_blocking(move || paths.forget_when_left(&id)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(dataset = %id, %error, "cannot remove the directory of an ingest; the next sweep retries");
    }
    next
}

async fn attempt(context: &Context, dataset: &DatasetToIngest) -> Next {
    let spec = RunSpec::Ingest(Box::new(IngestRun {
        dataset: dataset.id,
        archive: absolute(&context.blobs.path(&dataset.archive)),
        sha256: Some(dataset.archive.clone()),
        options: dataset.options.clone(),
        limits: context.config.limits.ingest.clone(),
        min_free_bytes: context.config.limits.min_free_bytes,
        waits_for_disk: true,
        threads: process::threads(context.config.ingest_threads),
        pack_side: PACK_SIDE,
        first_image: dataset.first_image,
        segment: dataset.segment,
        names_only: false,
        used_bits: dataset.options.used_bits,
    }));
    let (id, number) = (dataset.id, dataset.attempt);
    let begin = || {
        let (paths, spec) = (context.paths.clone(), spec.clone());
        blocking(move || Ok(paths.begin(&id, number, &spec)?))
    };
    let dir = match disk::when_there_is_room(context, &id, stopped(context, id), begin).await {
        Some(Ok(dir)) => dir,
        Some(Err(error)) => {
            tracing::error!(dataset = %id, %error, "cannot create the directory of an ingest");
            let error = failure::internal("the server could not create a directory for reading the archive");
            return died(context, dataset, error).await;
        }
        // Deleted, or will be read at the next start of the server.
        None => return Next::Done,
    };
    let log = context.log(&id);
    log.note(&format!("attempt {number}")).await;
    let hear = |messages| note_down(context, id, log.clone(), messages);
    match child::run(context, &dir, log.clone(), hear, stop_cause(context, id)).await {
        End::Stopped {
            cause: Cause::Deleted,
            ..
        } => Next::Done,
        End::Stopped {
            result: Some(result), ..
        }
        | End::Done(result) => take_over(context, dataset, result).await,
        // The row is still `processing`: the next start of the server starts over.
        End::Stopped {
            cause: Cause::Shutdown,
            ..
        } => Next::Done,
        End::Broken(broken) => died(context, dataset, broken.to_job()).await,
    }
}

async fn stopped(context: &Context, dataset: DatasetId) {
    stop_cause(context, dataset).await;
}

/// Ready when the child has to stop.
async fn stop_cause(context: &Context, dataset: DatasetId) -> Stop<Cause> {
    let limits = &context.config.limits;
    tokio::select! {
        () = context.shutdown.cancelled() => Stop::with_time_to_save(Cause::Shutdown, limits),
        () = deleted(context, dataset) => Stop::at_once(Cause::Deleted, limits),
    }
}

async fn deleted(context: &Context, dataset: DatasetId) {
    let mut changed = context.store.signals().subscribe(Topic::Dataset(dataset));
    loop {
        match context.store.dataset(&dataset.to_string()).await {
            Err(error) if error.kind() == Kind::NotFound => return,
            Err(error) => tracing::error!(%dataset, %error, "cannot read a dataset that is being processed"),
            Ok(_) => {}
        }
        let _ = tokio::time::timeout(LOOK_EVERY, changed.changed()).await;
    }
}

/// A dataset has no events: the child's messages go into its log, and its waiting is registered for the API.
async fn note_down(
    context: &Context,
    dataset: DatasetId,
    log: Log,
    mut messages: mpsc::Receiver<WorkerMessage>,
) {
    let mut wait: Option<DiskWait> = None;
    while let Some(message) = messages.recv().await {
        match message {
            WorkerMessage::Waiting {
                waiting: Some(WaitingFor::Disk),
            } => {
                wait.get_or_insert_with(|| context.waits.begin(&dataset));
            }
            WorkerMessage::Waiting { waiting: None } => wait = None,
            WorkerMessage::Log { event } => log.note(&event.message).await,
            WorkerMessage::Warning { event } => log.note(&format!("warning: {}", event.message)).await,
            _ => {}
        }
    }
}

async fn take_over(context: &Context, dataset: &DatasetToIngest, result: RunResult) -> Next {
    // Nothing may wait while blobs are pinned.
    if let RunResult::Failed(error) = result {
        return match error.code {
            // The child waits for space by itself; this one was stopped while waiting.
            FailureCode::DiskFull => again(context, dataset).await,
            _ => fail(context, dataset, error).await,
        };
    }
    let pin = context.blobs.pin().await;
    let taken = match result {
        RunResult::Ingested(result) => finish(context, dataset, *result, &pin).await,
        RunResult::Refused(refused) => refuse(context, dataset, refused, &pin).await,
        _ => {
            drop(pin);
            return died(context, dataset, failure::of_another_kind()).await;
        }
    };
    drop(pin);
    match taken {
        Ok(()) => Next::Done,
        Err(error) if error.kind() == Kind::DiskFull => again(context, dataset).await,
        Err(error) => {
            tracing::error!(dataset = %dataset.id, %error, "cannot store the files of an ingest");
            died(context, dataset, failure::of_adoption()).await
        }
    }
}

async fn finish(context: &Context, dataset: &DatasetToIngest, result: IngestResult, pin: &Pin) -> Result<()> {
    let dir = context.paths.run_dir(&dataset.id, dataset.attempt);
    let (manifest, report) = (&result.manifest, &result.report_entries);
    let ((), (), mut segment) = try_join!(
        context.blobs.adopt(&dir, manifest, pin),
        context.blobs.adopt(&dir, report, pin),
        adopt_segment(context, &dir, &result, pin),
    )?;
    segment.number = dataset.segment;
    let finish = async || {
        let finished = context
            .store
            .finish_dataset(dataset, result.clone(), segment.clone());
        disk::full_apart(finished.await)
    };
    let finished = retry(context, &dataset.id, "record that a dataset is ready", finish).await;
    sweep_if_gone(context, finished.transpose()?);
    packs::make_room(context).await;
    Ok(())
}

/// Stores the images that a child has read, and their pixels.
pub(in crate::jobs) async fn adopt_segment(
    context: &Context,
    dir: &Path,
    result: &IngestResult,
    pin: &Pin,
) -> Result<SegmentFiles> {
    let (images, pack) = try_join!(
        context.blobs.adopt_bulk(dir, &result.images_file, pin),
        context.blobs.adopt_bulk(dir, &result.pack, pin),
    )?;
    Ok(SegmentFiles {
        number: 0,
        images: images.sha256,
        pack: pack.sha256,
        pack_bytes: pack.bytes,
        pack_side: PACK_SIDE,
    })
}

async fn refuse(context: &Context, dataset: &DatasetToIngest, refused: Refusal, pin: &Pin) -> Result<()> {
    let Refusal {
        code,
        message,
        report,
        report_entries: entries,
        ..
    } = refused;
    let error = DatasetError { code, message };
    let report = report.map(|report| *report);
    if let Some(entries) = &entries {
        let dir = context.paths.run_dir(&dataset.id, dataset.attempt);
        context.blobs.adopt(&dir, entries, pin).await?;
    }
    let entries = entries.map(|entries| entries.sha256);
    let fail = async || {
        let (error, report, entries) = (error.clone(), report.clone(), entries.clone());
        disk::full_apart(context.store.fail_dataset(dataset, error, report, entries).await)
    };
    let failed = retry(context, &dataset.id, "record that a dataset has failed", fail).await;
    sweep_if_gone(context, failed.transpose()?);
    Ok(())
}

/// A dataset that was deleted at the last moment leaves unreferenced blobs.
fn sweep_if_gone(context: &Context, written: Option<bool>) {
    if written == Some(false) {
        context.sweep.notify_one();
    }
}

/// Retries once the disk has more room.
async fn again(context: &Context, dataset: &DatasetToIngest) -> Next {
    disk::until_there_is_more_room(context, &dataset.id, stopped(context, dataset.id)).await;
    Next::Again
}

/// Retries, unless the limit is reached.
async fn died(context: &Context, dataset: &DatasetToIngest, error: JobError) -> Next {
    if error.code == FailureCode::DiskFull {
        return again(context, dataset).await;
    }
    let count = || context.store.count_reader_death(dataset);
    match retry(context, &dataset.id, "count a crash of an ingest", count).await {
        Some(Some(deaths)) if deaths < MOST_DEATHS => {
            tracing::warn!(dataset = %dataset.id, deaths, reason = error.message, "an ingest crashed");
            Next::Again
        }
        Some(Some(_)) => fail(context, dataset, error).await,
        // Deleted meanwhile, or the server is stopping: then the next start begins again.
        _ => Next::Done,
    }
}

async fn fail(context: &Context, dataset: &DatasetToIngest, error: JobError) -> Next {
    let code = serde_json::to_value(error.code).ok();
    let error = DatasetError {
        code: code
            .and_then(|code| code.as_str().map(str::to_owned))
            .unwrap_or_default(),
        message: error.message,
    };
    let fail = || context.store.fail_dataset(dataset, error.clone(), None, None);
    retry(context, &dataset.id, "record that a dataset has failed", fail).await;
    Next::Done
}
