//! Two servers on one directory would corrupt each other: whoever works in it holds its lock.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::files::private;

const NAME: &str = "LOCK";

/// A child of a server that was killed a moment ago, not yet a program of its own (between `fork` and `exec`), holds what the server held
/// until the kernel ends it, too. On a machine that is busy that takes a while, and whoever starts servers anew starts at once.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Goes with the process, however it ends.
pub struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Waits up to three seconds for it.
    ///
    /// # Errors
    /// Somebody else holds it, and keeps it.
    pub fn take(data_dir: &Path) -> anyhow::Result<Self> {
        Self::take_by(data_dir, Instant::now() + PATIENCE)
    }

    fn take_by(data_dir: &Path, end: Instant) -> anyhow::Result<Self> {
        let file = private::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(data_dir.join(NAME))
            .context("cannot lock the data directory")?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(LOOK_EVERY),
                Err(TryLockError::WouldBlock) => bail!(
                    "another finetuned server uses the data directory {}; stop it or choose another with --data-dir",
                    data_dir.display()
                ),
                Err(TryLockError::Error(error)) => {
                    return Err(error).context("cannot lock the data directory");
                }
            }
        }
    }

    /// The lock where nobody holds it, without making its file; none while a server runs. Where there is no file no server ever ran.
    pub fn try_without_a_trace(data_dir: &Path) -> io::Result<Option<Option<Self>>> {
        let file = match File::open(data_dir.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(None)),
            file => file?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Some(Self(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_a_moment_later_is_waited_for_and_what_is_kept_refused() {
        let folder = tempfile::tempdir().unwrap();
        let held = Lock::take(folder.path()).unwrap();
        let Err(refused) = Lock::take_by(folder.path(), Instant::now() + 3 * LOOK_EVERY) else {
            panic!("two hold one lock");
        };
        assert!(
            refused.to_string().contains("another finetuned server"),
            "{refused}"
        );
        let (path, end) = (folder.path().to_owned(), Instant::now() + Duration::from_secs(30));
        let waiting = thread::spawn(move || Lock::take_by(&path, end).is_ok());
        thread::sleep(3 * LOOK_EVERY);
        assert!(!waiting.is_finished());
        drop(held);
        assert!(waiting.join().unwrap());
    }
}
