//! Files of the system that every child may need: libraries, and what the kernel says about the host. None of them says anything about
//! other processes or people.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

/// To read.
const EVERYBODY: &[&str] = &[
    // Libraries, which are also opened late: those of CUDA when a network first needs them.
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    // The number of cores, their caches, memory.
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system",
    "/sys/kernel/mm",
    "/sys/fs/cgroup",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
];

/// To read, for children that may use GPUs.
const OF_CARDS: &[&str] = &[
    "/proc/devices",
    "/proc/driver/nvidia",
    "/sys/bus/pci",
    "/sys/class",
    "/sys/devices",
    "/sys/module",
    "/usr/local/cuda",
    "/usr/share/nvidia",
    "/etc/nvidia",
];

/// To read, for children that may use the network: where name servers and certificate authorities are.
const OF_NETWORK: &[&str] = &[
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/etc/ca-certificates",
    "/etc/openssl",
    "/etc/pki",
    "/etc/ssl",
    "/usr/lib/ssl",
    "/usr/local/share/ca-certificates",
    "/usr/local/ssl",
    "/usr/share/ca-certificates",
    "/usr/share/ssl",
];

/// Variables that name more certificate authorities (of `process::PASSED_ON`).
const CERTIFICATES: &[&str] = &["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What every child may read.
pub fn everybodys() -> Vec<PathBuf> {
    let named = EVERYBODY.iter().map(PathBuf::from);
    named.chain(library_folders()).collect()
}

/// What children that use GPUs may read besides.
pub fn of_cards() -> Vec<PathBuf> {
    OF_CARDS.iter().map(PathBuf::from).collect()
}

/// The device files of NVIDIA GPUs; under WSL 2 there is one for all.
pub fn card_devices() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let is_card = |name: &str| name.starts_with("nvidia") || name == "dxg";
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_card))
        .map(|entry| entry.path())
        .collect()
}

/// What children that use the network may read besides.
pub fn of_network() -> Vec<PathBuf> {
    let named = OF_NETWORK.iter().map(PathBuf::from);
    named
        .chain(CERTIFICATES.iter().filter_map(env::var_os).map(PathBuf::from))
        .collect()
}

/// The folders of the libraries in this process, those in which more are looked for, and the CUDA packages beside a libtorch that was
/// installed by pip (`torch/lib` looks for them in `../../nvidia`).
fn library_folders() -> BTreeSet<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let files = maps
        .lines()
        .filter_map(|line| line.find('/').map(|start| &line[start..]));
    let libraries = files.filter(|file| file.contains(".so")).map(Path::new);
    let mut folders: BTreeSet<PathBuf> = libraries.filter_map(Path::parent).map(Path::to_owned).collect();
    let cuda = folders.iter().filter(|folder| folder.ends_with("torch/lib"));
    let cuda = cuda.filter_map(|folder| Some(folder.parent()?.parent()?.join("nvidia")));
    folders.extend(cuda.collect::<Vec<_>>());
    let searched = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let searched = env::split_paths(&searched).chain(configured_folders());
    folders.extend(searched.filter(|folder| folder.is_absolute()));
    folders
}

/// Those that the host's administrator, or CUDA's package, has added for all programs.
fn configured_folders() -> Vec<PathBuf> {
    let files = fs::read_dir("/etc/ld.so.conf.d").into_iter().flatten().flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    texts
        .flat_map(|text| {
            text.lines()
                .map(|line| PathBuf::from(line.trim()))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_librarys_folder_is_among_them() {
        let has_c = |folder: &PathBuf| folder.join("libc.so.6").exists();
        assert!(library_folders().iter().any(has_c), "{:?}", library_folders());
    }
}
