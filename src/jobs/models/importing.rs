//! Imports models: a child checks the file and rewrites it while the caller waits; then its files become blobs and a row.
//!
//! A limited number at once, each with a deadline; others wait for their turn. When the caller disconnects, the child is stopped. The model
//! exists only once its row is inserted; the uploaded file is removed with the request.

use std::{path::Path, time::Duration};

use tokio::time::timeout;

use crate::{
    domain::{
        access::Holder,
        jobs::job::{FailureCode, JobError},
        models::model_import::ImportedFile,
        name::Name,
    },
    error::{Error, FieldError, Kind, Result},
    jobs::{
        children::{
            paths::absolute,
            waited::{self, WaitedRun},
        },
        context::Context,
    },
    process,
    protocol::{ImportContents, ImportRun, Refusal, RunResult, RunSpec},
    store::{ImportedModel, NewModel},
};

/// Threads per check: it takes about a second, and jobs need the others.
const THREADS: u32 = 2;

/// A complete file on disk, with its description.
pub struct Import<'a> {
    pub file: &'a Path,
    pub name: Name,
    pub contents: ImportContents,
    pub owner: Option<Holder>,
    pub from: ImportedFile,
}

/// Creates a model from a file, or returns the existing model with the same contents.
///
/// # Errors
/// `model-unsupported` (415), `model-invalid` and wrong fields (422), `name-taken` (409), `imports-busy` (429), `import-timeout` (504).
pub async fn import(context: &Context, import: Import<'_>) -> Result<ImportedModel> {
    let limits = &context.config.limits;
    let turn = timeout(limits.import_deadline(), context.imports.acquire()).await;
    let _turn = turn.map_err(|_| busy())?.map_err(Error::internal)?;
    let run = RunSpec::Import(Box::new(ImportRun {
        file: absolute(import.file),
        contents: import.contents,
        max_bytes: limits.max_model_bytes,
        max_classes: limits.ingest.max_classes,
        threads: process::threads(context.config.train_threads).min(THREADS),
    }));
    let waited = WaitedRun {
        run,
        deadline: limits.import_deadline(),
    };
    let seconds = limits.import_deadline_seconds;
    let (dir, brought) = waited::run(context, waited, || too_slow(seconds), not_checked).await?;
    let made = match brought {
        RunResult::Imported(made) => *made,
        RunResult::Refused(refused) => return Err(refusal(refused)),
        _ => return Err(waited::of_another_kind("import")),
    };
    let pin = context.blobs.pin().await;
    for artifact in [&made.weights, &made.card_file] {
        context.blobs.adopt(dir.path(), artifact, &pin).await?;
    }
    let new = NewModel {
        name: import.name,
        card: made.card,
        sha256: made.weights.sha256,
        bytes: made.weights.bytes,
        card_blob: made.card_file.sha256,
        evaluation_blob: None,
    };
    let from = ImportedFile {
        remarks: made.remarks,
        ..import.from
    };
    let imported = context.store.import_model(new, from, import.owner).await;
    if imported.is_err() {
        context.sweep.notify_one();
    }
    imported
}

/// A failure that is not caused by the file.
fn not_checked(error: JobError) -> Error {
    match error.code {
        FailureCode::DiskFull => Error::new(Kind::DiskFull, "insufficient-storage", error.message),
        FailureCode::OutOfMemory => {
            let detail = "checking the model needs more memory than the server allows (it depends on `max_model_bytes`)";
            Error::new(Kind::Invalid, "model-invalid", detail)
        }
        _ => Error::internal(anyhow::anyhow!("an import: {}", error.message)),
    }
}

fn too_slow(seconds: u64) -> Error {
    let detail =
        format!("checking the model took longer than {seconds} s; try again when the server is less busy");
    Error::new(Kind::Timeout, "import-timeout", detail)
}

fn busy() -> Error {
    let detail = "other models are being imported and this one timed out in the queue; try again in a moment";
    Error::new(Kind::TooMany, "imports-busy", detail).retry_after(Duration::from_secs(10))
}

fn refusal(refused: Refusal) -> Error {
    match refused.pointer {
        Some(pointer) => Error::fields(
            "the description does not match the weights",
            vec![FieldError::new(pointer, "conflict", refused.message)],
        ),
        None if refused.code == Refusal::UNSUPPORTED => {
            Error::new(Kind::UnsupportedMedia, "model-unsupported", refused.message)
        }
        None => Error::new(Kind::Invalid, "model-invalid", refused.message),
    }
}
