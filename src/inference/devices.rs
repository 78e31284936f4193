//! On which device predictions are computed: on the first GPU, or on the processor while a GPU fails to.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::protocol::Device;

/// How long the processor stands in before the GPU is tried again.
const STAND_IN: Duration = Duration::from_secs(600);
const PROCESSOR: &str = "cpu";

/// Where predictions are computed, as others see it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Serving(Arc<Mutex<ServingDevice>>);

/// Where predictions are computed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServingDevice {
    /// That of the last process that was started; none before the first.
    pub device: Option<String>,
    /// The GPU that they should be computed on, if it could not be used.
    pub instead_of: Option<String>,
}

impl Serving {
    pub fn now(&self) -> ServingDevice {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, now: ServingDevice) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

/// The device for the next process.
pub struct Devices {
    /// Empty until they are known.
    known: watch::Receiver<Vec<Device>>,
    /// Until when the GPU is not tried.
    avoid_gpu_until: Option<Instant>,
    serving: Serving,
}

impl Devices {
    pub fn new(known: watch::Receiver<Vec<Device>>, serving: Serving) -> Self {
        Self {
            known,
            avoid_gpu_until: None,
            serving,
        }
    }

    /// The device for a process that is started now, as soon as devices are known; none if nobody will say.
    pub async fn choose(&mut self, now: Instant) -> Option<String> {
        let known = self.known.wait_for(|devices| !devices.is_empty()).await.ok()?;
        let named = |wanted: &dyn Fn(&str) -> bool| {
            let mut names = known.iter().map(|device| &device.name);
            names.find(|name| wanted(name)).cloned()
        };
        let gpu = named(&|name| name.starts_with("cuda:"));
        let avoided = self.avoid_gpu_until.is_some_and(|until| now < until);
        let stand_in = named(&|name| name == PROCESSOR).filter(|_| avoided && gpu.is_some());
        let instead_of = gpu.clone().filter(|_| stand_in.is_some());
        let device = stand_in.or(gpu).or_else(|| named(&|_| true))?;
        self.serving.set(ServingDevice {
            device: Some(device.clone()),
            instead_of,
        });
        Some(device)
    }

    /// The process on the device that was chosen last did not come to answer anything. Whether another device stands in for it.
    pub fn could_not_be_used(&mut self, now: Instant) -> bool {
        let is_gpu = self.serving.now().device.is_some_and(|name| name != PROCESSOR);
        let has_processor = self.known.borrow().iter().any(|device| device.name == PROCESSOR);
        let stands_in = is_gpu && has_processor;
        if stands_in {
            self.avoid_gpu_until = Some(now + STAND_IN);
        }
        stands_in
    }

    /// When a process that stands in for a GPU is to make room, if this one does.
    pub fn until(&self) -> Option<Instant> {
        let stands_in = self.serving.now().instead_of.is_some();
        self.avoid_gpu_until.filter(|_| stands_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(names: &[&str]) -> (Devices, Serving) {
        let device = |name: &&str| Device {
            name: (*name).to_owned(),
            description: String::new(),
            threads: 1,
            memory_bytes: 1,
            pci_bus_id: None,
        };
        let (_, known) = watch::channel(names.iter().map(device).collect());
        let serving = Serving::default();
        (Devices::new(known, serving.clone()), serving)
    }

    #[tokio::test]
    async fn the_processor_stands_in_for_a_gpu_for_a_while() {
        let now = Instant::now();
        let (mut devices, serving) = devices(&["cuda:0", "cuda:1", "cpu"]);
        assert_eq!(devices.choose(now).await.as_deref(), Some("cuda:0"));
        assert_eq!((devices.until(), serving.now().instead_of), (None, None));
        assert!(devices.could_not_be_used(now));
        assert_eq!(devices.choose(now).await.as_deref(), Some("cpu"));
        assert_eq!(serving.now().instead_of.as_deref(), Some("cuda:0"));
        // That the processor fails as well says nothing about the GPU.
        assert!(!devices.could_not_be_used(now));
        let later = devices.until().unwrap();
        assert_eq!(later, now + STAND_IN);
        assert_eq!(devices.choose(later).await.as_deref(), Some("cuda:0"));
        assert_eq!(serving.now().instead_of, None);
    }

    #[tokio::test]
    async fn where_there_is_nothing_else_nothing_stands_in() {
        let now = Instant::now();
        for names in [&["cuda:0"][..], &["cpu"]] {
            let (mut devices, serving) = devices(names);
            assert_eq!(devices.choose(now).await.as_deref(), Some(names[0]));
            assert!(!devices.could_not_be_used(now));
            assert_eq!(devices.choose(now).await.as_deref(), Some(names[0]));
            assert_eq!(serving.now().instead_of, None);
        }
    }
}
