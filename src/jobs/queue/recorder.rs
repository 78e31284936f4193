//! Records the messages of a job's child: events, progress and the best epoch so far, in a few transactions per second.
//!
//! Every write is guarded by the attempt. If the job no longer belongs to this attempt, nothing more is written or read, and the child is
//! stopped.

use std::{mem, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        id::JobId,
        jobs::{
            event::EventKind,
            job::{Best, WaitingFor},
        },
    },
    error::Kind,
    jobs::disk_waits::{DiskWait, DiskWaits},
    protocol::WorkerMessage,
    store::{JobUpdate, Store},
};

/// Longest time that an event waits to be written together with others; each transaction costs a sync to disk.
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// Most events per transaction.
const MOST_EVENTS: usize = 64;
/// How often the last write of an ended child is retried.
const LAST_TRIES: u32 = 5;

/// Records one attempt.
pub struct Recorder {
    pub store: Store,
    pub job: JobId,
    pub attempt: u32,
    /// Fires when the job no longer belongs to this attempt.
    pub lost: CancellationToken,
    pub shutdown: CancellationToken,
    /// Where it is registered that the child, or this, waits for disk space.
    pub waits: DiskWaits,
}

impl Recorder {
    /// Receives messages until the child has ended or the job is lost.
    pub async fn run(self, mut messages: mpsc::Receiver<WorkerMessage>) {
        let mut batch = Batch::new(self.attempt);
        // As long as the child reports that it waits.
        let mut child_waits: Option<DiskWait> = None;
        loop {
            let due = batch.due;
            tokio::select! {
                message = messages.recv() => match message {
                    Some(WorkerMessage::Waiting { waiting: Some(WaitingFor::Disk) }) => {
                        child_waits.get_or_insert_with(|| self.waits.begin(&self.job));
                    }
                    Some(WorkerMessage::Waiting { waiting: None }) => child_waits = None,
                    Some(message) => batch.add(&message),
                    None => break,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            if batch.is_due() && !self.write(batch.take(), &messages).await {
                return;
            }
        }
        if batch.due.is_some() {
            self.write(batch.take(), &messages).await;
        }
    }

    /// Returns false if the job is lost. While the database cannot be written, the child waits. The last messages of an ended child are
    /// dropped after some retries, because how its job ended matters more.
    /// up after some tries, because how its job ended matters more.
    async fn write(&self, update: JobUpdate, messages: &mpsc::Receiver<WorkerMessage>) -> bool {
        let mut failures = 0;
        let mut wait: Option<DiskWait> = None;
        loop {
            match self
                .store
                .update_job(self.job, self.attempt, update.clone())
                .await
            {
                Ok(true) => return true,
                Ok(false) => {
                    tracing::warn!(job = %self.job, attempt = self.attempt, "another attempt has taken over the job");
                    self.lost.cancel();
                    return false;
                }
                Err(error) => {
                    if error.kind() == Kind::DiskFull {
                        wait.get_or_insert_with(|| self.waits.begin(&self.job));
                    } else {
                        failures += 1;
                    }
                    tracing::error!(job = %self.job, %error, "cannot record a worker's messages; retrying");
                }
            }
            let child_gone = messages.is_closed();
            if self.shutdown.is_cancelled() || (child_gone && failures > LAST_TRIES) {
                return true;
            }
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// The messages to write next.
struct Batch {
    update: JobUpdate,
    /// When to write them; `None` while there are none.
    due: Option<Instant>,
    /// A later attempt that starts from the beginning records a rewind before its first step.
    must_rewind: bool,
}

impl Batch {
    fn new(attempt: u32) -> Self {
        Self {
            update: JobUpdate::default(),
            due: None,
            must_rewind: attempt > 1,
        }
    }

    fn add(&mut self, message: &WorkerMessage) {
        let now = Instant::now();
        let mut urgent = false;
        match message {
            WorkerMessage::Alive { .. } | WorkerMessage::Waiting { .. } => return,
            WorkerMessage::Step { progress, .. } => {
                self.rewind_to_start();
                self.update.progress = Some(progress.clone());
            }
            WorkerMessage::Progress { progress } => self.update.progress = Some(progress.clone()),
            WorkerMessage::Epoch { event, progress } => {
                self.rewind_to_start();
                self.update.progress = Some(progress.clone());
                if event.best {
                    self.update.best = Some(Best {
                        epoch: event.epoch,
                        val_loss: event.val_loss,
                        val_accuracy: event.val_accuracy,
                    });
                }
                urgent = true;
            }
            WorkerMessage::Resumed { .. } => {
                self.must_rewind = false;
                urgent = true;
            }
            WorkerMessage::Checkpoint { .. } | WorkerMessage::Warning { .. } => urgent = true,
            WorkerMessage::Log { .. } => {}
        }
        self.update.events.extend(message.event());
        let full = self.update.events.len() >= MOST_EVENTS;
        let due = if urgent || full { now } else { now + LONGEST_WAIT };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    fn rewind_to_start(&mut self) {
        if mem::take(&mut self.must_rewind) {
            let start = WorkerMessage::Resumed { step: 0, epoch: 0 };
            debug_assert!(matches!(start.event(), Some((EventKind::Rewind, _))));
            self.update.events.extend(start.event());
        }
    }

    fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    fn take(&mut self) -> JobUpdate {
        self.due = None;
        mem::take(&mut self.update)
    }
}
