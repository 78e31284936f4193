//! A control group (version 2) for each child, where the server's own group was handed over to it: a limit of memory and threads that the
//! kernel holds for a child and everything that it starts, and that tells a child that needed too much from one that broke down.
//!
//! `finetuned serve` takes its group over at the start, or finds that it is somebody else's; then children have the limits that they set
//! themselves (`worker/bounds.rs`), which they have in any case. A group holds processes or other groups, so the server goes into one of its
//! own, `server`, beside those of the children. Nothing outside the server's group is touched.
//!
//! The tests play the tree with a folder of plain files.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::{Access, access};
use serde::Serialize;
use utoipa::ToSchema;

/// Where distributions mount version 2. Where it is at `/sys/fs/cgroup/unified`, beside version 1, it has no controllers for memory.
const MOUNT: &str = "/sys/fs/cgroup";
/// Which groups this process is in.
const MEMBERSHIP: &str = "/proc/self/cgroup";
const NEEDED: [&str; 2] = ["memory", "pids"];
const SERVER: &str = "server";
const CHILD: &str = "worker-";
const MEMBERS: &str = "cgroup.procs";
/// To the kernel, the process that writes it.
const THIS_PROCESS: &str = "0";
/// Threads of a child: more than any needs.
const MOST_THREADS: u64 = 4096;

/// What bounds the memory of workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct WorkerLimits {
    /// `control_groups`: the kernel bounds each worker with everything that it starts; `rlimits`: each process bounds itself.
    #[schema(example = "rlimits")]
    pub by: &'static str,
    /// Why there are no control groups; null where there are.
    #[schema(example = "the control group of the server is not its own: it cannot write to it")]
    pub reason: Option<String>,
}

/// What came of looking for a group of our own, once for a process: there is one membership of it.
static GROUPS: OnceLock<Result<Groups, String>> = OnceLock::new();

/// The server's group, with those of the children in it.
#[derive(Debug)]
pub struct Groups {
    own: PathBuf,
    made: AtomicU64,
    /// Groups whose last process was not gone yet when they were to be removed.
    remaining: Mutex<Vec<PathBuf>>,
}

/// Moves this process into a group beside which its children get theirs, if its own was handed over to it. To be called once, before there
/// are children.
pub fn take_over() {
    GROUPS.get_or_init(|| Groups::take(Path::new(MOUNT), &membership()));
}

/// Where [`take_over`] was not called, this says what it would find.
pub fn limits() -> WorkerLimits {
    let reason = match GROUPS.get() {
        Some(taken) => taken.as_ref().err().cloned(),
        None => handed_over(Path::new(MOUNT), &membership()).err(),
    };
    WorkerLimits {
        by: if reason.is_none() {
            "control_groups"
        } else {
            "rlimits"
        },
        reason,
    }
}

/// None where there are none: then the child goes without.
pub(super) fn for_child(memory: Option<u64>) -> Option<Group> {
    let Ok(groups) = GROUPS.get()? else { return None };
    groups
        .make(memory)
        .inspect_err(|error| tracing::warn!(%error, "cannot make the control group of a worker; it has its own limits only"))
        .ok()
}

fn membership() -> String {
    fs::read_to_string(MEMBERSHIP).unwrap_or_default()
}

/// The folder of this process's group, or why it is not ours. Changes nothing.
fn handed_over(mount: &Path, membership: &str) -> Result<PathBuf, String> {
    if !mount.join("cgroup.controllers").exists() {
        return Err(format!(
            "control groups of version 2 are not mounted at {}",
            mount.display()
        ));
    }
    let group = membership.lines().find_map(|line| line.strip_prefix("0::"));
    let group = group.ok_or("this process is in no control group of version 2")?;
    let own = mount.join(group.trim_start_matches('/'));
    // The kernel's rule: every group has this file but the one at the root of all.
    if !own.join("cgroup.type").exists() {
        return Err(
            "the server is in the root of all control groups, or its group cannot be seen".to_owned(),
        );
    }
    let offered = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    if let Some(lacking) = NEEDED
        .iter()
        .find(|name| !offered.split_whitespace().any(|one| one == **name))
    {
        return Err(format!(
            "the server's control group has no controller `{lacking}` (Delegate=memory pids)"
        ));
    }
    let writable = |path: PathBuf| access(path, Access::WRITE_OK).is_ok();
    if ![own.clone(), own.join(MEMBERS), own.join("cgroup.subtree_control")]
        .into_iter()
        .all(writable)
    {
        return Err("the control group of the server is not its own: it cannot write to it".to_owned());
    }
    let members = fs::read_to_string(own.join(MEMBERS)).unwrap_or_default();
    if members.lines().any(|member| member != process::id().to_string()) {
        return Err("the control group of the server is not its own: other programs are in it".to_owned());
    }
    Ok(own)
}

impl Groups {
    fn take(mount: &Path, membership: &str) -> Result<Self, String> {
        let own = handed_over(mount, membership)?;
        let server = own.join(SERVER);
        let taken = enter(&server).and_then(|()| {
            fs::write(
                own.join("cgroup.subtree_control"),
                format!("+{} +{}", NEEDED[0], NEEDED[1]),
            )
        });
        if let Err(error) = taken {
            let _ = fs::write(own.join(MEMBERS), THIS_PROCESS);
            let _ = fs::remove_dir(server);
            return Err(format!(
                "the control group of the server cannot be divided: {error}"
            ));
        }
        let groups = Self {
            own,
            made: AtomicU64::new(0),
            remaining: Mutex::default(),
        };
        groups.find_remaining();
        Ok(groups)
    }

    /// Those of an earlier server, whose processes are gone or soon will be.
    fn find_remaining(&self) {
        let Ok(entries) = fs::read_dir(&self.own) else {
            return;
        };
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        let numbers = names.filter_map(|name| name.strip_prefix(CHILD)?.parse::<u64>().ok());
        let mut remaining = self.remaining.lock().unwrap_or_else(PoisonError::into_inner);
        for number in numbers {
            self.made.fetch_max(number + 1, Ordering::Relaxed);
            remaining.push(self.folder(number));
        }
    }

    fn folder(&self, number: u64) -> PathBuf {
        self.own.join(format!("{CHILD}{number}"))
    }

    fn make(&'static self, memory: Option<u64>) -> io::Result<Group> {
        self.remove_remaining();
        let folder = self.folder(self.made.fetch_add(1, Ordering::Relaxed));
        fs::create_dir(&folder)?;
        let group = Group { folder, groups: self };
        group.bound(memory)?;
        Ok(group)
    }

    fn remove_remaining(&self) {
        let mut remaining = self.remaining.lock().unwrap_or_else(PoisonError::into_inner);
        remaining.retain(|folder| fs::remove_dir(folder).is_err() && folder.exists());
    }
}

fn enter(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::write(group.join(MEMBERS), THIS_PROCESS)
}

/// The group of one child; removed when it is dropped, or as soon after as its last process is gone.
#[derive(Debug)]
pub(super) struct Group {
    folder: PathBuf,
    groups: &'static Groups,
}

impl Group {
    fn bound(&self, memory: Option<u64>) -> io::Result<()> {
        let set = |file: &str, value: &str| fs::write(self.folder.join(file), value);
        if let Some(bytes) = memory {
            set("memory.max", &bytes.to_string())?;
            // What it may not have in memory it may not have elsewhere. Kernels can be built without this file.
            let _ = set("memory.swap.max", "0");
        }
        // A worker that has lost one of its processes is of no use.
        set("memory.oom.group", "1")?;
        set("pids.max", &MOST_THREADS.to_string())
    }

    /// Where a process that writes [`JOIN`] becomes a member.
    pub(super) fn members(&self) -> io::Result<OwnedFd> {
        Ok(File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.folder.join(MEMBERS))?
            .into())
    }

    /// Whether the kernel has killed one of its processes for want of memory: its own, or that of a group above it.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.folder.join("memory.events")).unwrap_or_default();
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills
            .and_then(|count| count.trim().parse::<u64>().ok())
            .is_some_and(|count| count > 0)
    }
}

/// What a child writes into its group's [`Group::members`] before it becomes the worker.
pub(super) const JOIN: &[u8] = THIS_PROCESS.as_bytes();

impl Drop for Group {
    fn drop(&mut self) {
        // Also those that left its process group. Linux 5.14; the lock of its folder finds them without it.
        if let Ok(mut kill) = File::options().write(true).open(self.folder.join("cgroup.kill")) {
            let _ = io::Write::write_all(&mut kill, b"1");
        }
        if fs::remove_dir(&self.folder).is_err() {
            let mut remaining = self
                .groups
                .remaining
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            remaining.push(self.folder.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const UNIT: &str = "system.slice/finetuned.service";

    /// Plain files as the kernel would show them for a unit with `Delegate=memory pids`.
    fn tree() -> TempDir {
        let mount = tempfile::tempdir().unwrap();
        let own = mount.path().join(UNIT);
        fs::create_dir_all(&own).unwrap();
        fs::write(mount.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        for (file, text) in [
            ("cgroup.type", "domain\n".to_owned()),
            ("cgroup.controllers", "memory pids\n".to_owned()),
            ("cgroup.subtree_control", String::new()),
            (MEMBERS, format!("{}\n", process::id())),
        ] {
            fs::write(own.join(file), text).unwrap();
        }
        mount
    }

    fn membership() -> String {
        format!("1:name=systemd:/elsewhere\n0::/{UNIT}\n")
    }

    fn taken(mount: &TempDir) -> &'static Groups {
        Box::leak(Box::new(Groups::take(mount.path(), &membership()).unwrap()))
    }

    fn read(path: PathBuf) -> String {
        fs::read_to_string(path).unwrap()
    }

    /// The kernel removes the files of a group with it.
    fn without_its_files(folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }

    #[test]
    fn a_group_that_is_ours_is_divided_between_the_server_and_its_children() {
        let mount = tree();
        let own = mount.path().join(UNIT);
        let groups = taken(&mount);
        assert_eq!(read(own.join("server/cgroup.procs")), "0");
        assert_eq!(read(own.join("cgroup.subtree_control")), "+memory +pids");

        let (bounded, unbounded) = (groups.make(Some(3 << 30)).unwrap(), groups.make(None).unwrap());
        for (file, text) in [
            ("memory.max", "3221225472"),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "1"),
            ("pids.max", "4096"),
        ] {
            assert_eq!(read(bounded.folder.join(file)), text, "{file}");
        }
        assert!(!unbounded.folder.join("memory.max").exists() && unbounded.folder != bounded.folder);
        assert_eq!(rustix::io::write(bounded.members().unwrap(), JOIN).unwrap(), 1);
        assert_eq!(read(bounded.folder.join(MEMBERS)), "0");
    }

    #[test]
    fn the_group_of_a_child_goes_with_it_or_with_its_last_process() {
        let mount = tree();
        let groups = taken(&mount);
        let gone = groups.make(None).unwrap();
        let folder = gone.folder.clone();
        without_its_files(&folder);
        drop(gone);
        assert!(!folder.exists());
        // A folder with files in it is as little removed as a group with a process.
        let slow = groups.make(None).unwrap();
        let folder = slow.folder.clone();
        drop(slow);
        assert!(folder.exists());
        without_its_files(&folder);
        let next = groups.make(None).unwrap();
        assert!(!folder.exists() && next.folder.exists());
    }

    #[test]
    fn what_an_earlier_server_left_is_removed_and_its_numbers_are_not_used() {
        let mount = tree();
        let left = mount.path().join(UNIT).join("worker-7");
        fs::create_dir(&left).unwrap();
        let group = taken(&mount).make(None).unwrap();
        assert!(!left.exists());
        assert!(group.folder.ends_with("worker-8"), "{group:?}");
    }

    #[test]
    fn a_kill_for_want_of_memory_is_known_from_the_kernels_count() {
        let mount = tree();
        let group = taken(&mount).make(Some(1)).unwrap();
        assert!(!group.ran_out_of_memory());
        let count = |kills: u32| format!("low 0\nhigh 0\nmax 9\noom 1\noom_kill {kills}\noom_group_kill 0\n");
        for (kills, expected) in [(0, false), (1, true)] {
            fs::write(group.folder.join("memory.events"), count(kills)).unwrap();
            assert_eq!(group.ran_out_of_memory(), expected, "{kills}");
        }
    }

    #[test]
    fn a_group_that_is_not_ours_is_left_alone_and_says_why() {
        type Spoil = fn(&Path, &Path);
        let cases: [(&str, Spoil); 5] = [
            ("not mounted", |mount, _| {
                fs::remove_file(mount.join("cgroup.controllers")).unwrap()
            }),
            ("root", |_, own| fs::remove_file(own.join("cgroup.type")).unwrap()),
            ("no controller `pids`", |_, own| {
                fs::write(own.join("cgroup.controllers"), "cpu memory\n").unwrap()
            }),
            ("cannot write", |_, own| {
                fs::remove_file(own.join("cgroup.subtree_control")).unwrap()
            }),
            ("other programs", |_, own| {
                fs::write(own.join(MEMBERS), "1\n").unwrap()
            }),
        ];
        for (why, spoil) in cases {
            let mount = tree();
            let own = mount.path().join(UNIT);
            spoil(mount.path(), &own);
            let refused = Groups::take(mount.path(), &membership()).unwrap_err();
            assert!(refused.contains(why), "{why}: {refused}");
            assert!(!own.join(SERVER).exists(), "{why}");
        }
        let refused = Groups::take(tree().path(), "4:memory:/\n").unwrap_err();
        assert!(refused.contains("no control group of version 2"), "{refused}");
    }

    #[test]
    fn a_group_that_cannot_be_divided_is_given_back() {
        let mount = tree();
        let own = mount.path().join(UNIT);
        let control = own.join("cgroup.subtree_control");
        fs::remove_file(&control).unwrap();
        // A folder can be written to, but not as a file is.
        fs::create_dir(&control).unwrap();
        let refused = Groups::take(mount.path(), &membership()).unwrap_err();
        assert!(refused.contains("cannot be divided"), "{refused}");
        assert_eq!(read(own.join(MEMBERS)), "0");
    }
}
