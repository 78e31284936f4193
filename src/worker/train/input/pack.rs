//! Images ready to be cropped, from memory-mapped files: the dataset's own packs where they have the right size, then packs of earlier runs
//! with that size, and for what is still missing a pack that this run creates, which the server keeps for later ones. Loader threads read
//! them; nothing writes to them once they are open. Each image is checked against its CRC-32 whenever it is read, and recreated from its
//! file if it is damaged.

use std::{collections::BTreeSet, fs::File, io, sync::Arc};

use anyhow::Context;
use memmap2::{Mmap, UncheckedAdvice};
use rayon::{ThreadPoolBuilder, prelude::*};

use super::{
    damages::Damages,
    data::Data,
    pack_file::{PackFile, PackWriter, Place, mapped_if_there},
};
use crate::{
    domain::{
        damage::Damaged,
        models::preprocessing::{Interpolation, Preprocessing, Resize},
    },
    files::digest,
    protocol::{Artifact, DatasetInput, MadePack, ManifestImage, PackSize, Segment, UsedPacks},
    worker::{
        pixels::{self, Image, ImageView},
        process::{run_dir::RunDir, stored},
        train::progress::{halt::Halt, pulse::Heartbeat},
    },
};

/// Name of a run's own pack in its directory.
const LOCAL_PACK: &str = "pixels.pack";
/// Minimum hashing speed, in bytes per second: for how long a run may be silent meanwhile.
const MIN_HASH_BYTES_PER_SECOND: u64 = 50 << 20;

/// Packed images.
pub struct Pack {
    files: Vec<Packed>,
    /// By index into [`Data::images`], each with the index of its file; none where neither training nor validation needs it.
    places: Vec<Option<(usize, Place)>>,
    repairer: Repairer,
}

/// A file of packed images.
struct Packed {
    pixels: Mmap,
    /// The server's name for it; none where the run created it itself.
    sha256: Option<String>,
}

/// A packed image, from its file or recreated.
pub enum PackedImage<'a> {
    Mapped(ImageView<'a>),
    Repaired(Image),
}

impl PackedImage<'_> {
    pub fn view(&self) -> ImageView<'_> {
        match self {
            Self::Mapped(view) => *view,
            Self::Repaired(image) => image.view(),
        }
    }
}

/// The size of the images in a run's own pack, and how they are resized to it.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// Length of the shorter side.
    pub pixels: u32,
    /// Enlarge smaller images once, here, instead of in every epoch. Only where nothing else is done to them first: interpolating the
    /// packed image must use the same pixels as prediction.
    pub bring_up: bool,
    pub interpolation: Interpolation,
}

impl Side {
    /// For images that are only preprocessed.
    pub fn of(recipe: &Preprocessing) -> Self {
        Self {
            pixels: recipe.resize_to,
            bring_up: recipe.resize == Resize::ShortestCrop,
            interpolation: recipe.interpolation,
        }
    }
}

impl Pack {
    /// Finds or creates the packed images that the run needs. Missing ones are created from the original files, on `threads` threads, a
    /// limited number at a time, and stored in `dir`.
    pub fn obtain(
        input: &DatasetInput,
        data: &Data,
        side: Side,
        dir: &RunDir,
        threads: u32,
        heartbeat: &mut Heartbeat,
    ) -> Result<Self, Halt> {
        let samples = data.train.iter().chain(&data.val);
        let needed: BTreeSet<usize> = samples.map(|sample| sample.image).collect();
        let own_size = input
            .segments
            .iter()
            .any(|segment| segment.pack_side == side.pixels && side.interpolation.is_bilinear());
        let size = PackSize {
            side: side.pixels,
            // If ingest's packs are used, the others match them.
            bring_up: side.bring_up && !own_size,
            interpolation: side.interpolation,
        };
        let wanted = Wanted {
            input,
            data,
            needed: needed.into_iter().collect(),
            size,
        };
        let mut pack = Self {
            files: Vec::new(),
            places: vec![None; data.images.len()],
            repairer: Repairer {
                images: Arc::clone(&data.images),
                segments: input.segments.clone(),
                size,
                damages: Damages::new(dir, heartbeat.reporter()),
            },
        };
        pack.take_segments(&wanted, heartbeat)?;
        let mut packs = UsedPacks {
            used: pack.take_known(&wanted)?,
            ..UsedPacks::default()
        };
        if !pack.missing(&wanted).is_empty() {
            let file = pack.make(&wanted, dir, threads, heartbeat)?;
            packs.made = Some(MadePack { file, size });
        }
        pack.repairer.damages.begin(packs)?;
        Ok(pack)
    }

    /// Uses the packs that ingest created, if they have the right size.
    fn take_segments(&mut self, wanted: &Wanted, heartbeat: &mut Heartbeat) -> anyhow::Result<()> {
        let (input, data) = (wanted.input, wanted.data);
        let segments = Segments::of(input);
        let mut files = Vec::new();
        for segment in &input.segments {
            let fits = wanted.size.is_of_ingest(segment.pack_side);
            files.push(if fits {
                self.take_segment(segment, wanted, heartbeat)?
            } else {
                None
            });
        }
        for &image in &wanted.needed {
            let Some(file) = files[segments.of_image(&data.images[image])?] else {
                continue;
            };
            let ManifestImage {
                pack_offset: offset,
                pack_width: width,
                pack_height: height,
                pack_crc32: crc32,
                ..
            } = data.images[image];
            let place = Place {
                offset,
                width,
                height,
                crc32,
            };
            self.places[image] = Some((file, place));
        }
        Ok(())
    }

    /// The index of a segment's pack among the files; none if it has been deleted or is damaged.
    fn take_segment(
        &mut self,
        segment: &Segment,
        wanted: &Wanted,
        heartbeat: &mut Heartbeat,
    ) -> anyhow::Result<Option<usize>> {
        let file = mapped_if_there(&segment.pack).context("the dataset's pixel pack cannot be opened")?;
        let Some(pixels) = file else { return Ok(None) };
        let images = wanted.needed.iter().map(|&image| &wanted.data.images[image]);
        let mut own = images.filter(|image| image.segment == segment.number);
        // From before images had checksums: all of it or nothing.
        if own.any(|image| image.pack_crc32.is_none()) {
            heartbeat.extend_deadline(pixels.len() as u64 / MIN_HASH_BYTES_PER_SECOND);
            if !digest::holds(&segment.pack, &segment.pack_sha256)? {
                self.repairer.damages.note(&segment.pack_sha256)?;
                return Ok(None);
            }
        }
        Ok(Some(self.add(pixels, Some(&segment.pack_sha256))))
    }

    /// Uses packs of this size from earlier runs; returns the digests of those used. One that has been deleted or is damaged is skipped.
    fn take_known(&mut self, wanted: &Wanted) -> anyhow::Result<Vec<String>> {
        let mut used = Vec::new();
        for known in wanted
            .input
            .packs
            .iter()
            .filter(|known| known.size == wanted.size)
        {
            let missing = self.missing(wanted);
            if missing.is_empty() {
                break;
            }
            let PackFile { pixels, places } = match PackFile::open(&known.path) {
                Ok(pack) => pack,
                Err(_) if known.path.exists() => {
                    self.repairer.damages.note(&known.sha256)?;
                    continue;
                }
                Err(_) => continue,
            };
            let found: Vec<(usize, Place)> = missing
                .into_iter()
                .filter_map(|image| Some((image, *places.get(&wanted.data.images[image].id)?)))
                .collect();
            if found.is_empty() {
                continue;
            }
            let file = self.add(pixels, Some(&known.sha256));
            for (image, place) in found {
                self.places[image] = Some((file, place));
            }
            used.push(known.sha256.clone());
        }
        Ok(used)
    }

    /// Packs what is missing.
    fn make(
        &mut self,
        wanted: &Wanted,
        dir: &RunDir,
        threads: u32,
        heartbeat: &mut Heartbeat,
    ) -> Result<Artifact, Halt> {
        let (input, data) = (wanted.input, wanted.data);
        let missing = self.missing(wanted);
        let segments = Segments::of(input);
        let originals = segments.map_originals()?;
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads as usize)
            .build()
            .context("no threads")?;
        let path = dir.file(LOCAL_PACK);
        let mut writer = PackWriter::new(dir.create(LOCAL_PACK)?);
        const CHUNK: usize = 64;
        for some in missing.chunks(CHUNK) {
            heartbeat.beat()?;
            let resize = |image: &usize| {
                let image = &data.images[*image];
                let file = stored::original(&originals[segments.of_image(image)?], image)?;
                resized(file, image, wanted.size)
            };
            let packed: Vec<anyhow::Result<Image>> = pool.install(|| some.par_iter().map(resize).collect());
            for (image, packed) in some.iter().zip(packed) {
                writer.push(data.images[*image].id, &packed?)?;
            }
        }
        let artifact = writer.finish(LOCAL_PACK)?;
        let PackFile { pixels, places } =
            PackFile::open(&path).context("the run's pixel pack cannot be opened")?;
        let file = self.add(pixels, None);
        for image in missing {
            let place = places.get(&data.images[image].id);
            self.places[image] = place.map(|place| (file, *place));
        }
        Ok(artifact)
    }

    /// What is needed and not packed yet.
    fn missing(&self, wanted: &Wanted) -> Vec<usize> {
        let needed = wanted.needed.iter().copied();
        needed.filter(|&image| self.places[image].is_none()).collect()
    }

    fn add(&mut self, pixels: Mmap, sha256: Option<&str>) -> usize {
        let sha256 = sha256.map(str::to_owned);
        self.files.push(Packed { pixels, sha256 });
        self.files.len() - 1
    }

    /// An image by its index into [`Data::images`].
    ///
    /// # Errors
    /// [`Damaged`] if both its pixels and its file are damaged.
    pub fn image(&self, image: usize) -> anyhow::Result<PackedImage<'_>> {
        let place = self.places.get(image).copied().flatten();
        let found = place.and_then(|(file, place)| Some((self.files.get(file)?, place)));
        let (file, place) = found.with_context(|| format!("image {image} was not packed"))?;
        let view = place
            .sound(&file.pixels)
            .and_then(|bytes| ImageView::new(place.width, place.height, bytes));
        match view {
            Some(view) => Ok(PackedImage::Mapped(view)),
            None => Ok(PackedImage::Repaired(
                self.repairer.repair(image, file.sha256.as_deref())?,
            )),
        }
    }

    /// Releases the pages of an image that was read: they no longer count as this process's memory. The system keeps them in its cache
    /// while it has room, so that the next epoch finds them, and the memory of a training does not grow with the number of images.
    pub fn release(&self, image: usize) {
        let Some((file, place)) = self.places.get(image).copied().flatten() else {
            return;
        };
        let bytes = self
            .files
            .get(file)
            .and_then(|file| Some((&file.pixels, place.of(&file.pixels)?)));
        if let Some((file, bytes)) = bytes {
            // SAFETY: pages of a file that is only read come back from the file with the next access. Advice is not always taken.
            let _ = unsafe {
                file.unchecked_advise_range(UncheckedAdvice::DontNeed, place.offset as usize, bytes.len())
            };
        }
    }
}

/// Recreates images whose packed pixels are damaged.
struct Repairer {
    images: Arc<Vec<ManifestImage>>,
    segments: Vec<Segment>,
    size: PackSize,
    damages: Damages,
}

impl Repairer {
    fn repair(&self, image: usize, pack_sha256: Option<&str>) -> anyhow::Result<Image> {
        if let Some(sha256) = pack_sha256 {
            self.damages.note(sha256)?;
        }
        let image = &self.images[image];
        let segments = Segments(&self.segments);
        let originals = &self.segments[segments.of_image(image)?].images;
        let originals = File::open(originals).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Damaged::image(image.id, &image.path).into(),
            _ => anyhow::Error::new(error).context("the dataset's images cannot be opened"),
        })?;
        resized(&stored::read_original(&originals, image)?, image, self.size)
    }
}

/// Which images a run needs, and their size.
struct Wanted<'a> {
    input: &'a DatasetInput,
    data: &'a Data,
    /// Indices into [`Data::images`].
    needed: Vec<usize>,
    size: PackSize,
}

/// The segments of a dataset version, looked up by number.
struct Segments<'a>(&'a [Segment]);

impl<'a> Segments<'a> {
    fn of(input: &'a DatasetInput) -> Self {
        Self(&input.segments)
    }

    /// Index of the segment that contains an image.
    fn of_image(&self, image: &ManifestImage) -> anyhow::Result<usize> {
        let found = self
            .0
            .binary_search_by_key(&image.segment, |segment| segment.number);
        found.map_err(|_| {
            anyhow::anyhow!(
                "image {} is in segment {}, which does not exist",
                image.id,
                image.segment
            )
        })
    }

    /// The originals of each segment, mapped.
    fn map_originals(&self) -> anyhow::Result<Vec<Mmap>> {
        let map = |segment: &Segment| {
            let file = mapped_if_there(&segment.images).context("the dataset's images cannot be opened")?;
            let gone = || {
                Damaged::new(format!(
                    "the file of the dataset's images (segment {})",
                    segment.number
                ))
            };
            Ok(file.ok_or_else(gone)?)
        };
        self.0.iter().map(map).collect()
    }
}

/// An image's file as a packed image.
fn resized(bytes: &[u8], image: &ManifestImage, size: PackSize) -> anyhow::Result<Image> {
    let decoded = pixels::decode(
        bytes,
        u64::from(image.width) * u64::from(image.height),
        image.depth(),
    )
    .map_err(|fault| anyhow::anyhow!("image {} no longer decodes: {fault}", image.id))?;
    let packed = pixels::pack(decoded, size.side, size.interpolation);
    Ok(if size.bring_up && packed.view().shorter() < size.side {
        pixels::resize_shortest(&packed, size.side, size.interpolation)
    } else {
        packed
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, fs::File};

    use super::*;

    /// Pixels of a side, and what an image takes.
    const SIDE: u32 = 1024;
    const BYTES: u64 = SIDE as u64 * SIDE as u64 * 3;

    /// Bytes of this process's memory that a mapped file takes.
    fn resident(file: &Mmap) -> u64 {
        let begins = format!("{:x}-", file.as_ptr() as usize);
        let all = fs::read_to_string("/proc/self/smaps").unwrap();
        let mapping = all.lines().skip_while(|line| !line.starts_with(&begins));
        let size = mapping
            .filter_map(|line| line.strip_prefix("Rss:"))
            .next()
            .unwrap();
        let kilobytes: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes << 10
    }

    #[test]
    fn an_image_that_was_put_back_takes_no_memory_and_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pixels");
        fs::write(&path, [7, 9].map(|pixel| vec![pixel; BYTES as usize]).concat()).unwrap();
        // SAFETY: nobody else knows the file.
        let file = unsafe { Mmap::map(&File::open(&path).unwrap()).unwrap() };
        let place = |offset| Place {
            offset,
            width: SIDE,
            height: SIDE,
            crc32: None,
        };
        let pack = Pack {
            files: vec![Packed {
                pixels: file,
                sha256: None,
            }],
            places: [0, BYTES].map(|offset| Some((0, place(offset)))).to_vec(),
            repairer: Repairer {
                images: Arc::default(),
                segments: Vec::new(),
                size: PackSize {
                    side: SIDE,
                    bring_up: false,
                    interpolation: Interpolation::Bilinear,
                },
                damages: Damages::new(
                    &RunDir::new(folder.path()),
                    &crate::worker::process::child::Reporter::to(std::io::sink()),
                ),
            },
        };
        // Pages that are mapped with their neighbours. Huge ones that belong to both images go with the first.
        let little = 256 << 10;
        for _ in 0..2 {
            for (image, pixel) in [(0, 7), (1, 9)] {
                let packed = pack.image(image).unwrap();
                assert!(packed.view().rgb.iter().all(|&value| value == pixel));
            }
            assert!(resident(&pack.files[0].pixels) >= 2 * BYTES - little);
            pack.release(0);
            let left = resident(&pack.files[0].pixels);
            assert!(left <= BYTES + little, "{left}");
            pack.release(1);
            assert!(resident(&pack.files[0].pixels) <= little);
        }
    }
}
