//! How many bits the 16-bit images of a dataset use. That shows only when all have been read, and then those that were packed with all 16
//! bits are packed again, from the file of the originals: few datasets have such images, and fewer use less than 16 bits.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, anyhow};

use super::{
    IMAGES_FILE, Outputs, budget::Budget, pipeline::MAX_DECODING_BYTES, pulse::Heartbeat,
    report::stored::Stored,
};
use crate::{
    domain::models::preprocessing::{Interpolation, UsedBits},
    protocol::IngestRun,
    worker::{
        pixels::{self, Fingerprint, Image},
        process::{run_dir::RunDir, stored::crc32},
    },
};

/// Records how many bits count in each 16-bit image. All are read with the same number: that of the run if it says one, otherwise what their
/// largest value needs.
pub fn settle(
    spec: &IngestRun,
    dir: &RunDir,
    stored: &mut [Stored],
    outputs: &mut Outputs,
    heartbeat: &Heartbeat<'_>,
) -> anyhow::Result<()> {
    let largest = stored.iter().filter_map(|stored| stored.largest).max();
    let Some(largest) = largest else { return Ok(()) };
    let used = spec.used_bits.unwrap_or(UsedBits::of_largest(largest));
    let deep: Vec<&mut Stored> = stored
        .iter_mut()
        .filter(|stored| stored.largest.is_some())
        .collect();
    if spec.used_bits.is_some() || used == UsedBits::ALL {
        deep.into_iter()
            .for_each(|stored| stored.image.used_bits = Some(used));
        return Ok(());
    }
    outputs.images.flush().context("cannot write the images")?;
    outputs.pack.flush().context("cannot write the pixel pack")?;
    let originals = File::open(dir.file(IMAGES_FILE)).context("cannot read the images")?;
    let repack = Repack {
        originals,
        used,
        pack_side: spec.pack_side,
        max_pixels: spec.limits.max_image_pixels,
        memory: Budget::new(MAX_DECODING_BYTES),
        outputs,
        heartbeat,
    };
    let next = AtomicUsize::new(0);
    let deep: Vec<Mutex<&mut Stored>> = deep.into_iter().map(Mutex::new).collect();
    thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            while let Some(stored) = deep.get(next.fetch_add(1, Ordering::Relaxed)) {
                repack.one(&mut stored.lock().unwrap_or_else(PoisonError::into_inner))?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..spec.threads.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .map_err(|_| anyhow!("packing an image again failed unexpectedly"))?
        })
    })
}

struct Repack<'a> {
    originals: File,
    used: UsedBits,
    pack_side: u32,
    max_pixels: u64,
    memory: Budget,
    outputs: &'a Outputs,
    heartbeat: &'a Heartbeat<'a>,
}

impl Repack<'_> {
    fn one(&self, stored: &mut Stored) -> anyhow::Result<()> {
        self.heartbeat.beat()?;
        let image = &mut stored.image;
        let mut file = vec![0; usize::try_from(image.bytes)?];
        self.originals
            .read_exact_at(&mut file, image.offset)
            .context("cannot read an image again")?;
        let packed = self
            .packed(&file)
            .with_context(|| format!("`{}` does not decode again", image.path))?;
        // The values are different, the size is not.
        let same = (packed.width, packed.height) == (image.pack_width, image.pack_height);
        anyhow::ensure!(same, "`{}` has another size when it is decoded again", image.path);
        self.outputs
            .pack
            .replace(image.pack_offset, &packed.rgb)
            .context("cannot write the pixel pack")?;
        image.pack_crc32 = Some(crc32(&packed.rgb));
        image.used_bits = Some(self.used);
        stored.fingerprint = Fingerprint::of(&packed);
        Ok(())
    }

    fn packed(&self, file: &[u8]) -> Result<Image, pixels::DecodeFault> {
        let header = pixels::Header::read(file, self.max_pixels)?;
        let needed = header.memory();
        // Never closed, as in the pipeline.
        let _ = self.memory.take(needed);
        let packed = header
            .decode(self.used)
            .map(|decoded| pixels::pack(decoded.image, self.pack_side, Interpolation::Bilinear));
        self.memory.give_back(needed);
        packed
    }
}
