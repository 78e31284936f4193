//! How long what ended jobs leave is kept: settings of the server, and of `finetuned gc`.

use std::path::PathBuf;

use clap::Args;

use crate::domain::retention::{Age, Keep};

/// Times such as 90d, 12h or 30m, or `forever`.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Retention")]
pub struct KeepArgs {
    /// Time after which an ended job is removed with its events, log and results, as by DELETE; jobs whose model is there stay. A time such as
    /// 90d, 12h or 30m, or `forever`
    #[arg(long, env = "FINETUNED_KEEP_RUNS", default_value_t = Keep::DEFAULT.runs)]
    pub keep_runs: Age,
    /// Time after which an ended job keeps only the events of its states, epochs and warnings, and no longer those of single steps
    #[arg(long, env = "FINETUNED_KEEP_EVENTS", default_value_t = Keep::DEFAULT.events)]
    pub keep_events: Age,
    /// Time for which the last checkpoints of an ended job stay in its directory in `runs`; unfinished jobs always keep theirs
    #[arg(long, env = "FINETUNED_KEEP_CHECKPOINTS", default_value_t = Keep::DEFAULT.checkpoints)]
    pub keep_checkpoints: Age,
    /// Time after which a message to a webhook that was delivered or given up is removed from the log
    #[arg(long, env = "FINETUNED_KEEP_DELIVERIES", default_value_t = Keep::DEFAULT.deliveries)]
    pub keep_deliveries: Age,
}

impl KeepArgs {
    pub const DEFAULT: KeepArgs = KeepArgs {
        keep_runs: Keep::DEFAULT.runs,
        keep_events: Keep::DEFAULT.events,
        keep_checkpoints: Keep::DEFAULT.checkpoints,
        keep_deliveries: Keep::DEFAULT.deliveries,
    };

    pub fn keep(&self) -> Keep {
        Keep {
            runs: self.keep_runs,
            events: self.keep_events,
            checkpoints: self.keep_checkpoints,
            deliveries: self.keep_deliveries,
        }
    }
}

/// The command line of `finetuned gc`.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Data directory; a server may be running on it
    #[arg(long, env = "FINETUNED_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Time that unreferenced files stay in the trash, as the server's setting says
    #[arg(long, env = "FINETUNED_BLOB_GRACE_SECONDS", default_value_t = crate::limits::Limits::DEFAULT.blob_grace_seconds)]
    pub blob_grace_seconds: u64,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub keep: KeepArgs,
}
