//! Two servers on one directory would corrupt each other: whoever works in it holds its lock.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

use anyhow::{Context, bail};

use crate::private;

const NAME: &str = "LOCK";

/// Goes with the process, however it ends.
pub struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// # Errors
    /// Somebody else holds it.
    pub fn take(data_dir: &Path) -> anyhow::Result<Self> {
        let file = private::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(data_dir.join(NAME))
            .context("cannot lock the data directory")?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another finetuned server uses the data directory {}; stop it or choose another with --data-dir",
                    data_dir.display()
                )
            }
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock the data directory"),
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
