//! `finetuned weights`: the catalogue of pretrained weights, and a folder of them for a server without network access (`--weights-dir`).
//!
//! No server is needed. The worker does everything that reads tensors or fetches files; here files are only named and moved.

mod fetch;
mod list;
mod verify;
mod worker;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};

use crate::{config::WeightsConfig, domain::architecture::Architecture};

/// The commands about pretrained weights.
#[derive(Debug, Subcommand)]
pub enum WeightsCommand {
    /// List the known weights: their licence, size and origin
    List(ListArgs),
    /// Fetch weights of an architecture into a folder, with their digest beside them
    Fetch(Box<FetchArgs>),
    /// Check the weights in a folder: their digests, and that they are those of a network
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only of this architecture
    #[arg(value_parser = architecture)]
    architecture: Option<Architecture>,
    /// Print JSON, as in `GET /v1/architectures`
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct FetchArgs {
    #[arg(value_parser = architecture)]
    architecture: Architecture,
    /// The set to fetch; by default the architecture's first
    #[arg(long)]
    set: Option<String>,
    /// Folder to put them into; by default that of --weights-dir
    #[arg(long)]
    into: Option<PathBuf>,
    #[command(flatten)]
    weights: WeightsConfig,
    /// Path of the worker program; by default `finetuned-worker` in the same directory as this program
    #[arg(long, env = "FINETUNED_WORKER")]
    worker: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folder with weights, or a file
    #[arg(env = "FINETUNED_WEIGHTS_DIR")]
    path: PathBuf,
    /// Path of the worker program; by default `finetuned-worker` in the same directory as this program
    #[arg(long, env = "FINETUNED_WORKER")]
    worker: Option<PathBuf>,
}

impl WeightsCommand {
    /// Runs the command. Exit status 0: success; 1: something could not be fetched or is not in order.
    ///
    /// # Errors
    /// What is wrong and what to do.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List(args) => list::run(&args),
            Self::Fetch(args) => fetch::run(*args),
            Self::Verify(args) => verify::run(&args),
        }
    }
}

fn architecture(text: &str) -> Result<Architecture, String> {
    let known = Architecture::ALL.into_iter().find(|known| known.is_called(text));
    known.ok_or_else(|| {
        format!(
            "it is one of {}",
            Architecture::ALL.map(Architecture::as_str).join(", ")
        )
    })
}
