//! Watches one one-shot child from its start until it and everything it started is gone.
//!
//! Death is seen from the kernel, a hang from missing progress. Stopping is one act: its stdin ends, and after a grace period its process
//! group is killed: a long one where the child has something to save, a short one where nobody wants it any more. What the child did is
//! only reported here; what that means for a job or a dataset is for the callers to say.

use std::{
    ffi::OsStr,
    future::{self, Future},
    io,
    path::Path,
    pin::pin,
    process::ExitStatus,
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    process::ChildStdout,
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    limits::Limits,
    process::{self, ChildGroup, FreedMemory, Pipes, lines::Lines, lock, log::Log},
    protocol::{RESULT_FILE, RunResult, WorkerMessage},
};

/// Longest message of a child, in bytes.
const MAX_MESSAGE: usize = 64 << 10;
/// Largest result file; it holds a model card or the classes of a dataset.
const MAX_RESULT: u64 = 16 << 20;
/// Longest time that a child may ask for before its next message.
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 3600);
/// How long the pipes of a child that is gone may stay open: somebody who left its process group may hold them.
const DRAIN: Duration = Duration::from_secs(2);
/// Lines that are still read of a child that is gone: more than a pipe and our buffer hold.
const MAX_DRAINED: usize = 128 << 10;
/// Lines of garbage that are written into the log; the others are only counted.
const SHOWN_GARBAGE: u64 = 10;

/// A child that is to be started.
pub struct Run<'a> {
    pub program: &'a Path,
    /// Its folder, with the run file in it.
    pub dir: &'a Path,
    pub log: Log,
    pub limits: &'a Limits,
}

/// The wish that a child leaves. `C` says why.
pub struct Stop<C> {
    pub cause: C,
    /// How long it may take before it is killed.
    grace: Duration,
}

impl<C> Stop<C> {
    /// What it has so far counts: it may save it, or come to its end.
    pub fn with_time_to_save(cause: C, limits: &Limits) -> Self {
        let grace = limits.stop_grace();
        Self { cause, grace }
    }

    /// Nothing of it is wanted any more.
    pub fn at_once(cause: C, limits: &Limits) -> Self {
        let grace = limits.cancel_grace().min(limits.stop_grace());
        Self { cause, grace }
    }
}

/// What came of a child. `C` says why it was stopped.
#[derive(Debug)]
pub enum Outcome<C> {
    /// It could not be started.
    NotStarted(io::Error),
    /// It ended by itself. There is a result only with exit status 0: one that breaks down after it wrote its result is not trusted.
    Ended {
        status: ExitStatus,
        result: Option<RunResult>,
    },
    /// It made no progress for this long and was killed.
    Stalled(Duration),
    /// It was asked to leave, and has left or was killed after the grace period. It may have finished nevertheless.
    Stopped { cause: C, result: Option<RunResult> },
    /// The kernel does not say what became of it.
    Unknown(io::Error),
}

#[derive(Debug)]
pub struct Report<C> {
    pub outcome: Outcome<C>,
    /// The last line that it wrote to stderr.
    pub last_line: Option<String>,
    /// Lines on its stdout that were no messages.
    pub garbage: u64,
}

/// Runs one child. Its messages go into `messages`; while nobody takes them the child waits, and that time does not count against it.
/// When `stop` is ready the child is asked to leave.
pub async fn supervise<C>(
    run: &Run<'_>,
    messages: mpsc::Sender<WorkerMessage>,
    stop: impl Future<Output = Stop<C>>,
) -> Report<C> {
    let arguments = [OsStr::new("run"), OsStr::new("--run-dir"), run.dir.as_os_str()];
    let started = process::spawn(run.program, &arguments, run.dir, FreedMemory::GivenBack).await;
    let (mut child, pipes) = match started {
        Ok(started) => started,
        Err(error) => {
            run.log.note(&format!("cannot start the worker: {error}")).await;
            return Report {
                outcome: Outcome::NotStarted(error),
                last_line: None,
                garbage: 0,
            };
        }
    };
    let Pipes {
        stdin,
        stdout,
        stderr,
    } = pipes;
    let log = run.log.clone();
    let mut errors = tokio::spawn(async move { log.copy(stderr).await });
    let mut talk = Talk::new(run, stdout, messages);
    let end = watch(&mut child, stdin, &mut talk, stop).await;
    // Who left the child's process group was not killed with it.
    if let Err(error) = lock::vacate(run.dir, lock::PATIENCE).await {
        tracing::error!(dir = %run.dir.display(), %error, "a worker is gone and what it started is not");
    }
    talk.drain().await;
    let last_line = match timeout(DRAIN, &mut errors).await {
        Ok(copied) => copied.unwrap_or_default(),
        Err(_) => {
            errors.abort();
            None
        }
    };
    let report = Report {
        outcome: outcome(run.dir, end).await,
        last_line,
        garbage: talk.garbage,
    };
    run.log.note(&describe(&report)).await;
    report
}

/// Why the watch is over.
enum Ending<C> {
    ByItself,
    Stalled(Duration),
    Stopped(C),
}

struct End<C> {
    ending: Ending<C>,
    status: io::Result<ExitStatus>,
}

/// Returns when the child is gone.
async fn watch<C>(
    child: &mut ChildGroup,
    stdin: impl Sized,
    talk: &mut Talk,
    stop: impl Future<Output = Stop<C>>,
) -> End<C> {
    let mut stdin = Some(stdin);
    let mut stop = pin!(stop);
    let mut ending = Ending::ByItself;
    let mut kill_at = None;
    loop {
        let running = matches!(ending, Ending::ByItself);
        let watched = running && talk.waits_for_the_child();
        let deadline = talk.deadline;
        // In this order: what was asked for comes first, and a message that is there already counts before the deadline that it meets.
        let stalled = tokio::select! {
            biased;
            Stop { cause, grace } = &mut stop, if running => {
                ending = Ending::Stopped(cause);
                stdin.take();
                kill_at = Some(Instant::now() + grace);
                false
            }
            () = sleep_until(kill_at.unwrap_or(deadline)), if kill_at.is_some() => {
                child.kill();
                kill_at = None;
                false
            }
            status = child.wait() => return End { ending, status },
            progress = talk.advance() => watched && !progress && Instant::now() >= deadline,
            () = sleep_until(deadline), if watched => true,
        };
        if stalled {
            ending = Ending::Stalled(talk.allowed);
            child.kill();
        }
    }
}

/// A child's stdout on its way to those who want its messages.
struct Talk {
    lines: Lines<ChildStdout>,
    open: bool,
    messages: mpsc::Sender<WorkerMessage>,
    /// Read and not yet handed over.
    pending: Option<WorkerMessage>,
    step_deadline: Duration,
    /// Time until the next message is due, and when that is.
    allowed: Duration,
    deadline: Instant,
    garbage: u64,
    log: Log,
}

impl Talk {
    fn new(run: &Run<'_>, stdout: ChildStdout, messages: mpsc::Sender<WorkerMessage>) -> Self {
        let allowed = run.limits.load_deadline();
        Self {
            lines: Lines::new(stdout, MAX_MESSAGE),
            open: true,
            messages,
            pending: None,
            step_deadline: run.limits.step_deadline(),
            allowed,
            deadline: Instant::now() + allowed,
            garbage: 0,
            log: run.log.clone(),
        }
    }

    /// Whether it is the child, and not the server, that keeps us waiting.
    fn waits_for_the_child(&self) -> bool {
        self.pending.is_none()
    }

    /// Hands a message over or reads a line, and says whether that was progress. May be dropped at any time without losing a message.
    async fn advance(&mut self) -> bool {
        if self.pending.is_some() {
            // Nobody may be listening any more; then messages are read only to be dropped.
            if let Ok(place) = self.messages.reserve().await
                && let Some(message) = self.pending.take()
            {
                place.send(message);
            }
            self.pending = None;
            self.deadline = Instant::now() + self.allowed;
            return true;
        }
        if !self.open {
            return future::pending().await;
        }
        match self.lines.next().await {
            Ok(Some(line)) => self.hear(&line.bytes, line.cut).await,
            Ok(None) | Err(_) => {
                self.open = false;
                false
            }
        }
    }

    async fn hear(&mut self, line: &[u8], cut: bool) -> bool {
        let message = serde_json::from_slice(line).ok().filter(|_| !cut);
        let Some(message) = message else {
            self.garbage += 1;
            if self.garbage <= SHOWN_GARBAGE {
                let shown = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
                self.log.note(&format!("not a message: {shown}")).await;
            }
            return false;
        };
        self.allowed = match message {
            WorkerMessage::Alive {
                deadline_seconds: Some(seconds),
            } => Duration::from_secs(seconds).min(MAX_DEADLINE),
            _ => self.step_deadline,
        };
        self.pending = Some(message);
        true
    }

    /// Takes what a child that is gone has left in the pipe.
    async fn drain(&mut self) {
        for _ in 0..MAX_DRAINED {
            if self.pending.is_some() {
                self.advance().await;
            } else if !self.open || timeout(DRAIN, self.advance()).await.is_err() {
                return;
            }
        }
    }
}

async fn outcome<C>(dir: &Path, end: End<C>) -> Outcome<C> {
    let status = match (end.ending, end.status) {
        (Ending::Stalled(allowed), _) => return Outcome::Stalled(allowed),
        (Ending::Stopped(cause), status) => {
            let finished = status.is_ok_and(|status| status.success());
            let result = if finished { read_result(dir).await } else { None };
            return Outcome::Stopped { cause, result };
        }
        (Ending::ByItself, status) => status,
    };
    match status {
        Ok(status) => {
            let result = if status.success() {
                read_result(dir).await
            } else {
                None
            };
            Outcome::Ended { status, result }
        }
        Err(error) => Outcome::Unknown(error),
    }
}

/// The result file, if it is there and can be read.
async fn read_result(dir: &Path) -> Option<RunResult> {
    let file = tokio::fs::File::open(dir.join(RESULT_FILE)).await.ok()?;
    let mut text = Vec::new();
    let read = file.take(MAX_RESULT + 1).read_to_end(&mut text).await;
    let result = match read {
        Ok(_) if text.len() as u64 > MAX_RESULT => Err(anyhow::anyhow!("it is too large")),
        Ok(_) => serde_json::from_slice(&text).map_err(anyhow::Error::from),
        Err(error) => Err(error.into()),
    };
    result
        .inspect_err(
            |error| tracing::error!(dir = %dir.display(), %error, "a worker's result cannot be read"),
        )
        .ok()
}

/// How a child ended, as the last line of its log.
fn describe<C>(report: &Report<C>) -> String {
    let end = match &report.outcome {
        Outcome::NotStarted(error) => format!("the worker could not be started: {error}"),
        Outcome::Ended { status, .. } => format!("the worker ended with {}", process::describe(*status)),
        Outcome::Stalled(allowed) => format!(
            "the worker made no progress for {} s and was killed",
            allowed.as_secs()
        ),
        Outcome::Stopped { .. } => "the worker was asked to leave and is gone".to_owned(),
        Outcome::Unknown(error) => format!("the worker is gone: {error}"),
    };
    match report.garbage {
        0 => end,
        lines => format!("{end}; {lines} line(s) on its stdout were no messages"),
    }
}
