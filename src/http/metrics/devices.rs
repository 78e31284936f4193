//! How much memory of each device is used, and how busy it is: of cards as their driver says (NVML), of the processors as the kernel does.

use std::sync::{Arc, Mutex, PoisonError};

use nvml_wrapper::{Nvml, error::NvmlError};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::{
    error::{Error, Result},
    protocol::Device,
};

/// What can be read of a device now; a card in slices does not say how busy it is.
#[derive(Debug, PartialEq)]
pub struct Use {
    pub device: String,
    pub memory_total: u64,
    pub memory_used: Option<u64>,
    /// 0 to 1: of a card the share of the last second or so in which it computed, of the processors that of their time since the last look.
    pub busy: Option<f64>,
}

#[derive(Clone, Default)]
pub struct Devices(Arc<Mutex<Meters>>);

#[derive(Default)]
struct Meters {
    processors: Option<System>,
    cards: Option<Nvml>,
    is_told: bool,
}

impl Devices {
    /// In the order of `devices`.
    ///
    /// # Errors
    /// The process is ending.
    pub async fn uses(&self, devices: Vec<Device>) -> Result<Vec<Use>> {
        let meters = self.0.clone();
        let read = move || {
            let mut meters = meters.lock().unwrap_or_else(PoisonError::into_inner);
            devices
                .into_iter()
                .map(|device| meters.use_of(device, Nvml::init))
                .collect()
        };
        tokio::task::spawn_blocking(read).await.map_err(Error::internal)
    }
}

impl Meters {
    fn use_of(&mut self, device: Device, driver: impl FnOnce() -> Result<Nvml, NvmlError>) -> Use {
        let (memory_used, busy) = match &device.pci_bus_id {
            Some(bus_id) => self.of_card(bus_id, driver),
            None if device.name == "cpu" => self.of_processors(),
            None => (None, None),
        };
        Use {
            device: device.name,
            memory_total: device.memory_bytes,
            memory_used,
            busy,
        }
    }

    fn of_card(
        &mut self,
        bus_id: &str,
        driver: impl FnOnce() -> Result<Nvml, NvmlError>,
    ) -> (Option<u64>, Option<f64>) {
        let driver = match self.cards.take() {
            Some(driver) => Ok(driver),
            None => driver(),
        };
        let read = driver.and_then(|driver| {
            let card = driver.device_by_pci_bus_id(bus_id)?;
            let memory = card.memory_info()?.used;
            let busy = card.utilization_rates().ok();
            // What fails is opened anew the next time: a driver may have been exchanged.
            self.cards = Some(driver);
            Ok((Some(memory), busy.map(|rates| f64::from(rates.gpu) / 100.0)))
        });
        read.unwrap_or_else(|error| {
            if !std::mem::replace(&mut self.is_told, true) {
                tracing::warn!(%error, "cannot read how much of a card is used");
            }
            (None, None)
        })
    }

    fn of_processors(&mut self) -> (Option<u64>, Option<f64>) {
        if self.processors.is_none() {
            self.processors = System::new().ok();
        }
        let Some(system) = &mut self.processors else {
            return (None, None);
        };
        system.refresh_memory();
        system.refresh_cpu_usage();
        let busy = f64::from(system.global_cpu_usage()) / 100.0;
        let whole = (system.total_memory(), system.used_memory());
        let own = Pid::from_u32(std::process::id());
        system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[own]),
            true,
            ProcessRefreshKind::nothing(),
        );
        let group = system
            .process(own)
            .and_then(|process| process.cgroup_limits())
            .filter(|group| group.total_memory < whole.0);
        let used = group.map_or(whole.1, |group| group.rss);
        (Some(used), busy.is_finite().then_some(busy.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::{Path, PathBuf},
        process::Command,
    };

    use super::*;

    fn device(name: &str, pci_bus_id: Option<&str>) -> Device {
        Device {
            name: name.to_owned(),
            description: String::new(),
            threads: 1,
            memory_bytes: 100,
            pci_bus_id: pci_bus_id.map(str::to_owned),
        }
    }

    /// The library of a driver that knows two cards; the second does not say how busy it is.
    fn built(folder: &Path) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stand_ins/nvml.rs");
        let library = folder.join("libnvidia-ml.so.1");
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let status = Command::new(compiler)
            .args(["--edition", "2024", "--crate-type", "cdylib", "-o"])
            .args([&library, &source])
            .status();
        assert!(status.unwrap().success());
        library
    }

    #[test]
    fn a_card_is_the_one_at_its_place_on_the_bus() {
        let folder = tempfile::tempdir().unwrap();
        let library = built(folder.path());
        let open = || Nvml::builder().lib_path(library.as_os_str()).init();
        let mut meters = Meters::default();
        let mut read = |id: &str| {
            let found = meters.use_of(device("cuda:0", Some(id)), open);
            assert_eq!((found.device.as_str(), found.memory_total), ("cuda:0", 100));
            (found.memory_used, found.busy)
        };
        for _ in 0..2 {
            assert_eq!(read("0000:af:00.0"), (Some(18), None));
            assert_eq!(read("0000:3b:00.0"), (Some(9), Some(0.75)));
            assert_eq!(read("0000:00:00.0"), (None, None));
        }
        // One whose place is not known is not taken for another.
        let found = meters.use_of(device("cuda:1", None), open);
        assert_eq!((found.memory_used, found.busy), (None, None));
    }

    #[test]
    fn a_driver_that_is_not_there_is_no_failure() {
        let mut meters = Meters::default();
        let open = || {
            Nvml::builder()
                .lib_path("/nowhere/libnvidia-ml.so.1".as_ref())
                .init()
        };
        let found = meters.use_of(device("cuda:0", Some("0000:3b:00.0")), open);
        assert_eq!((found.memory_used, found.busy), (None, None));
        assert!(meters.is_told);
    }

    #[tokio::test]
    async fn the_processors_are_read() {
        let found = Devices::default().uses(vec![device("cpu", None)]).await.unwrap();
        let used = found[0].memory_used.unwrap();
        assert!(used > 1 << 20, "{used}");
        assert!((0.0..=1.0).contains(&found[0].busy.unwrap()));
    }
}
