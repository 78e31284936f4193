//! When checkpoints are written, and which are kept: after epochs and at intervals, the last two.
//!
//! On a card the steps go on while a copy is written: the disk takes seconds for what the card computes in none. On the CPU they do not, because
//! copying and hashing would take the time from them.

use std::{
    fs, panic,
    thread::{self, JoinHandle},
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
    /// Whether steps go on while one is written.
    is_beside: bool,
    /// One that is being written.
    beside: Option<JoinHandle<Result<Written, Halt>>>,
    /// Names of the existing files, oldest first.
    files: Vec<String>,
    last: Instant,
    /// How long the last one took to write; none before the first.
    cost: Option<Duration>,
    /// Steps of a training before this one in the same run: the newest file has the highest number.
    steps_before: u64,
}

/// A checkpoint that is there.
struct Written {
    file: String,
    cost: Duration,
}

impl CheckpointWriter {
    const INTERVAL: Duration = Duration::from_secs(60);
    const MAX_KEPT: usize = 2;
    /// Epochs may be shorter than writing a checkpoint takes: at most one part in this many of the time is spent on writing.
    const MIN_INTERVAL_PER_COST: u32 = 20;

    /// `is_beside`: steps go on while one is written.
    pub fn new(dir: &RunDir, reporter: &Reporter, steps_before: u64, is_beside: bool) -> Self {
        Self {
            dir: dir.clone(),
            reporter: reporter.clone(),
            is_beside,
            beside: None,
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
        let is_free = self.beside.as_ref().is_none_or(JoinHandle::is_finished);
        is_free
            && self
                .cost
                .is_none_or(|cost| self.last.elapsed() >= cost * Self::MIN_INTERVAL_PER_COST)
    }

    /// Writes one, or begins to.
    ///
    /// # Errors
    /// Also that of the one before.
    pub fn write(&mut self, checkpoint: Checkpoint) -> Result<(), Halt> {
        if !self.is_beside {
            return self.write_now(&checkpoint);
        }
        self.settle()?;
        let copy = checkpoint.copied();
        let (dir, reporter) = (self.dir.clone(), self.reporter.clone());
        let file = self.file_of(&copy);
        self.beside = Some(thread::spawn(move || written(&dir, &reporter, file, &copy)));
        self.last = Instant::now();
        Ok(())
    }

    /// Writes one before anything else happens: the process may end after it.
    ///
    /// # Errors
    /// As [`CheckpointWriter::write`].
    pub fn write_now(&mut self, checkpoint: &Checkpoint) -> Result<(), Halt> {
        self.settle()?;
        let file = self.file_of(checkpoint);
        let written = written(&self.dir, &self.reporter, file, checkpoint)?;
        self.keep(written)?;
        self.last = Instant::now();
        Ok(())
    }

    /// Waits for one that is being written.
    ///
    /// # Errors
    /// It could not be.
    pub fn settle(&mut self) -> Result<(), Halt> {
        let Some(beside) = self.beside.take() else {
            return Ok(());
        };
        let written = beside
            .join()
            .unwrap_or_else(|fault| panic::resume_unwind(fault))?;
        self.keep(written)
    }

    fn keep(&mut self, Written { file, cost }: Written) -> Result<(), Halt> {
        self.files.retain(|known| *known != file);
        self.files.push(file);
        while self.files.len() > Self::MAX_KEPT {
            fs::remove_file(self.dir.file(&self.files.remove(0)))?;
        }
        self.cost = Some(cost);
        Ok(())
    }

    fn file_of(&self, checkpoint: &Checkpoint) -> String {
        format!(
            "checkpoint-{}.safetensors",
            self.steps_before + checkpoint.position.step
        )
    }
}

/// Writes a checkpoint and tells about it.
fn written(
    dir: &RunDir,
    reporter: &Reporter,
    file: String,
    checkpoint: &Checkpoint,
) -> Result<Written, Halt> {
    let (began, waited) = (Instant::now(), dir.waited());
    let path = dir.file(&file);
    dir.retry_when_full(|| checkpoint::write(&path, checkpoint))
        .map_err(anyhow::Error::new)?;
    let artifact = dir.artifact(&file)?;
    let event = CheckpointEvent {
        step: checkpoint.position.step,
        epoch: checkpoint.position.epoch_of_last_step(),
        file: artifact.file,
        sha256: artifact.sha256,
        bytes: artifact.bytes,
    };
    reporter.send(&WorkerMessage::Checkpoint { event });
    let cost = began.elapsed().saturating_sub(dir.waited() - waited);
    Ok(Written { file, cost })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tch::Tensor;

    use super::{
        checkpoint::{Machine, Position, SavedBest},
        *,
    };
    use crate::{
        domain::models::model::ModelMetrics,
        worker::{
            files::state::StateDict,
            train::{progress::meter::Sums, tests::drawn::Told},
            weights::BaseWeights,
        },
    };

    /// After so many steps.
    fn checkpoint(step: u64) -> Checkpoint {
        Checkpoint {
            job: "job".to_owned(),
            machine: Machine {
                device: "cpu".to_owned(),
                threads: 1,
                libtorch: String::new(),
                precision: "fp32".to_owned(),
                convolutions: String::new(),
            },
            position: Position {
                step,
                ..Position::START
            },
            sums: Sums::default(),
            history: Vec::new(),
            base_weights: BaseWeights::none(),
            seconds_used: 0.0,
            batch_limit: 8,
            loss_scale: None,
            model: StateDict::from([("weight".to_owned(), Tensor::from_slice(&[1f32, 2.0]))]),
            average: StateDict::new(),
            optimizer: StateDict::new(),
            second: StateDict::new(),
            best: None,
            baseline: None,
        }
    }

    #[test]
    fn a_copy_shares_no_memory_with_what_learns() {
        let part = |value: f32| StateDict::from([("part".to_owned(), Tensor::from_slice(&[value]))]);
        let metrics = ModelMetrics {
            epoch: 1,
            train_loss: 0.5,
            train_accuracy: 0.5,
            val_loss: None,
            val_accuracy: None,
            val_map: None,
            train_images: 1,
            val_images: 0,
            test_images: 0,
        };
        let state = Checkpoint {
            model: part(1.0),
            average: part(2.0),
            optimizer: part(3.0),
            second: part(4.0),
            best: Some(SavedBest {
                metrics,
                weights: Some(part(5.0)),
            }),
            ..checkpoint(1)
        };
        let parts = |state: &Checkpoint| {
            let best = state.best.as_ref().and_then(|best| best.weights.as_ref());
            let all = [&state.model, &state.average, &state.optimizer, &state.second];
            let all = all.into_iter().chain(best);
            all.map(|part| part["part"].shallow_clone()).collect::<Vec<_>>()
        };
        let learning = parts(&state);
        let copy = state.copied();
        for mut tensor in learning {
            let _ = tensor.fill_(9.0);
        }
        let kept: Vec<f64> = parts(&copy)
            .iter()
            .map(|tensor| tensor.double_value(&[0]))
            .collect();
        assert_eq!(kept, [1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    fn writer(folder: &tempfile::TempDir, told: &Told, is_beside: bool) -> CheckpointWriter {
        let reporter = Reporter::to(told.clone());
        CheckpointWriter::new(&RunDir::new(folder.path()), &reporter, 0, is_beside)
    }

    #[test]
    fn one_is_due_after_a_minute_but_never_for_more_than_a_twentieth_of_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoint_writer = writer(&folder, &Told::default(), false);
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

    #[test]
    fn what_is_written_beside_the_steps_is_what_was_there_before_them() {
        let (folder, told) = (tempfile::tempdir().unwrap(), Told::default());
        let mut writer = writer(&folder, &told, true);
        for step in 1..=3 {
            let state = checkpoint(step);
            let mut weight = state.model["weight"].shallow_clone();
            let before = weight.copy();
            writer.write(state).unwrap();
            // The next step changes the weights in place.
            let _ = weight.fill_(7.0);
            writer.settle().unwrap();
            let path = folder.path().join(format!("checkpoint-{step}.safetensors"));
            let read = checkpoint::read(&path, "job").unwrap();
            assert!(read.model["weight"].equal(&before), "step {step}");
        }
        assert_eq!(
            writer.files,
            ["checkpoint-2.safetensors", "checkpoint-3.safetensors"]
        );
        assert!(!folder.path().join("checkpoint-1.safetensors").exists());
        let steps = told.messages().into_iter().filter_map(|message| match message {
            WorkerMessage::Checkpoint { event } => Some(event.step),
            _ => None,
        });
        assert_eq!(steps.collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn none_is_begun_while_one_is_written_and_a_failure_is_told_by_the_next() {
        let (folder, told) = (tempfile::tempdir().unwrap(), Told::default());
        let mut writer = writer(&folder, &told, true);
        let (end, ended) = mpsc::channel::<()>();
        writer.beside = Some(thread::spawn(move || {
            ended.recv().unwrap();
            Err(anyhow::anyhow!("no").into())
        }));
        assert!(!writer.is_worth_it(), "one is being written");
        end.send(()).unwrap();
        assert!(writer.write(checkpoint(1)).is_err());
        writer.write_now(&checkpoint(2)).unwrap();
        assert_eq!(writer.files, ["checkpoint-2.safetensors"]);
    }
}
