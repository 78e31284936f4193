//! The lock of a child's folder: held by the child, and by whatever it starts, for as long as any of them lives.
//!
//! It is a lock of the open file that they inherit, so the kernel frees it with the last of them, however they end and whatever has become
//! of the server meanwhile; the server keeps no part of it. Whoever has to go is found by that open file and not by a number that
//! somebody wrote down: a process's number is given to another one when it is gone, a file that it inherited is not.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
    time::Duration,
};

use rustix::{
    io::fcntl_dupfd_cloexec,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::time::{Instant, sleep};

/// The file in a child's folder.
pub const FILE: &str = "LOCK";

/// Numbers below this one are left to what the child opens: shell scripts name theirs themselves.
const LOWEST_DESCRIPTOR: i32 = 100;
/// How long somebody who was killed may take to be gone before a folder is given up: freeing tens of gigabytes takes seconds.
pub const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Looking for who holds a lock means to look at every process.
const LOOK_FOR_HOLDERS_EVERY: Duration = Duration::from_millis(500);
/// `O_CLOEXEC` among the flags that the kernel shows of an open file.
const CLOSED_ON_EXEC: u32 = 0o2_000_000;

/// Takes the lock of a folder for a child that is about to be started there. Who still lives in it is ended first.
///
/// # Errors
/// There is no such folder, or somebody lives there and cannot be ended.
pub async fn claim(dir: &Path) -> io::Result<OwnedFd> {
    let file = open(dir, true)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(error),
        Err(TryLockError::WouldBlock) => {
            vacate(dir, PATIENCE).await?;
            file.try_lock()?;
        }
    }
    // Where so high a number is not allowed, any will do.
    Ok(fcntl_dupfd_cloexec(&file, LOWEST_DESCRIPTOR).unwrap_or_else(|_| file.into()))
}

/// Whether anybody lives in a folder.
///
/// # Errors
/// The folder's lock cannot be looked at.
pub fn is_held(dir: &Path) -> io::Result<bool> {
    let file = match open(dir, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Kills everybody who lives in a folder, also those who are stopped and those who left their process group, and says how many they were.
///
/// # Errors
/// The folder's lock or the list of processes cannot be looked at.
pub fn end(dir: &Path) -> io::Result<usize> {
    let about = open(dir, false)?.metadata()?;
    let file = (about.dev(), about.ino());
    let mut ended = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = number
            .and_then(Pid::from_raw)
            .filter(|_| holds(&entry.path(), file))
        else {
            continue;
        };
        // From here on it is this process and none that got its number: hence the second look.
        if let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
            && holds(&entry.path(), file)
            && pidfd_send_signal(process, Signal::KILL).is_ok()
        {
            ended += 1;
        }
    }
    Ok(ended)
}

/// Ends those who live in a folder and waits until they are gone.
///
/// # Errors
/// They are not gone `within` this time.
pub async fn vacate(dir: &Path, within: Duration) -> io::Result<()> {
    let begun = Instant::now();
    // A process that is just being started has a copy of everything that is open here until it becomes what it is to be: that is no
    // holder, and over in a moment.
    let mut look_for_holders = begun + LOOK_EVERY;
    while is_held(dir)? {
        let now = Instant::now();
        if now >= begun + within {
            let what = "a process is still running in a worker's directory and cannot be killed";
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        if now >= look_for_holders {
            look_for_holders = now + LOOK_FOR_HOLDERS_EVERY;
            let dir = dir.to_owned();
            let ended = tokio::task::spawn_blocking(move || end(&dir)).await;
            ended.map_err(io::Error::other)??;
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Whether a process has inherited this file. Where it is closed on exec it was not inherited for good: such a process is a copy of the
/// server that is about to become a worker, in another folder.
fn holds(process: &Path, file: (u64, u64)) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        // Gone, or somebody else's.
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        // The name first: to ask about a file on a disk that does not answer would take for ever.
        let named =
            fs::read_link(descriptor.path()).is_ok_and(|path| path.file_name() == Some(FILE.as_ref()));
        named
            && fs::metadata(descriptor.path()).is_ok_and(|about| (about.dev(), about.ino()) == file)
            && is_inherited(&process.join("fdinfo").join(descriptor.file_name()))
    })
}

fn is_inherited(about: &Path) -> bool {
    let text = fs::read_to_string(about).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & CLOSED_ON_EXEC == 0)
}

fn open(dir: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new()
        .create(create)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(dir.join(FILE))
}
