//! What an archive would be read as, found by a child while the caller waits. Nothing of it is kept or recorded.

use std::path::PathBuf;

use super::ingest::PACK_SIDE;
use crate::{
    domain::{
        datasets::{reading::ReadOptions, understanding::Understanding},
        id::DatasetId,
    },
    error::{Error, Kind, Result},
    jobs::{
        children::{
            paths::absolute,
            waited::{self, WaitedRun},
        },
        context::Context,
    },
    protocol::{IngestRun, RunResult, RunSpec},
};

/// Reads names and tables.
///
/// # Errors
/// `archive-refused`: why the archive cannot be read, or not with these options; `reading-timeout`, and failures of the worker.
pub async fn understand(context: &Context, archive: PathBuf, options: ReadOptions) -> Result<Understanding> {
    let _place = context.ingest_workers.acquire().await.map_err(Error::internal)?;
    let limits = &context.config.limits;
    let run = RunSpec::Ingest(Box::new(IngestRun {
        dataset: DatasetId::new(),
        archive: absolute(&archive),
        sha256: None,
        options,
        limits: limits.ingest.clone(),
        min_free_bytes: limits.min_free_bytes,
        waits_for_disk: false,
        threads: 1,
        pack_side: PACK_SIDE,
        first_image: 0,
        segment: 0,
        names_only: true,
        used_bits: None,
    }));
    let waited = WaitedRun {
        run,
        deadline: limits.load_deadline(),
    };
    let too_slow = || {
        let detail = format!(
            "reading the names of the archive took longer than {} s (--load-deadline-seconds)",
            limits.load_deadline_seconds
        );
        Error::new(Kind::Timeout, "reading-timeout", detail)
    };
    let refused = |error| waited::refusal("archive-refused", error);
    match waited::run(context, waited, too_slow, refused).await? {
        (_, RunResult::Understood(understood)) => Ok(*understood),
        (_, RunResult::Refused(refused)) => {
            Err(Error::new(Kind::Invalid, "archive-refused", refused.message))
        }
        _ => Err(waited::of_another_kind("ingest")),
    }
}
