//! A command of the worker program that answers on its standard output and ends.

use std::ffi::OsStr;

use anyhow::{Context as _, bail};
use tokio::io::AsyncReadExt;

use crate::{
    jobs::{blocking::blocking, children::paths::ScratchDir, context::Context},
    process::{self, FreedMemory, log::Log},
};

const LONGEST_ANSWER: u64 = 1 << 20;

/// Its answer. What it says on its standard error goes into `log`. Dropping this kills it.
///
/// # Errors
/// It cannot be started, or ends with another status than 0; then with the last line of its log.
pub async fn run(context: &Context, arguments: &[&OsStr], log: Log) -> anyhow::Result<Vec<u8>> {
    let runs = context.paths.runs();
    let dir = blocking(move || Ok(ScratchDir::new(&runs)?)).await;
    let dir = dir.context("cannot create the directory for runs")?;
    let (mut child, pipes) = process::spawn(
        &context.worker,
        arguments,
        dir.path(),
        FreedMemory::GivenBack,
        None,
    )
    .await
    .context("cannot start the worker program")?;
    let mut answer = Vec::new();
    let mut output = pipes.stdout.take(LONGEST_ANSWER);
    let (read, last_line, status) = tokio::join!(
        output.read_to_end(&mut answer),
        log.copy(pipes.stderr),
        child.wait()
    );
    drop(pipes.stdin);
    read?;
    let status = status?;
    if !status.success() {
        let last_line = last_line.unwrap_or_default();
        bail!("{}: {last_line}", process::describe(status));
    }
    Ok(answer)
}
