//! A one-shot child's ends of the pipes: messages out, stop requests in, the result file last.
//!
//! Used by `ingest` and by jobs of all kinds. Nothing else in the worker prints to stdout or reads stdin.

use std::{
    io::{self, Read, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::protocol::WorkerMessage;

/// Where a child reports what it does. Cheap to clone; lines never mix.
#[derive(Clone)]
pub struct Reporter {
    out: Arc<Mutex<Box<dyn Write + Send>>>,
    without_losses: bool,
}

impl Reporter {
    pub fn stdout() -> Self {
        Self::to(io::stdout())
    }

    /// For tests: messages go into any writer.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Arc::new(Mutex::new(Box::new(out))),
            without_losses: false,
        }
    }

    /// One that passes on logs and signs of life, but no losses and no progress: those of several trainings in one run would be mixed up.
    pub fn without_losses(&self) -> Self {
        Self {
            without_losses: true,
            ..self.clone()
        }
    }

    /// Sends one message. A server that no longer listens is not an error here: the end of stdin reveals that.
    pub fn send(&self, message: &WorkerMessage) {
        let tells_losses = matches!(
            message,
            WorkerMessage::Step { .. }
                | WorkerMessage::Epoch { .. }
                | WorkerMessage::Progress { .. }
                | WorkerMessage::Checkpoint { .. }
                | WorkerMessage::Resumed { .. }
        );
        if self.without_losses && tells_losses {
            return;
        }
        let Ok(mut line) = serde_json::to_vec(message) else {
            return;
        };
        line.push(b'\n');
        if let Ok(mut out) = self.out.lock() {
            let _ = out.write_all(&line).and_then(|()| out.flush());
        }
    }
}

/// The server asked the child to stop, and its state is saved: the reason why a run ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped because stdin was closed; the state is saved")]
pub struct Stopped;

/// Set once the child should save its state and exit.
#[derive(Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Watches stdin on its own thread: end of file (or an error) sets the flag.
    pub fn from_stdin() -> Self {
        let flag = Self::default();
        let watcher = flag.clone();
        thread::spawn(move || {
            let mut ignored = [0; 256];
            while matches!(io::stdin().read(&mut ignored), Ok(count) if count > 0) {}
            watcher.set();
        });
        flag
    }

    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
