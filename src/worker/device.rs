//! The devices of the host, and loading CUDA where it is installed.
//!
//! The worker is linked only with the CPU part of libtorch. [`prepare`] loads the CUDA part at run time and must be called before anything
//! else of libtorch: its operators register themselves while it is loaded.

mod driver;
mod probe;
pub mod settings;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::Cuda;

use self::driver::Driver;
pub use self::probe::probe;
use crate::protocol::Device;

/// The version of libtorch that this program is built for; torch-sys refuses to build with any other.
pub const LIBTORCH_VERSION: &str = "2.11.0";

const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// Loads libtorch's CUDA part if there is one, once for the life of the process. From then on cards compute 32-bit floats as such.
///
/// True if it is loaded; whether there is a GPU as well is for [`list`] to say.
pub fn prepare() -> bool {
    static LOADED: OnceLock<bool> = OnceLock::new();
    *LOADED.get_or_init(|| {
        settings::allow_tf32(false);
        load_cuda()
    })
}

/// The only device of this process, if it has but one.
static ONLY: OnceLock<String> = OnceLock::new();

/// Hides all other cards from this process: a library that looks at one takes half a gigabyte of its memory. To be called before the process
/// has a second thread, and before [`prepare`].
pub fn see_only(name: &str) {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let card = name.strip_prefix("cuda:").and_then(|index| index.parse().ok());
    let Some(card) = card.map_or(Some(String::new()), |index| {
        visible_card(visible.as_deref(), index)
    }) else {
        // A card that is not there: `parse` will say so.
        return;
    };
    // SAFETY: there is no other thread that could read the environment meanwhile.
    unsafe { std::env::set_var("CUDA_VISIBLE_DEVICES", card) };
    let _ = ONLY.set(name.to_owned());
}

/// What `CUDA_VISIBLE_DEVICES` has to be for only the card with this index to be seen, given its value now.
fn visible_card(visible: Option<&str>, index: usize) -> Option<String> {
    match visible {
        None => Some(index.to_string()),
        Some(list) => list.split(',').nth(index).map(|card| card.trim().to_owned()),
    }
}

/// The devices of this host, GPUs first.
pub fn list() -> Vec<Device> {
    let mut devices = Vec::new();
    if prepare() {
        let driver = Driver::open();
        for index in 0..Cuda::device_count().max(0) as usize {
            devices.push(describe_card(index, driver.as_ref()));
        }
    }
    devices.push(Device {
        name: "cpu".into(),
        description: cpu_description(),
        threads: cpu_threads(),
        memory_bytes: host_memory(),
        pci_bus_id: None,
    });
    devices
}

/// The device with this name: `cpu` or `cuda:N`.
///
/// # Errors
/// A sentence for people if there is no such device here.
pub fn parse(name: &str) -> Result<tch::Device, String> {
    if name == "cpu" {
        return Ok(tch::Device::Cpu);
    }
    let index = name.strip_prefix("cuda:").and_then(|index| index.parse().ok());
    let Some(index) = index else {
        return Err(format!(
            "there is no device `{name}`; devices are named `cpu` or `cuda:N`"
        ));
    };
    // Where it is the only one that is seen, it is the first.
    let index = if ONLY.get().is_some_and(|only| only == name) {
        0
    } else {
        index
    };
    let cards = if prepare() {
        Cuda::device_count().max(0) as usize
    } else {
        0
    };
    if index < cards {
        return Ok(tch::Device::Cuda(index));
    }
    Err(format!(
        "there is no device `{name}`: {cards} CUDA GPUs are usable here"
    ))
}

/// Compute capability of a card, major and minor; none for the processor.
pub fn compute_capability(device: tch::Device) -> Option<(u32, u32)> {
    match device {
        tch::Device::Cuda(index) => Driver::open()?.compute_capability(index),
        _ => None,
    }
}

fn load_cuda() -> bool {
    let beside = libtorch_folder().map(|folder| folder.join(CUDA_LIBRARY));
    let beside = beside.filter(|path| path.exists());
    let candidates = beside.into_iter().chain([PathBuf::from(CUDA_LIBRARY)]);
    for candidate in candidates {
        // SAFETY: libtorch's own initialisers run, as they would if we were linked with it; it is never unloaded.
        match unsafe { Library::open(Some(&candidate), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(library) => {
                let _stays_for_ever = library.into_raw();
                return true;
            }
            // If it exists but does not load, that is worth a warning; if there is none, this is a CPU host.
            Err(fault) if candidate.is_absolute() => {
                tracing::warn!("libtorch's CUDA part is installed but cannot be loaded: {fault}");
            }
            Err(fault) => tracing::debug!("no CUDA: {fault}"),
        }
    }
    false
}

/// The folder of the libtorch that this process uses.
fn libtorch_folder() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps
        .lines()
        .filter_map(|line| line.find('/').map(|start| &line[start..]))
        .find(|path| path.ends_with("/libtorch_cpu.so"))?;
    Path::new(path).parent().map(Path::to_owned)
}

fn describe_card(index: usize, driver: Option<&Driver>) -> Device {
    let (description, memory_bytes) = driver
        .and_then(|driver| driver.card(index))
        .unwrap_or_else(|| ("CUDA GPU of unknown model".to_owned(), 0));
    Device {
        name: ONLY.get().cloned().unwrap_or_else(|| format!("cuda:{index}")),
        description,
        threads: cpu_threads(),
        memory_bytes,
        pci_bus_id: driver.and_then(|driver| driver.pci_bus_id(index)),
    }
}

fn cpu_threads() -> u32 {
    thread::available_parallelism().map_or(1, |count| count.get() as u32)
}

fn cpu_description() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = ["model name", "Model", "Hardware", "Processor"]
        .into_iter()
        .find_map(|key| field(&text, key));
    model.map_or_else(|| format!("{} processor", std::env::consts::ARCH), str::to_owned)
}

/// The host's memory, or the control group's limit if that is smaller; 0 if neither can be read.
fn host_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = field(&text, "MemTotal").and_then(|value| value.strip_suffix(" kB"));
    let total = kilobytes.and_then(|value| value.trim().parse::<u64>().ok());
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_limit_files(&groups).into_iter();
    let limit = limits.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    limit.chain(total.map(|value| value * 1024)).min().unwrap_or(0)
}

/// Files that may contain a memory limit of this process' control group: version 2, then version 1, each as seen from the host and from a
/// container.
fn group_limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = vec![
        PathBuf::from("/sys/fs/cgroup/memory.max"),
        PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ];
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else {
            continue;
        };
        let group = group.trim_start_matches('/');
        if controllers.is_empty() {
            files.push(Path::new("/sys/fs/cgroup").join(group).join("memory.max"));
        } else if controllers.split(',').any(|name| name == "memory") {
            files.push(
                Path::new("/sys/fs/cgroup/memory")
                    .join(group)
                    .join("memory.limit_in_bytes"),
            );
        }
    }
    files
}

/// The value of the first `key : value` line.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values
        .filter(|(name, value)| name.trim() == key && !value.trim().is_empty())
        .map(|(_, value)| value.trim())
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_ends_with_the_processor() {
        let devices = list();
        let cpu = devices.last().unwrap();
        assert_eq!(cpu.name, "cpu");
        assert!(cpu.threads >= 1);
        assert!(cpu.memory_bytes > 64 << 20, "{}", cpu.memory_bytes);
        assert!(!cpu.description.is_empty());
    }

    #[test]
    fn names_of_devices_are_read_and_others_refused() {
        assert_eq!(parse("cpu"), Ok(tch::Device::Cpu));
        assert!(parse("cuda:250").unwrap_err().contains("cuda:250"));
        assert!(parse("tpu").unwrap_err().contains("cuda:N"));
        for device in list() {
            assert!(parse(&device.name).is_ok(), "{}", device.name);
        }
    }

    #[test]
    fn a_card_is_the_same_whatever_is_visible() {
        assert_eq!(visible_card(None, 3).as_deref(), Some("3"));
        assert_eq!(visible_card(Some("2,5"), 1).as_deref(), Some("5"));
        assert_eq!(visible_card(Some("GPU-8f, GPU-9a"), 1).as_deref(), Some("GPU-9a"));
        assert_eq!(visible_card(Some("2,5"), 2), None);
    }

    /// Other tests of this process set it, too.
    #[test]
    fn tf32_is_allowed_and_forbidden() {
        for allowed in [true, false] {
            let is_set = |_| {
                settings::allow_tf32(allowed);
                settings::tf32_is_allowed() == allowed
            };
            assert!((0..1000).any(is_set), "{allowed}");
        }
        // There is no card whose memory it could be.
        settings::give_back_freed_memory();
    }

    #[test]
    fn the_folder_of_libtorch_is_found() {
        // The first call makes sure that libtorch is in the process.
        assert!(tch::get_num_threads() >= 1);
        assert!(libtorch_folder().unwrap().join("libtorch_cpu.so").exists());
    }

    #[test]
    fn limits_of_control_groups_are_looked_for_where_they_can_be() {
        let files = group_limit_files("4:cpu,memory:/box/7\n0::/user.slice\n");
        let has = |path: &str| files.contains(&PathBuf::from(path));
        assert!(has("/sys/fs/cgroup/memory/box/7/memory.limit_in_bytes"));
        assert!(has("/sys/fs/cgroup/user.slice/memory.max"));
    }
}
