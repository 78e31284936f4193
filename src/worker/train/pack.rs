//! Pictures ready to be cropped, out of a memory-mapped file: the dataset's own pack, or one made for this run where the dataset's has
//! another size. Loader threads read it; nothing writes to it once it is open.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context, ensure};
use memmap2::Mmap;
use rayon::{ThreadPoolBuilder, prelude::*};

use super::{data::Data, halt::Halt, pulse::Pulse};
use crate::{
    domain::preprocessing::{Preprocessing, Resize},
    protocol::{DatasetInput, ManifestImage, Segment},
    worker::{
        child::RunDir,
        pixels::{self, Picture, PictureView},
    },
};

/// Name of a run's own pack in its directory.
const LOCAL_PACK: &str = "pixels.pack";

/// Packed pictures.
pub struct Pack {
    /// One for each segment, or the run's own alone.
    files: Vec<Mmap>,
    /// By place in [`Data::images`]; none where neither training nor validation needs it.
    places: Vec<Option<Place>>,
}

/// How large the pictures of a run's own pack are.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// Length of the shorter side.
    pub pixels: u32,
    /// Bring smaller pictures up to it, once, here, and not anew in every epoch. Only for who does nothing else with them first: what
    /// interpolates the packed picture itself has to get the one that prediction would get.
    pub bring_up: bool,
}

impl Side {
    /// Of pictures that only the recipe is carried out on.
    pub fn of(recipe: &Preprocessing) -> Self {
        Self {
            pixels: recipe.resize_to,
            bring_up: recipe.resize == Resize::ShortestCrop,
        }
    }
}

#[derive(Clone, Copy)]
struct Place {
    /// Which of [`Pack::files`].
    file: usize,
    offset: u64,
    width: u32,
    height: u32,
}

impl Pack {
    /// Opens the dataset's pack.
    pub fn open(input: &DatasetInput, data: &Data) -> anyhow::Result<Self> {
        let segments = Segments::of(input);
        let place = |image: &ManifestImage| {
            Ok(Some(Place {
                file: segments.of_image(image)?,
                offset: image.pack_offset,
                width: image.pack_width,
                height: image.pack_height,
            }))
        };
        let places = data.images.iter().map(place).collect::<anyhow::Result<_>>()?;
        let files = segments.map(|segment| &segment.pack);
        let files = files.context("the dataset's pixel pack cannot be opened")?;
        Ok(Self { files, places })
    }

    /// Makes a pack of the pictures that the run needs from the original files, on `threads` threads, a bounded number at a time.
    pub fn make(
        input: &DatasetInput,
        data: &Data,
        side: Side,
        dir: &RunDir,
        threads: u32,
        pulse: &mut Pulse,
    ) -> Result<Self, Halt> {
        let segments = Segments::of(input);
        let originals = segments.map(|segment| &segment.images);
        let originals = originals.context("the dataset's images cannot be opened")?;
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads as usize)
            .build()
            .context("no threads")?;
        let path = dir.file(LOCAL_PACK);
        let mut file = BufWriter::new(File::create(&path)?);
        let mut places = vec![None; data.images.len()];
        let mut offset = 0;
        let needed: BTreeSet<usize> = data
            .train
            .iter()
            .chain(&data.val)
            .map(|sample| sample.image)
            .collect();
        let needed: Vec<usize> = needed.into_iter().collect();
        const AT_A_TIME: usize = 64;
        for some in needed.chunks(AT_A_TIME) {
            pulse.beat()?;
            let resize = |image: &usize| {
                let image = &data.images[*image];
                resized(&originals[segments.of_image(image)?], image, side)
            };
            let pictures: Vec<anyhow::Result<Picture>> =
                pool.install(|| some.par_iter().map(resize).collect());
            for (image, picture) in some.iter().zip(pictures) {
                let Picture { width, height, rgb } = picture?;
                file.write_all(&rgb)?;
                places[*image] = Some(Place {
                    file: 0,
                    offset,
                    width,
                    height,
                });
                offset += rgb.len() as u64;
            }
        }
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let pixels = mapped(&path).context("the run's pixel pack cannot be opened")?;
        let files = vec![pixels];
        Ok(Self { files, places })
    }

    /// A picture by its place in [`Data::images`].
    pub fn picture(&self, image: usize) -> anyhow::Result<PictureView<'_>> {
        let place = self.places.get(image).copied().flatten();
        let view = place.and_then(|place| {
            let start = usize::try_from(place.offset).ok()?;
            let length = usize::try_from(pixels::byte_count(place.width, place.height)).ok()?;
            let bytes = self
                .files
                .get(place.file)?
                .get(start..start.checked_add(length)?)?;
            PictureView::new(place.width, place.height, bytes)
        });
        view.with_context(|| format!("picture {image} is not in the pixel pack; it may be cut short"))
    }
}

/// The segments of a dataset version, found by their numbers.
struct Segments<'a>(&'a [Segment]);

impl<'a> Segments<'a> {
    fn of(input: &'a DatasetInput) -> Self {
        Self(&input.segments)
    }

    /// Place of the segment that an image lies in.
    fn of_image(&self, image: &ManifestImage) -> anyhow::Result<usize> {
        let found = self
            .0
            .binary_search_by_key(&image.segment, |segment| segment.number);
        found.map_err(|_| {
            anyhow::anyhow!(
                "image {} lies in segment {}, which is not there",
                image.id,
                image.segment
            )
        })
    }

    /// A file of each segment, mapped.
    fn map(&self, file: impl Fn(&Segment) -> &Path) -> anyhow::Result<Vec<Mmap>> {
        self.0.iter().map(|segment| mapped(file(segment))).collect()
    }
}

fn resized(originals: &[u8], image: &ManifestImage, side: Side) -> anyhow::Result<Picture> {
    let start = usize::try_from(image.offset)?;
    let bytes = originals
        .get(start..)
        .and_then(|rest| rest.get(..image.bytes as usize));
    let bytes = bytes.with_context(|| format!("image {} is not in the images file", image.id))?;
    let picture = pixels::decode(bytes, u64::from(image.width) * u64::from(image.height))
        .map_err(|fault| anyhow::anyhow!("image {} no longer decodes: {fault}", image.id))?;
    let packed = pixels::pack(picture, side.pixels);
    Ok(if side.bring_up && packed.view().shorter() < side.pixels {
        pixels::resize_shortest(&packed, side.pixels)
    } else {
        packed
    })
}

fn mapped(path: &Path) -> anyhow::Result<Mmap> {
    let file = File::open(path)?;
    ensure!(file.metadata()?.len() > 0, "the file is empty");
    // SAFETY: the file belongs to this run or is an immutable blob of the server; nobody shortens or changes it.
    Ok(unsafe { Mmap::map(&file)? })
}
