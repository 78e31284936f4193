//! Devices and their jobs: at most one job per device at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::{
    domain::{id::JobId, time::Timestamp},
    protocol::Device,
};

/// A device and the job that runs on it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct DeviceState {
    #[serde(flatten)]
    pub device: Device,
    /// The job that runs on it; null if it is free.
    pub job: Option<JobId>,
    /// Since when it has failed and gets no jobs; null if it works.
    pub failed_since: Option<Timestamp>,
}

#[derive(Default)]
pub struct Slots {
    devices: watch::Sender<Vec<Device>>,
    busy: Arc<Busy>,
}

#[derive(Default)]
struct Busy {
    jobs: Mutex<HashMap<String, JobId>>,
    /// Devices that get no jobs, and since when.
    failed: Mutex<HashMap<String, Timestamp>>,
    freed: Notify,
}

/// A device assigned to a job until this is dropped.
pub struct Slot {
    busy: Arc<Busy>,
    device: String,
}

impl Slots {
    /// Sets the list of devices, once.
    pub fn open(&self, devices: Vec<Device>) {
        self.devices.send_replace(devices);
    }

    pub fn known(&self) -> watch::Receiver<Vec<Device>> {
        self.devices.subscribe()
    }

    /// Waits until the devices are known; false if the server stops first.
    pub async fn opened(&self, shutdown: &CancellationToken) -> bool {
        let mut devices = self.known();
        tokio::select! {
            () = shutdown.cancelled() => false,
            known = devices.wait_for(|devices| !devices.is_empty()) => known.is_ok(),
        }
    }

    pub fn has_gpu(&self) -> bool {
        self.devices
            .borrow()
            .iter()
            .any(|device| device.name.starts_with("cuda:"))
    }

    /// Names of the devices without a job that can have one.
    pub fn free(&self) -> Vec<String> {
        let devices = self.devices.borrow();
        let (jobs, failed) = (self.busy.lock(), self.busy.failed());
        let is_free = |name: &String| !jobs.contains_key(name) && !failed.contains_key(name);
        let names = devices.iter().map(|device| &device.name);
        names.filter(|name| is_free(name)).cloned().collect()
    }

    /// From now on the device gets no jobs.
    pub fn quarantine(&self, device: &str) {
        let mut failed = self.busy.failed();
        failed.entry(device.to_owned()).or_insert_with(Timestamp::now);
    }

    /// From now on it gets jobs again.
    pub fn release(&self, device: &str) {
        self.busy.failed().remove(device);
        self.busy.freed.notify_one();
    }

    pub fn take(&self, device: &str, job: JobId) -> Slot {
        self.busy.lock().insert(device.to_owned(), job);
        Slot {
            busy: self.busy.clone(),
            device: device.to_owned(),
        }
    }

    /// Returns when a device has been freed since the last call.
    pub async fn freed(&self) {
        self.busy.freed.notified().await;
    }

    pub fn states(&self) -> Vec<DeviceState> {
        let devices = self.devices.borrow();
        let (jobs, failed) = (self.busy.lock(), self.busy.failed());
        let state = |device: &Device| DeviceState {
            device: device.clone(),
            job: jobs.get(&device.name).copied(),
            failed_since: failed.get(&device.name).copied(),
        };
        devices.iter().map(state).collect()
    }
}

impl Busy {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, JobId>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, HashMap<String, Timestamp>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.device);
        self.busy.freed.notify_one();
    }
}
