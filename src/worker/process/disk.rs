//! Writing to a disk that may be full: a run that may wait retries until there is space, and tells the server meanwhile.
//!
//! [`OutputFile`] is for incremental writing: the kernel accepts or refuses a piece, so a refused piece is written again at the end of the
//! file. [`RunDir::retry_when_full`](super::run_dir::RunDir::retry_when_full) is for files that are written as a whole. A failed sync
//! itself is never retried, because the kernel may have dropped the data that it could not write.

use std::{
    error::Error,
    fs::File,
    io::{self, ErrorKind, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::child::{Reporter, StopFlag};
use crate::{domain::jobs::job::WaitingFor, protocol::WorkerMessage};

/// How a run waits for disk space: it reports that, and gives up when it is asked to stop.
#[derive(Clone)]
pub struct DiskWait {
    reporter: Reporter,
    stop: StopFlag,
    waited: Arc<AtomicU64>,
}

impl DiskWait {
    /// Time between two attempts.
    const RETRY_EVERY: Duration = Duration::from_millis(500);
    /// How often the stop flag is checked.
    const POLL_INTERVAL: Duration = Duration::from_millis(50);

    pub fn new(reporter: &Reporter, stop: &StopFlag) -> Self {
        Self {
            reporter: reporter.clone(),
            stop: stop.clone(),
            waited: Arc::default(),
        }
    }

    /// Total time spent waiting.
    pub fn waited(&self) -> Duration {
        Duration::from_millis(self.waited.load(Ordering::SeqCst))
    }

    /// Repeats `act` while it fails because the disk is full.
    ///
    /// # Errors
    /// Those of `act`; a full disk only when the run is asked to stop.
    pub fn retry<T, E: Error + 'static>(&self, mut act: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        let mut waits = false;
        loop {
            let outcome = act();
            let full = outcome.as_ref().err().is_some_and(|error| is_disk_full(error));
            if !full || self.stop.is_set() {
                if waits {
                    self.tell(None);
                }
                return outcome;
            }
            waits = true;
            // Each time: it extends the server's deadline for the next message.
            self.tell(Some(WaitingFor::Disk));
            self.wait();
        }
    }

    fn wait(&self) {
        let began = Instant::now();
        while began.elapsed() < Self::RETRY_EVERY && !self.stop.is_set() {
            thread::sleep(Self::POLL_INTERVAL);
        }
        let waited = began.elapsed().as_millis() as u64;
        self.waited.fetch_add(waited, Ordering::SeqCst);
    }

    fn tell(&self, waiting: Option<WaitingFor>) {
        self.reporter.send(&WorkerMessage::Waiting { waiting });
    }
}

/// Whether an error, or one of its sources, is a full disk or an exhausted quota.
pub fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let full = |error: &io::Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(full) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A file that a run writes.
pub struct OutputFile {
    file: File,
    /// None where a full disk is an error.
    patience: Option<DiskWait>,
}

impl OutputFile {
    pub fn new(file: File, patience: Option<DiskWait>) -> Self {
        Self { file, patience }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Repeats `act` while the disk is full, if this run waits for space.
    pub fn retry_when_full<T>(&self, act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        retry(self.patience.as_ref(), act)
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { file, patience } = self;
        retry(patience.as_ref(), || file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Repeats `act` while the disk is full, if the run waits.
pub fn retry<T, E: Error + 'static>(
    patience: Option<&DiskWait>,
    mut act: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    match patience {
        Some(patience) => patience.retry(act),
        None => act(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// The messages that a run sent.
    #[derive(Clone, Default)]
    struct Messages(Arc<Mutex<Vec<u8>>>);

    impl Write for Messages {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_finds_the_disk_full_is_tried_again_and_the_server_is_told() {
        let told = Messages::default();
        let patience = DiskWait::new(&Reporter::to(told.clone()), &StopFlag::default());
        let mut tries = 0;
        let outcome = patience.retry(|| {
            tries += 1;
            match tries {
                3 => Ok("written"),
                _ => Err(io::Error::from(ErrorKind::StorageFull)),
            }
        });
        assert_eq!(outcome.unwrap(), "written");
        assert!(patience.waited() >= 2 * DiskWait::RETRY_EVERY);
        let told = String::from_utf8(told.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = told.lines().collect();
        let [first, second, last] = lines[..] else {
            panic!("{told}")
        };
        assert_eq!(first, r#"{"message":"waiting","waiting":"disk"}"#);
        assert_eq!((second, last), (first, r#"{"message":"waiting","waiting":null}"#));
    }

    #[test]
    fn other_failures_are_not_waited_for_and_nobody_waits_who_is_to_leave() {
        let stop = StopFlag::default();
        let patience = DiskWait::new(&Reporter::to(io::sink()), &stop);
        let denied = patience.retry::<(), _>(|| Err(io::Error::from(ErrorKind::PermissionDenied)));
        assert_eq!(denied.unwrap_err().kind(), ErrorKind::PermissionDenied);
        stop.set();
        let full = patience.retry::<(), _>(|| Err(io::Error::from(ErrorKind::StorageFull)));
        assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(patience.waited(), Duration::ZERO);
    }

    #[test]
    fn a_full_disk_is_seen_through_other_errors() {
        let wrapped = crate::worker::files::state::StateFault::from(io::Error::from(ErrorKind::StorageFull));
        assert!(is_disk_full(&wrapped));
        assert!(!is_disk_full(&io::Error::from(ErrorKind::NotFound)));
    }
}
