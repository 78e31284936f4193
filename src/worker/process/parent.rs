//! The tie to whoever started this process: when they are gone, so are we, a moment later and whatever is being computed then.
//!
//! Usually the kernel has killed us already, because the server asked it to. That holds for the server's own children only: a program
//! that stands between, a script that sets something up, say, dies in our place. The end of stdin says the same, but only to loops that
//! look at the flag, and no loop looks while a library computes.

use std::{thread, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, retry_on_intr},
    process::{PidfdFlags, Signal, getpid, getppid, kill_process, pidfd_open},
};

/// Enough to save a small network's state; the next attempt goes on from an older one otherwise.
const GRACE_PERIOD: Duration = Duration::from_secs(2);

/// Watches the parent on a thread of its own. What is half written then has a name that nobody looks for.
pub fn leave_with_parent() {
    // None where it lies outside of our container: then we end with that.
    let Some(parent) = getppid() else { return };
    let parent = match pidfd_open(parent, PidfdFlags::empty()) {
        Ok(parent) => parent,
        // It is gone already.
        Err(Errno::SRCH) => return end(),
        Err(fault) => return tracing::debug!("the parent cannot be watched: {fault}"),
    };
    thread::spawn(move || {
        let mut ended = [PollFd::new(&parent, PollFlags::IN)];
        if retry_on_intr(|| poll(&mut ended, None)).is_ok() {
            thread::sleep(GRACE_PERIOD);
            end();
        }
    });
}

/// Not `exit`: what libraries do then waits for their threads.
fn end() {
    let _ = kill_process(getpid(), Signal::KILL);
}
