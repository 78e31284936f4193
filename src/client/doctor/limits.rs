//! Limits of the process and of its control group: open files, memory, processes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, getrlimit};

use super::finding::{Finding, size};
use crate::{
    config::Config,
    process::cgroup::{self, WorkerLimits},
};

/// Besides connections: the database, files, children.
const FILES: u64 = 512;
/// The server, a job and the predict child, with ResNet-18.
const SMALL_MEMORY: u64 = 3 << 30;
/// Threads of all children on a machine with a few cores.
const FEW_PROCESSES: u64 = 256;
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

pub fn examine(config: &Config) -> Vec<Finding> {
    vec![
        open_files(
            getrlimit(Resource::Nofile).maximum,
            config.limits.max_connections as u64,
        ),
        memory(
            total_memory().unwrap_or(0),
            lowest("memory.max"),
            getrlimit(Resource::As).current,
        ),
        processes(lowest("pids.max"), getrlimit(Resource::Nproc).current),
        of_workers(cgroup::limits()),
    ]
}

/// The server raises its limit to the highest that it may have.
fn open_files(most: Option<u64>, connections: u64) -> Finding {
    const CHECK: &str = "open_files";
    let needed = connections + FILES;
    match most {
        Some(most) if most < needed => Finding::warning(
            CHECK,
            format!("at most {most}, for {connections} connections (--max-connections) and files"),
            format!(
                "fewer connections are taken: raise it to {needed} (ulimit -Hn, LimitNOFILE), or lower --max-connections"
            ),
        ),
        Some(most) => Finding::ok(CHECK, format!("at most {most}")),
        None => Finding::ok(CHECK, "no limit"),
    }
}

fn memory(total: u64, group: Option<u64>, addresses: Option<u64>) -> Finding {
    const CHECK: &str = "memory";
    let usable = group.map_or(total, |group| group.min(total));
    let text = match group {
        Some(group) if group < total => {
            format!(
                "{}, of {} of the machine (control group)",
                size(group),
                size(total)
            )
        }
        _ => size(total),
    };
    if let Some(most) = addresses {
        return Finding::warning(
            CHECK,
            format!("{text}; addresses are limited to {}", size(most)),
            "libtorch reserves many addresses that it never uses: remove the limit (ulimit -v, LimitAS)",
        );
    }
    match usable < SMALL_MEMORY {
        true => Finding::warning(
            CHECK,
            text,
            "that is little for training beside predictions: use small models and batches, or give it more",
        ),
        false => Finding::ok(CHECK, text),
    }
}

fn processes(group: Option<u64>, user: Option<u64>) -> Finding {
    const CHECK: &str = "processes";
    let most = [group, user].into_iter().flatten().min();
    match most {
        Some(most) if most < FEW_PROCESSES => Finding::warning(
            CHECK,
            format!("at most {most} processes and threads"),
            format!(
                "workers have many threads: raise it to {FEW_PROCESSES} or more (ulimit -u, TasksMax, --pids-limit)"
            ),
        ),
        Some(most) => Finding::ok(CHECK, format!("at most {most} processes and threads")),
        None => Finding::ok(CHECK, "no limit"),
    }
}

/// Both are good. A server that is started in another way than this command may find the other one.
fn of_workers(limits: WorkerLimits) -> Finding {
    const CHECK: &str = "worker_limits";
    let text = match limits.reason {
        None => "a control group for each worker".to_owned(),
        Some(reason) => format!("those that each worker sets on itself: {reason}"),
    };
    Finding::ok(CHECK, text)
}

fn total_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The lowest limit of our control group (version 2) and of those above it.
fn lowest(file: &str) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    lowest_of(Path::new(CONTROL_GROUPS), group, file)
}

fn lowest_of(root: &Path, group: &str, file: &str) -> Option<u64> {
    let inner = PathBuf::from(group.trim_start_matches('/'));
    inner
        .ancestors()
        .filter_map(|group| fs::read_to_string(root.join(group).join(file)).ok())
        // A limit, or `max`.
        .filter_map(|text| text.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::doctor::finding::State;

    #[test]
    fn limits_that_are_too_low_are_warnings_that_name_the_right_ones() {
        assert_eq!(open_files(Some(4096), 2048).state, State::Ok);
        assert_eq!(open_files(None, 2048).state, State::Ok);
        let low = open_files(Some(1024), 2048);
        assert!(low.state == State::Warning && low.advice.unwrap().contains("2560"));
        let gib = 1 << 30;
        assert_eq!(memory(16 * gib, None, None).state, State::Ok);
        let group = memory(16 * gib, Some(2 * gib), None);
        assert_eq!(
            (group.state, group.text.as_str()),
            (
                State::Warning,
                "2.0 GiB, of 16.0 GiB of the machine (control group)"
            )
        );
        assert_eq!(memory(16 * gib, None, Some(8 * gib)).state, State::Warning);
        assert_eq!(processes(Some(100), Some(10_000)).state, State::Warning);
        assert_eq!(processes(None, None).state, State::Ok);
    }

    #[test]
    fn the_lowest_limit_of_all_groups_above_counts() {
        let root = tempfile::tempdir().unwrap();
        for (group, text) in [
            ("", "max\n"),
            ("a", "5000\n"),
            ("a/b", "7000\n"),
            ("a/b/c", "max\n"),
        ] {
            let folder = root.path().join(group);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("memory.max"), text).unwrap();
        }
        let of = |group: &str| lowest_of(root.path(), group, "memory.max");
        assert_eq!(
            (of("/a/b/c"), of("/"), of("/elsewhere")),
            (Some(5000), None, None)
        );
    }
}
