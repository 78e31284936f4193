//! The disk of the data directory: what kind it is, how much is free, how long a sync takes, whether it has hard links.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::{StatFs, statfs, statvfs};

use super::{
    finding::{Finding, size},
    place::Place,
};
use crate::config::Config;

const SYNCS: usize = 5;
/// Every answer to an upload or a new job waits for several of these.
const SLOW_SYNC: Duration = Duration::from_millis(100);

/// Kinds of file systems by their number in `statfs(2)`, that are not local disks.
const NETWORK: [(u64, &str); 6] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
];
const PASSING: [(u64, &str, &str); 2] = [
    (
        0x0102_1994,
        "tmpfs",
        "what is in memory is gone after a restart of the machine",
    ),
    (
        0x794c_7630,
        "overlay",
        "the layer of a container is gone with the container",
    ),
];

pub fn examine(config: &Config, place: &Place) -> Vec<Finding> {
    let mut findings = vec![directory(place)];
    match statfs(&place.existing) {
        Ok(found) => findings.push(kind(&found)),
        Err(error) => findings.push(unreadable(&place.existing, &error.into())),
    }
    match free(&place.existing) {
        Ok(free) => findings.push(room(free, config.limits.min_free_bytes)),
        Err(error) => findings.push(unreadable(&place.existing, &error)),
    }
    match place.scratch() {
        Ok(scratch) => {
            findings.push(sync(scratch.path()));
            findings.push(links(scratch.path()));
        }
        Err(error) => findings.push(Finding::problem(
            "disk_sync",
            format!("cannot write to {}: {error}", place.existing.display()),
            "the user that runs the server must own the data directory, or be able to make it",
        )),
    }
    findings
}

fn directory(place: &Place) -> Finding {
    const CHECK: &str = "data_directory";
    let shown = place.data_dir.display();
    if place.is_there() {
        let served = match place.is_served {
            true => ", in use by a server that runs",
            false => "",
        };
        return Finding::ok(CHECK, format!("{shown}{served}"));
    }
    match place.data_dir.symlink_metadata() {
        Ok(_) => Finding::problem(
            CHECK,
            format!("{shown} is not a directory"),
            "name another one with --data-dir",
        ),
        Err(_) => Finding::ok(
            CHECK,
            format!("{shown} is not there yet; the first start makes it"),
        ),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Finding {
    let text = format!("{} cannot be looked at: {error}", path.display());
    Finding::problem("disk", text, "name another --data-dir")
}

fn kind(found: &StatFs) -> Finding {
    const CHECK: &str = "disk_kind";
    // Its type differs between processors, and the numbers have 32 bits.
    let number = found.f_type as u64 & 0xffff_ffff;
    if let Some((_, name)) = NETWORK.iter().find(|(known, _)| *known == number) {
        return Finding::problem(
            CHECK,
            format!("the data directory is on {name}"),
            "a network file system can corrupt the database: use a local disk",
        );
    }
    match PASSING.iter().find(|(known, ..)| *known == number) {
        Some((_, name, why)) => Finding::warning(
            CHECK,
            format!("the data directory is on {name}: {why}"),
            "use a disk, or a volume of the container",
        ),
        None => Finding::ok(CHECK, "a local file system"),
    }
}

fn free(path: &Path) -> io::Result<u64> {
    let disk = statvfs(path)?;
    Ok(disk.f_bavail * disk.f_frsize)
}

fn room(free: u64, reserve: u64) -> Finding {
    const CHECK: &str = "disk_space";
    let text = format!(
        "{} free, {} of them kept free (--min-free-bytes)",
        size(free),
        size(reserve)
    );
    if free < reserve {
        return Finding::problem(
            CHECK,
            text,
            "uploads and jobs are refused: free some space, or lower --min-free-bytes",
        );
    }
    // A dataset takes its archive, its images and their pixels.
    if free - reserve < 2 << 30 {
        return Finding::warning(CHECK, text, "there is little room for datasets: free some space");
    }
    Finding::ok(CHECK, text)
}

fn sync(folder: &Path) -> Finding {
    const CHECK: &str = "disk_sync";
    match time_syncs(&folder.join("sync")) {
        Ok(median) => {
            let text = format!("{:.1} ms to write and sync", median.as_secs_f64() * 1e3);
            match median < SLOW_SYNC {
                true => Finding::ok(CHECK, text),
                false => Finding::warning(
                    CHECK,
                    text,
                    "every upload, job and event waits for this: a faster disk helps, or less other work on it",
                ),
            }
        }
        Err(error) => Finding::problem(
            CHECK,
            format!("cannot write and sync: {error}"),
            "the disk is full, read-only or failing: see the kernel's log",
        ),
    }
}

fn time_syncs(path: &Path) -> io::Result<Duration> {
    let mut file = fs::File::create(path)?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&[1; 4096])?;
        file.sync_all()?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times[SYNCS / 2])
}

fn links(folder: &Path) -> Finding {
    const CHECK: &str = "hard_links";
    let tried = fs::write(folder.join("one"), "")
        .and_then(|()| fs::hard_link(folder.join("one"), folder.join("two")));
    match tried {
        Ok(()) => Finding::ok(CHECK, "backups on this disk take no space for files"),
        Err(_) => Finding::ok(CHECK, "none here: backups copy every file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::doctor::finding::State;

    #[test]
    fn less_than_is_to_stay_free_is_a_problem_and_little_more_a_warning() {
        let gib = 1 << 30;
        for (free, expected) in [
            (gib - 1, State::Problem),
            (2 * gib, State::Warning),
            (4 * gib, State::Ok),
        ] {
            assert_eq!(room(free, gib).state, expected);
        }
    }

    #[test]
    fn a_disk_is_tried_and_nothing_left() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::of(&folder.path().join("not/there"));
        assert_eq!(place.existing, folder.path());
        let config = Config::for_data_dir(&place.data_dir);
        let findings = examine(&config, &place);
        let of = |check: &str| findings.iter().find(|finding| finding.check == check).unwrap();
        assert!(
            of("disk_sync").text.contains("ms to write and sync"),
            "{findings:?}"
        );
        assert!(of("data_directory").text.contains("not there yet"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(directory(&Place::of(&file)).state, State::Problem);
    }
}
