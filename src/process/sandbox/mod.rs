//! What a child may do once it has what it needs: compute, and use the files of its task. Nothing else.
//!
//! A child calls [`enter`] on itself before it opens anything of a stranger's, while it has a single thread; threads that start later
//! inherit everything. There is no way back. Three things of the kernel do the work: no new privileges (and none of those that root has),
//! Landlock for files, signals and sockets (`files.rs`), and seccomp for system calls (`calls.rs`, `filter.rs`). What this kernel offers of
//! them is in [`Support`], for the server's log, `/v1/system` and `doctor`. docs/SANDBOX.md has the reasons.

mod calls;
mod files;
mod filter;
mod support;
mod system;

use std::{fmt, fs, path::PathBuf, str::FromStr, thread, time::Duration};

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};
use serde::{Deserialize, Serialize};

pub use self::support::Support;

/// How much of a sandbox children must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As much as the kernel offers.
    #[default]
    Auto,
    /// All of it, or they do not start.
    Require,
    /// None.
    Off,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Require => "require",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Auto, Self::Require, Self::Off]
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| "it is `auto`, `require` or `off`".to_owned())
    }
}

/// What a child is left with, besides libraries and what the kernel says about the processor. A path that is not there is left out.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Files, and folders with everything in them, to read.
    pub read: Vec<PathBuf>,
    /// Folders to read and to write.
    pub write: Vec<PathBuf>,
    /// Sockets, and the files that name servers and certificates are looked up in.
    pub network: bool,
    /// The device files of NVIDIA GPUs.
    pub cards: bool,
}

/// Why a child that must have a sandbox has none.
#[derive(Debug, thiserror::Error)]
#[error("{0}; `--sandbox auto` does without what is missing")]
pub struct NoSandbox(String);

/// Longest wait for threads that have ended to be gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// Leaves this process what `policy` says, for good. May be called again: then it is left what both say.
///
/// # Errors
/// [`Mode::Require`] and something is missing. With [`Mode::Auto`] that is a line in the log.
pub fn enter(mode: Mode, policy: &Policy) -> Result<(), NoSandbox> {
    let insist = |outcome: Result<(), String>| match (outcome, mode) {
        (Ok(()), _) => Ok(()),
        (Err(why), Mode::Require) => Err(NoSandbox(why)),
        (Err(why), _) => {
            tracing::warn!("the sandbox is not complete: {why}");
            Ok(())
        }
    };
    if mode == Mode::Off {
        return Ok(());
    }
    let support = Support::of_this_kernel();
    insist(support.complete())?;
    insist(alone())?;
    insist(without_privileges())?;
    if support.landlock_abi > 0 {
        insist(files::restrict(policy))?;
    }
    if support.seccomp {
        insist(filter::restrict(policy.network))?;
    }
    Ok(())
}

/// Landlock holds for the calling thread and those that it starts (before its eighth version, which no released kernel had when this was
/// written).
fn alone() -> Result<(), String> {
    const PAUSE: Duration = Duration::from_millis(1);
    let mut waited = Duration::ZERO;
    loop {
        let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads <= 1 {
            return Ok(());
        }
        if waited >= PATIENCE {
            return Err(format!("{} other threads were running already", threads - 1));
        }
        // A thread that was joined is still listed for a moment.
        thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

/// A program that is run as root has privileges that make the files of the whole host its own. Those to read files whoever owns them stay:
/// which files is for Landlock to say, and weights may belong to somebody else.
fn without_privileges() -> Result<(), String> {
    set_no_new_privs(true).map_err(|fault| format!("new privileges cannot be given up: {fault}"))?;
    let own = capabilities(None).map_err(|fault| format!("privileges cannot be read: {fault}"))?;
    let kept = own.permitted & (CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    let less = CapabilitySets {
        effective: own.effective & kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, less).map_err(|fault| format!("privileges cannot be given up: {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_read_as_it_is_written() {
        for mode in [Mode::Auto, Mode::Require, Mode::Off] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
        }
        assert!("on".parse::<Mode>().unwrap_err().contains("require"));
    }
}
