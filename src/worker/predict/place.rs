//! Where and how a predict child computes: what its command line says, and what follows from the host.

use super::batch_size::{BatchSize, MAX_LANES};
use crate::worker::device;

/// Command-line options of a predict child.
#[derive(Clone, Debug)]
pub struct Options {
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Threads for arithmetic, and as many for decoding; 0 means all cores.
    pub threads: u32,
    /// Largest number of images in a forward pass.
    pub max_batch: Option<usize>,
    /// Memory for loaded networks.
    pub model_bytes: Option<u64>,
}

/// Where and how this child computes: [`Options`] with all defaults resolved.
pub struct Place {
    pub device: tch::Device,
    pub threads: usize,
    /// Batches that are computed in parallel.
    pub lanes: usize,
    pub batch_size: BatchSize,
    pub model_bytes: u64,
}

impl Place {
    pub fn of(options: &Options) -> anyhow::Result<Self> {
        let device = device::parse(&options.device).map_err(anyhow::Error::msg)?;
        let known = device::list();
        let known = known.iter().find(|known| known.name == options.device);
        let threads = match (options.threads, known) {
            (0, Some(known)) => known.threads,
            (threads, _) => threads,
        };
        let memory = known.map_or(0, |known| known.memory_bytes);
        // Of a card the other half of a quarter is for activations; the rest for a training beside this (`process::FreedMemory`). A host's
        // memory is shared with everything else on it.
        let share = if device.is_cuda() { memory / 8 } else { memory / 4 };
        let threads = threads.max(1) as usize;
        let batch_size = match options.max_batch {
            Some(most) => BatchSize::up_to(most.max(1)),
            None if device.is_cuda() => BatchSize::up_to(32),
            None => BatchSize { usual: 4, most: 8 },
        };
        Ok(Self {
            device,
            threads,
            lanes: if device.is_cuda() {
                1
            } else {
                threads.min(MAX_LANES)
            },
            batch_size,
            model_bytes: options.model_bytes.unwrap_or(share.max(1 << 30)),
        })
    }
}
