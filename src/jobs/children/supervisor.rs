//! Supervises one one-shot child from its start until it and all processes it started are gone.
//!
//! Exits are reported by the kernel, a hang is a lack of progress. To stop a child, its stdin is closed, and after a grace period its
//! process group is killed: a long period if the child has something to save, a short one if its result is no longer needed. This module
//! only reports what the child did; callers decide what that means for a job or dataset.

use std::{
    fs,
    future::{self, Future},
    io,
    path::Path,
    pin::pin,
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
    process::{self, ChildGroup, Exit, FreedMemory, Pipes, lines::Lines, lock, log::Log, sandbox::Mode},
    protocol::{RESULT_FILE, RUN_FILE, RunResult, WorkerMessage, memory},
};

/// Longest message of a child, in bytes.
const MAX_MESSAGE: usize = 64 << 10;
/// Largest result file; it holds a model card or the classes of a dataset.
const MAX_RESULT: u64 = 16 << 20;
/// Longest time that a child may announce before its next message.
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 3600);
/// How long the pipes of an ended child may stay open: a process that left its process group may hold them.
const DRAIN: Duration = Duration::from_secs(2);
/// Lines still read after a child has ended: more than a pipe and our buffer can hold.
const MAX_DRAINED: usize = 128 << 10;
/// Unparsable lines that are logged; further ones are only counted.
const SHOWN_GARBAGE: u64 = 10;

/// A child to be started.
pub struct Run<'a> {
    pub program: &'a Path,
    /// Its directory, with the run file.
    pub dir: &'a Path,
    pub log: Log,
    pub limits: &'a Limits,
    pub sandbox: Mode,
}

/// A request to stop a child. `C` is the reason.
pub struct Stop<C> {
    pub cause: C,
    /// How long it may take before it is killed.
    grace: Duration,
}

impl<C> Stop<C> {
    /// Its work counts: it may save it, or finish.
    pub fn with_time_to_save(cause: C, limits: &Limits) -> Self {
        let grace = limits.stop_grace();
        Self { cause, grace }
    }

    /// Its result is no longer needed.
    pub fn at_once(cause: C, limits: &Limits) -> Self {
        let grace = limits.cancel_grace().min(limits.stop_grace());
        Self { cause, grace }
    }
}

/// How a child ended. `C` is the reason for stopping it.
#[derive(Debug)]
pub enum Outcome<C> {
    /// It could not be started.
    NotStarted(io::Error),
    /// It exited. Its result is used only with exit status 0: a child that crashes after writing its result is not trusted.
    Ended { status: Exit, result: Option<RunResult> },
    /// It made no progress for this long and was killed.
    Stalled(Duration),
    /// It was asked to stop, and exited or was killed after the grace period. It may have finished nevertheless.
    Stopped { cause: C, result: Option<RunResult> },
    /// The kernel did not report how it ended.
    Unknown(io::Error),
}

#[derive(Debug)]
pub struct Report<C> {
    pub outcome: Outcome<C>,
    /// The last line that it wrote to stderr.
    pub last_line: Option<String>,
    /// Lines on its stdout that were not messages.
    pub garbage: u64,
}

/// Runs one child. Its messages go into `messages`; while the channel is full the child waits, and that time does not count towards its
/// deadline. When `stop` is ready, the child is asked to stop.
pub async fn supervise<C>(
    run: &Run<'_>,
    messages: mpsc::Sender<WorkerMessage>,
    stop: impl Future<Output = Stop<C>>,
) -> Report<C> {
    let sandbox = run.sandbox.name();
    let arguments = [
        "run".as_ref(),
        "--run-dir".as_ref(),
        run.dir.as_os_str(),
        "--sandbox".as_ref(),
        sandbox.as_ref(),
    ];
    let started = process::spawn(
        run.program,
        &arguments,
        run.dir,
        FreedMemory::GivenBack,
        memory_of(run.dir),
    )
    .await;
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
    // A process that left the child's process group was not killed with it.
    if let Err(error) = lock::vacate(run.dir, lock::PATIENCE).await {
        tracing::error!(dir = %run.dir.display(), %error, "a worker has ended but processes that it started have not");
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

/// What the run in a folder may use: a moment ago the server wrote down there what it is.
fn memory_of(dir: &Path) -> Option<u64> {
    let run = serde_json::from_slice(&fs::read(dir.join(RUN_FILE)).ok()?).ok()?;
    memory::bound(&run, |path| fs::metadata(path).map_or(0, |about| about.len()))
}

/// Why supervision ended.
enum Ending<C> {
    ByItself,
    Stalled(Duration),
    Stopped(C),
}

struct End<C> {
    ending: Ending<C>,
    status: io::Result<Exit>,
}

/// Returns when the child has exited.
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
        // In this order: a stop request comes first, and a message that has already arrived counts before the deadline it meets.
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

/// Reads a child's stdout and forwards its messages.
struct Talk {
    lines: Lines<ChildStdout>,
    open: bool,
    messages: mpsc::Sender<WorkerMessage>,
    /// Read but not yet forwarded.
    pending: Option<WorkerMessage>,
    step_deadline: Duration,
    /// Time until the next message is due, and that instant.
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

    /// Whether the child, and not the server, is what is being waited for.
    fn waits_for_the_child(&self) -> bool {
        self.pending.is_none()
    }

    /// Forwards a message or reads a line; returns whether that was progress. Cancel-safe: no message is lost.
    async fn advance(&mut self) -> bool {
        if self.pending.is_some() {
            // If there is no receiver any more, messages are read and dropped.
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

    /// Reads what an exited child has left in the pipe.
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

/// The result file, if it exists and can be read.
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

/// How a child ended, for the last line of its log.
fn describe<C>(report: &Report<C>) -> String {
    let end = match &report.outcome {
        Outcome::NotStarted(error) => format!("the worker could not be started: {error}"),
        Outcome::Ended { status, .. } => format!("the worker ended with {}", process::describe(*status)),
        Outcome::Stalled(allowed) => format!(
            "the worker made no progress for {} s and was killed",
            allowed.as_secs()
        ),
        Outcome::Stopped { .. } => "the worker was asked to stop and has ended".to_owned(),
        Outcome::Unknown(error) => format!("the worker has ended: {error}"),
    };
    match report.garbage {
        0 => end,
        lines => format!("{end}; {lines} line(s) on its stdout were no messages"),
    }
}
