//! Starting a worker and being rid of it again: a process group of its own, a cleared environment, three pipes, the lock of its folder.
//!
//! Used by `jobs` for one-shot children and by `inference` for the long-lived one. It never waits for a deadline itself; those who
//! call it know theirs. No child outlives the server: the kernel kills it with us, and what it started itself is found by the lock.

pub mod cgroup;
pub mod lines;
pub mod lives;
pub mod lock;
pub mod log;
mod parent;
pub mod sandbox;
#[cfg(test)]
mod tests;
pub mod traces;

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::Path,
    process::{ExitStatus, Stdio},
};

use rustix::{
    io::{Errno, FdFlags, fcntl_setfd},
    process::{Pid, Signal, getpid, getppid, kill_process_group, set_parent_process_death_signal},
};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use self::{cgroup::Group, lives::Lives, parent::Parent};

/// What a worker gets of the server's environment: where to find programs, libraries, cards, certificates and the way out. Everything
/// else, above all whatever is secret, stays here.
pub const PASSED_ON: &[&str] = &[
    "PATH",
    "LANG",
    "TZ",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "RUST_BACKTRACE",
];
const PASSED_ON_PREFIX: &str = "NVIDIA_";

/// Added to a worker's badness, so that a host without memory loses the worker and not the server.
const OUT_OF_MEMORY_SCORE: &str = "800";

/// What a worker's glibc does with memory that was freed (2.35 and later; others take no notice of it), and libtorch with that of a card. A
/// network's activations come and go with every batch; in huge pages they are fewer page faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreedMemory {
    /// From 3 MiB on each piece has pages of its own, which are given back, where the heap would be left with holes. Measured with
    /// ResNet-18 at 224 pixels, batches of 32, on two cores, where the last layer's activations are just above that: two epochs of
    /// training took 1.12 GB, and 1.4 GB in the same time with 8 MiB, because glibc fills the heap's holes with larger pieces, too. That
    /// had been a quarter less than with glibc's own settings, with a sixth of the page faults. What is smaller stays, up to 128 MiB at
    /// the end of the heap: reading 3,176 photographs took 0.5 s of the kernel's time instead of 0.85 s, and training no more memory.
    GivenBack,
    /// It stays, for the next batch, which is as large as the one before. Measured with ResNet-18 at 224 pixels, 16 clients, two cores:
    /// 45 answers a second where giving back left 40.
    Kept,
}

impl FreedMemory {
    const VARIABLE: &str = "GLIBC_TUNABLES";
    /// An operator who sets it decides for all workers.
    const VARIABLE_OF_CARDS: &str = "PYTORCH_CUDA_ALLOC_CONF";

    /// For libtorch's allocator of a card's memory: segments that grow, so that less of it is lost in pieces, and a share of it, so that a
    /// training leaves room for a process that answers, and the other way round.
    fn of_cards(self) -> &'static str {
        match self {
            Self::GivenBack => "expandable_segments:True,per_process_memory_fraction:0.75",
            Self::Kept => "expandable_segments:True,per_process_memory_fraction:0.25",
        }
    }

    fn tunables(self) -> &'static str {
        match self {
            Self::GivenBack => {
                "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=3145728:glibc.malloc.trim_threshold=134217728"
            }
            Self::Kept => {
                "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=2147483648"
            }
        }
    }
}

/// A child and everything that it started. Dropping it kills them all.
pub struct ChildGroup {
    child: Child,
    /// None once the group was killed after its leader had gone: from then on the number may belong to somebody else.
    group: Option<Pid>,
    /// Where its end is still to be counted.
    life: Option<&'static Lives>,
    /// Where children have control groups.
    cgroup: Option<Group>,
    /// The kernel kills the child when this is dropped.
    _parent: Parent,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    status: ExitStatus,
    ran_out_of_memory: bool,
}

impl Exit {
    pub fn success(self) -> bool {
        self.status.success()
    }

    /// None where a signal ended it.
    pub fn code(self) -> Option<i32> {
        self.status.code()
    }

    /// Whether the kernel ended it for want of memory. Only known where children have control groups.
    pub fn ran_out_of_memory(self) -> bool {
        self.ran_out_of_memory
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        Self {
            status,
            ran_out_of_memory: false,
        }
    }
}

/// The server's ends of a child's pipes. Dropping `stdin` asks the child to leave.
pub struct Pipes {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
}

/// Starts `program` with `arguments` in the folder `dir`, which is also its folder for temporary files and has the lock that it holds.
/// Who lives there of an earlier time is ended first. `memory`: bytes that it may use, with everything that it starts, where children have
/// control groups.
///
/// # Errors
/// It cannot be started.
pub async fn spawn(
    program: &Path,
    arguments: &[&OsStr],
    dir: &Path,
    freed: FreedMemory,
    memory: Option<u64>,
) -> io::Result<(ChildGroup, Pipes)> {
    let lock = lock::claim(dir).await?;
    let cgroup = cgroup::for_child(memory);
    let members = cgroup.as_ref().map(Group::members).transpose()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .envs(passed_on())
        .env("TMPDIR", dir)
        .env(FreedMemory::VARIABLE, freed.tunables())
        .env(FreedMemory::VARIABLE_OF_CARDS, of_cards(freed))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    tie(&mut command, lock, members);
    let life = lives::of(arguments.first().copied());
    parent::have_started(move |parent| start(command, parent, life, cgroup)).await
}

fn of_cards(freed: FreedMemory) -> OsString {
    let operators = std::env::var_os(FreedMemory::VARIABLE_OF_CARDS);
    operators.unwrap_or_else(|| freed.of_cards().into())
}

/// Has the kernel kill the child with its parent, and the child join its control group and inherit its folder's lock, which the command holds
/// until it is dropped.
fn tie(command: &mut Command, lock: OwnedFd, members: Option<OwnedFd>) {
    let server = getpid();
    let at_its_beginning = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(server) {
            // The server was gone before that line.
            return Err(Errno::SRCH.into());
        }
        if let Some(members) = &members {
            rustix::io::write(members, cgroup::JOIN)?;
        }
        fcntl_setfd(&lock, FdFlags::empty())?;
        Ok(())
    };
    // SAFETY: it runs between fork and exec, where only what is safe in a signal handler is allowed: no memory, no locks. These are
    // four system calls on values that were there before.
    unsafe {
        command.pre_exec(at_its_beginning);
    }
}

fn start(
    mut command: Command,
    parent: Parent,
    life: &'static Lives,
    cgroup: Option<Group>,
) -> io::Result<(ChildGroup, Pipes)> {
    let mut child = command.spawn()?;
    life.begins();
    let group = child.id().and_then(|id| Pid::from_raw(id as i32));
    if let Some(id) = child.id() {
        // Best effort: it needs Linux, and raising one's own child needs no privilege there.
        let _ = fs::write(format!("/proc/{id}/oom_score_adj"), OUT_OF_MEMORY_SCORE);
    }
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let child = ChildGroup {
        child,
        group,
        life: Some(life),
        cgroup,
        _parent: parent,
    };
    match pipes {
        (Some(stdin), Some(stdout), Some(stderr)) => Ok((
            child,
            Pipes {
                stdin,
                stdout,
                stderr,
            },
        )),
        _ => Err(io::Error::other("the child has no pipes")),
    }
}

impl ChildGroup {
    /// Waits for the child itself, then kills what it left behind. May be dropped and called again.
    pub async fn wait(&mut self) -> io::Result<Exit> {
        let status = self.child.wait().await?;
        if let Some(life) = self.life.take() {
            life.ends(Some(status));
        }
        self.kill();
        self.group = None;
        let killed = self.cgroup.as_ref().is_some_and(Group::ran_out_of_memory);
        Ok(Exit {
            status,
            ran_out_of_memory: killed && !status.success(),
        })
    }

    /// Kills the child and everything that it started; [`ChildGroup::wait`] then returns soon.
    pub fn kill(&mut self) {
        if let Some(group) = self.group {
            // It fails when nobody is left, which is what was wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for ChildGroup {
    fn drop(&mut self) {
        self.kill();
        if let Some(life) = self.life.take() {
            life.ends(None);
        }
    }
}

/// How a child ended, in words for a person: `signal 9 (killed, often because the host ran out of memory)`.
pub fn describe(exit: impl Into<Exit>) -> String {
    let exit = exit.into();
    let Some(signal) = exit.status.signal() else {
        return format!("exit status {}", exit.code().unwrap_or(-1));
    };
    let name = match signal {
        4 => "illegal instruction",
        6 => "aborted",
        7 => "bus error",
        8 => "arithmetic fault",
        9 if exit.ran_out_of_memory => "killed by the kernel, because it ran out of memory",
        9 => "killed, often because the host ran out of memory",
        11 => "segmentation fault",
        15 => "terminated",
        31 => "ended by its sandbox, for a system call that no worker makes",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

/// Whether somebody else ended a child: the kernel for want of memory, or a person. Other signals are how a program breaks down by itself.
pub fn was_ended_by_others(exit: impl Into<Exit>) -> bool {
    let from_outside = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
    exit.into()
        .status
        .signal()
        .is_some_and(|signal| from_outside.iter().any(|outside| outside.as_raw() == signal))
}

/// The number of threads that a setting means: 0 stands for all cores that this process may use.
pub fn threads(setting: u32) -> u32 {
    match setting {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        some => some,
    }
}

fn passed_on() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        name.to_str()
            .is_some_and(|name| PASSED_ON.contains(&name) || name.starts_with(PASSED_ON_PREFIX))
    })
}
