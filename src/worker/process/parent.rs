//! Ends this process shortly after its parent is gone, whatever is being computed at that time.
//!
//! Usually the kernel has already killed us, because the server asked it to. That holds only for the server's own children: an intermediate
//! program, such as a setup script, dies in our place. The end of stdin says the same, but only to loops that check the flag, and none does
//! while a library computes.

use std::{os::fd::OwnedFd, thread, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, retry_on_intr},
    process::{PidfdFlags, Signal, getpid, getppid, kill_process, pidfd_open},
};

/// Enough to save a small network's state; otherwise the next attempt resumes from an older one.
const GRACE_PERIOD: Duration = Duration::from_secs(2);

/// The process that started this one, as long as other processes may be looked at.
pub struct Parent(Option<OwnedFd>);

impl Parent {
    pub fn find() -> Self {
        // None if it is outside our container: then we end with that.
        let Some(parent) = getppid() else {
            return Self(None);
        };
        match pidfd_open(parent, PidfdFlags::empty()) {
            Ok(parent) => Self(Some(parent)),
            Err(fault) => {
                if fault == Errno::SRCH {
                    // It is already gone.
                    end();
                }
                tracing::debug!("the parent cannot be watched: {fault}");
                Self(None)
            }
        }
    }

    /// Watches it on a thread. A partially written file has a name that nobody looks for.
    pub fn leave_with_it(self) {
        let Some(parent) = self.0 else { return };
        thread::spawn(move || {
            let mut ended = [PollFd::new(&parent, PollFlags::IN)];
            if retry_on_intr(|| poll(&mut ended, None)).is_ok() {
                thread::sleep(GRACE_PERIOD);
                end();
            }
        });
    }
}

/// Not `exit`: libraries' exit handlers wait for their threads.
fn end() {
    let _ = kill_process(getpid(), Signal::KILL);
}
