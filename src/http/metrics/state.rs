//! What is counted or kept for `/metrics` while the server runs.

use std::sync::{Arc, atomic::AtomicUsize};

use super::{devices::Devices, disk::Disk, requests::Requests};

pub struct Metrics {
    pub(super) requests: Requests,
    pub(super) disk: Disk,
    pub(super) devices: Devices,
    /// Connections of the main listener.
    pub(super) connections: Arc<AtomicUsize>,
}

impl Metrics {
    pub fn new(connections: Arc<AtomicUsize>) -> Self {
        Self {
            requests: Requests::default(),
            disk: Disk::default(),
            devices: Devices::default(),
            connections,
        }
    }
}
