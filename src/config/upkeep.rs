//! The command lines of `finetuned backup`, `restore` and `doctor`.

use std::path::PathBuf;

use clap::Args;

use super::Config;
use crate::data_dir::Manner;

/// Where a backup is made.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Empty folder for the backup; made where it is not there
    pub folder: PathBuf,
    /// Data directory to save; a server may be running on it
    #[arg(long, env = "FINETUNED_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub manner: MannerArgs,
}

/// What is restored, and where.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Folder that `finetuned backup` made; it stays as it is
    pub folder: PathBuf,
    /// Data directory to make; empty, or not there
    #[arg(long, env = "FINETUNED_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub manner: MannerArgs,
}

/// How files are carried.
#[derive(Clone, Copy, Debug, Args)]
pub struct MannerArgs {
    /// Copy every file, also where a hard link would do: then damage to one does not affect the other
    #[arg(long)]
    copy: bool,
    /// Read every file and verify its digest; copies are verified in any case
    #[arg(long)]
    deep: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

impl MannerArgs {
    pub fn manner(self) -> Manner {
        Manner {
            copy: self.copy,
            deep: self.deep,
        }
    }
}

/// The settings of the server that is looked at.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub config: Config,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}
