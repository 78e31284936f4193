//! When checkpoints are written, and which are kept: after epochs and at intervals, the last two.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::checkpoint::{self, Checkpoint};
use crate::{
    domain::jobs::event::CheckpointEvent,
    protocol::WorkerMessage,
    worker::{
        process::{child::Reporter, run_dir::RunDir},
        train::progress::halt::Halt,
    },
};

/// Writes a run's checkpoints into its directory.
pub struct CheckpointWriter {
    dir: RunDir,
    reporter: Reporter,
    /// Names of the existing files, oldest first.
    files: Vec<String>,
    last: Instant,
    /// How long the last one took to write; none before the first.
    cost: Option<Duration>,
    /// Steps of a training before this one in the same run: the newest file has the highest number.
    steps_before: u64,
}

impl CheckpointWriter {
    const INTERVAL: Duration = Duration::from_secs(60);
    const MAX_KEPT: usize = 2;
    /// Epochs may be shorter than writing a checkpoint takes: at most one part in this many of the time is spent on writing.
    const MIN_INTERVAL_PER_COST: u32 = 20;

    pub fn new(dir: &RunDir, reporter: &Reporter, steps_before: u64) -> Self {
        Self {
            dir: dir.clone(),
            reporter: reporter.clone(),
            files: Vec::new(),
            last: Instant::now(),
            cost: None,
            steps_before,
        }
    }

    /// Whether enough time has passed for a checkpoint in the middle of an epoch.
    pub fn is_due(&self) -> bool {
        self.last.elapsed() >= Self::INTERVAL && self.is_worth_it()
    }

    /// Whether a checkpoint at the end of an epoch is worth its time. The first always is.
    pub fn is_worth_it(&self) -> bool {
        self.cost
            .is_none_or(|cost| self.last.elapsed() >= cost * Self::MIN_INTERVAL_PER_COST)
    }

    pub fn write(&mut self, checkpoint: &Checkpoint) -> Result<(), Halt> {
        let (began, waited) = (Instant::now(), self.dir.waited());
        let position = checkpoint.position;
        let file = format!("checkpoint-{}.safetensors", self.steps_before + position.step);
        let path = self.dir.file(&file);
        self.dir
            .retry_when_full(|| checkpoint::write(&path, checkpoint))
            .map_err(anyhow::Error::new)?;
        let artifact = self.dir.artifact(&file)?;
        let event = CheckpointEvent {
            step: position.step,
            epoch: position.epoch_of_last_step(),
            file: artifact.file,
            sha256: artifact.sha256,
            bytes: artifact.bytes,
        };
        self.reporter.send(&WorkerMessage::Checkpoint { event });
        self.files.retain(|known| *known != file);
        self.files.push(file);
        while self.files.len() > Self::MAX_KEPT {
            fs::remove_file(self.dir.file(&self.files.remove(0)))?;
        }
        self.cost = Some(began.elapsed().saturating_sub(self.dir.waited() - waited));
        self.last = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_due_after_a_minute_but_never_for_more_than_a_twentieth_of_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let reporter = Reporter::to(std::io::sink());
        let mut checkpoint_writer = CheckpointWriter::new(&RunDir::new(folder.path()), &reporter, 0);
        assert!(!checkpoint_writer.is_due());
        assert!(checkpoint_writer.is_worth_it(), "the first always is");
        let ago = |seconds| Instant::now() - Duration::from_secs(seconds);
        checkpoint_writer.last = ago(61);
        assert!(checkpoint_writer.is_due());
        checkpoint_writer.cost = Some(Duration::from_secs(10));
        assert!(!checkpoint_writer.is_due() && !checkpoint_writer.is_worth_it());
        checkpoint_writer.last = ago(201);
        assert!(checkpoint_writer.is_due() && checkpoint_writer.is_worth_it());
    }
}
