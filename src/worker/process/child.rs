//! A one-shot child's ends of the pipes: messages out, stop requests in, the result file last.
//!
//! Used by `ingest` and by jobs of all kinds. Nothing else in the worker prints to stdout or reads stdin.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    io::{retry_on_intr, write},
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

/// The same for a while: dropping it ends the thread.
pub struct StdinWatch {
    flag: StopFlag,
    over: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl StdinWatch {
    /// # Errors
    /// There can be no more open files.
    pub fn begin() -> io::Result<Self> {
        Self::on(io::stdin())
    }

    fn on(mut input: impl Read + AsFd + Send + 'static) -> io::Result<Self> {
        let over = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let flag = StopFlag::default();
        let (watcher, until) = (flag.clone(), over.clone());
        let thread = thread::spawn(move || {
            loop {
                let mut ready = [
                    PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN),
                    PollFd::new(&*until, PollFlags::IN),
                ];
                let polled = retry_on_intr(|| poll(&mut ready, None));
                let [has_input, is_over] = ready.map(|each| !each.revents().is_empty());
                if polled.is_err() || is_over {
                    return;
                }
                if has_input && !matches!(input.read(&mut [0; 256]), Ok(count) if count > 0) {
                    return watcher.set();
                }
            }
        });
        Ok(Self {
            flag,
            over,
            thread: Some(thread),
        })
    }

    pub fn flag(&self) -> StopFlag {
        self.flag.clone()
    }
}

impl Drop for StdinWatch {
    fn drop(&mut self) {
        let _ = write(&*self.over, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_watch_hears_the_end_of_stdin_and_can_be_ended_before_it() {
        let (input, output) = io::pipe().unwrap();
        let watch = StdinWatch::on(input).unwrap();
        let flag = watch.flag();
        assert!(!flag.is_set());
        drop(output);
        let begun = Instant::now();
        while !flag.is_set() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the end was not heard");
            thread::yield_now();
        }
        drop(watch);
        let (input, mut output) = io::pipe().unwrap();
        let watch = StdinWatch::on(input).unwrap();
        output.write_all(b"ignored").unwrap();
        let flag = watch.flag();
        drop(watch);
        assert!(!flag.is_set());
    }
}
