//! A worker that fetches or verifies weights, and its result. It gets its task by a run file, as the server's children do.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{
    client::text::printable,
    config::Config,
    files::private,
    protocol::{RESULT_FILE, RUN_FILE, RunResult, RunSpec, WeightsReport, WeightsRun, WorkerMessage},
};

/// The worker program: the one asked for, or the one beside this program.
pub fn program(asked: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    Config {
        worker: asked.cloned(),
        ..Config::for_data_dir(".")
    }
    .worker_program()
}

/// Runs the task in `folder`, which must exist, and prints what the worker says on standard error.
///
/// # Errors
/// The worker could not do it; the message is for the person at the terminal. The inner error is one that this person can resolve.
pub fn run(program: &Path, folder: &Path, run: WeightsRun) -> anyhow::Result<Result<WeightsReport, String>> {
    let spec = serde_json::to_vec(&RunSpec::Weights(Box::new(run)))?;
    // It may contain a token of the hub.
    private::options()
        .create_new(true)
        .write(true)
        .open(folder.join(RUN_FILE))?
        .write_all(&spec)?;
    let mut child = Command::new(program)
        .args(["run", "--run-dir"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the worker program")?;
    if let Some(messages) = child.stdout.take() {
        for line in BufReader::new(messages).lines() {
            say(&line?);
        }
    }
    let status = child.wait()?;
    let result = fs::read(folder.join(RESULT_FILE));
    if !status.success() {
        bail!("the worker program ended with {status}");
    }
    match serde_json::from_slice(&result.context("the worker left no result")?)? {
        RunResult::Weights(report) => Ok(Ok(*report)),
        RunResult::Failed(error) => Ok(Err(error.message)),
        other => bail!("the worker left an unexpected result: {other:?}"),
    }
}

/// Messages for people; others are only for the server.
fn say(line: &str) {
    match serde_json::from_str(line) {
        Ok(WorkerMessage::Log { event }) => eprintln!("{}", printable(&event.message)),
        Ok(WorkerMessage::Warning { event }) => eprintln!("{}", printable(&event.message)),
        _ => {}
    }
}
