//! Exports of models to other formats, written by a child while the caller waits and cached on disk.
//!
//! `exports/{model}/{key}-{sha256}`: the key is a digest of everything the file depends on, so a cached file is the one that would be
//! written. Concurrent requests for the same export share one file. Evicted exports are written again.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    domain::{
        id::ModelId,
        models::{export::ExportSpec, model::Model},
    },
    error::{Error, Kind, Result},
    files::{digest, private},
    jobs::{
        blocking::blocking,
        children::{
            paths::{self, absolute},
            waited::{self, WaitedRun},
        },
        context::Context,
        kept::{self, Cache},
    },
    protocol::{Artifact, ExportRun, RunResult, RunSpec, frames::ModelFiles},
    store::ModelBlobs,
};

/// Increase this when a version of the program writes other bytes for the same model and options.
const REVISION: u32 = 1;
/// Largest file that is accepted from a child: a multiple of the model's size, and an allowance for labels, names and the graph.
const MAX_GROWTH: u64 = 2;
const MAX_OVERHEAD: u64 = 64 << 20;

/// An export file. It can still be read to its end after it was evicted.
#[derive(Debug)]
pub struct Exported {
    pub file: File,
    pub bytes: u64,
    /// Hexadecimal.
    pub sha256: String,
}

/// Returns an export of a model, from the cache or newly written.
///
/// # Errors
/// `exports-busy`, `export-timeout`, `insufficient-storage`, and failures of the worker and of the disk.
pub async fn export(context: &Context, model: &Model, spec: ExportSpec) -> Result<Exported> {
    let blobs = context.store.model_blobs(model.id).await?;
    let title = format!("{}@{}", model.name, model.version);
    let key = key(&blobs, &title, &spec);
    let folder = cache(context).folder.join(model.id.to_string());
    if let Some(found) = kept(&folder, &key).await? {
        return Ok(found);
    }
    let _alone = context.exporting.hold((model.id, key.clone())).await;
    if let Some(found) = kept(&folder, &key).await? {
        return Ok(found);
    }
    let _place = context.exports.try_acquire().map_err(|_| busy())?;
    context.blobs.check_room(
        model.whole_bytes().saturating_mul(MAX_GROWTH),
        context.config.limits.min_free_bytes,
    )?;
    let path = |digest: &str| absolute(&context.blobs.path(digest));
    let run = ExportRun {
        model: ModelFiles::of(&blobs.weights, &blobs.card, blobs.base.as_deref(), path),
        title,
        spec,
    };
    let most = model
        .whole_bytes()
        .saturating_mul(MAX_GROWTH)
        .saturating_add(MAX_OVERHEAD);
    let made = make(context, run, most, folder, key).await?;
    cache(context).tidy().await;
    Ok(made)
}

/// Digest of everything the bytes depend on.
fn key(blobs: &ModelBlobs, title: &str, spec: &ExportSpec) -> String {
    let parts = (
        env!("CARGO_PKG_VERSION"),
        REVISION,
        &blobs.weights,
        &blobs.card,
        &blobs.base,
        title,
        spec,
    );
    // Strings and numbers only: it cannot fail.
    digest::of_bytes(&serde_json::to_vec(&parts).unwrap_or_default())
}

async fn make(
    context: &Context,
    run: ExportRun,
    max_bytes: u64,
    folder: PathBuf,
    key: String,
) -> Result<Exported> {
    let limits = &context.config.limits;
    let waited = WaitedRun {
        run: RunSpec::Export(run),
        deadline: limits.export_deadline(),
    };
    let too_slow = || {
        let seconds = limits.export_deadline_seconds;
        let detail =
            format!("the export took longer than {seconds} s; try again when the server is less busy");
        Error::new(Kind::Timeout, "export-timeout", detail).retry_after(Duration::from_secs(30))
    };
    let refused = |error| waited::refusal("export-failed", error);
    match waited::run(context, waited, too_slow, refused).await? {
        (dir, RunResult::Exported { file }) => {
            blocking(move || take(dir.path(), file, max_bytes, &folder, &key)).await
        }
        _ => Err(waited::of_another_kind("export")),
    }
}

fn busy() -> Error {
    let detail = "too many exports are being made; try again in a moment";
    Error::new(Kind::TooMany, "exports-busy", detail).retry_after(Duration::from_secs(5))
}

/// Moves a file from a child into the cache.
fn take(dir: &Path, made: Artifact, max_bytes: u64, folder: &Path, key: &str) -> Result<Exported> {
    waited::check(dir, &made, max_bytes)?;
    let from = dir.join(&made.file);
    let file = File::open(&from)?;
    private::create_dir_all(folder)?;
    fs::rename(from, folder.join(format!("{key}-{}", made.sha256)))?;
    Ok(Exported {
        file,
        bytes: made.bytes,
        sha256: made.sha256,
    })
}

async fn kept(folder: &Path, key: &str) -> Result<Option<Exported>> {
    let (folder, key) = (folder.to_owned(), key.to_owned());
    blocking(move || look_up(&folder, &key)).await
}

fn look_up(folder: &Path, key: &str) -> Result<Option<Exported>> {
    for name in paths::names(folder) {
        let digest = name.strip_prefix(key).and_then(|rest| rest.strip_prefix('-'));
        let Some(sha256) = digest.filter(|digest| digest::is_digest(digest)) else {
            continue;
        };
        // Another request may have removed it meanwhile.
        if let Some(file) = kept::there(File::open(folder.join(&name)))? {
            // Verified again for every range of a download: a tenth of a second for the largest models.
            if !digest::holds(&folder.join(&name), sha256)? {
                kept::discard(&folder.join(&name), "an export")?;
                continue;
            }
            kept::touch(&file)?;
            return Ok(Some(Exported {
                bytes: file.metadata()?.len(),
                file,
                sha256: sha256.to_owned(),
            }));
        }
    }
    Ok(None)
}

fn cache(context: &Context) -> Cache {
    Cache {
        what: "exports",
        folder: context.paths.data_dir().join("exports"),
        budget: context.config.limits.max_export_bytes,
    }
}

/// Removes the exports of deleted models.
pub async fn sweep(context: &Context) -> Result<()> {
    let store = &context.store;
    cache(context).sweep(|id: ModelId| store.model_blobs(id)).await
}
