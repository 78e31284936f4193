//! From an image of a dataset to the pixels for the network: from the ingest pack if it has the right size and is undamaged, otherwise from
//! the original file. Either way they are the same as `predict` computes from the file.

use std::{fs::File, io, panic, path::PathBuf, sync::OnceLock};

use anyhow::Context;

use crate::{
    domain::{
        damage::Damaged,
        jobs::predictions::RowError,
        models::preprocessing::{Preprocessing, UsedBits},
    },
    files::digest,
    protocol::{DatasetInput, ManifestImage, Segment},
    worker::{
        pixels::{self, DecodeFault, Image},
        process::stored::{self, crc32},
        train::input::damages::Damages,
    },
};

/// The files of a dataset version. Read, not mapped: streaming through them should not fill the memory.
pub struct ImageReader<'a> {
    segments: Vec<Files>,
    recipe: &'a Preprocessing,
    damages: &'a Damages,
}

struct Files {
    number: u32,
    images: File,
    /// If its images have the right size.
    pack: Option<Pack>,
}

struct Pack {
    file: File,
    path: PathBuf,
    sha256: String,
    /// Whether the whole file is undamaged: computed once, and only if images have no checksums.
    whole: OnceLock<bool>,
}

impl<'a> ImageReader<'a> {
    pub fn open(
        input: &DatasetInput,
        recipe: &'a Preprocessing,
        damages: &'a Damages,
    ) -> anyhow::Result<Self> {
        let segments = input.segments.iter();
        let segments = segments.map(|segment| Files::open(segment, recipe));
        Ok(Self {
            segments: segments.collect::<anyhow::Result<_>>()?,
            recipe,
            damages,
        })
    }

    /// Bytes of one image's network input.
    pub fn bytes_per_image(&self) -> usize {
        pixels::byte_count(self.recipe.crop, self.recipe.crop) as usize
    }

    /// `crop` rows of `crop` pixels, red, green, blue; or why this image has none.
    ///
    /// # Errors
    /// The disk fails, or the dataset contradicts itself: not this image's fault.
    pub fn read(&self, image: &ManifestImage) -> anyhow::Result<Result<Vec<u8>, RowError>> {
        let files = self.segments.iter().find(|files| files.number == image.segment);
        let files = files.with_context(|| {
            format!(
                "image {} is in segment {}, which does not exist",
                image.id, image.segment
            )
        })?;
        // The dataset's pixels are others than the model's if other bits of 16 count.
        let known = self.recipe.used_bits.unwrap_or(UsedBits::ALL);
        let same_bits = image.used_bits.is_none_or(|used| used == known);
        if same_bits && let Some(packed) = self.packed(files, image)? {
            return Ok(Ok(pixels::prepare_from_pack(&packed, self.recipe).rgb));
        }
        let bytes = match stored::read_original(&files.images, image) {
            Err(error) => {
                let damaged: Damaged = error.downcast()?;
                return Ok(Err(RowError {
                    code: Damaged::CODE.to_owned(),
                    message: damaged.to_string(),
                }));
            }
            Ok(bytes) => bytes,
        };
        // Ingest accepted it: today's limit may be different.
        let max_pixels = u64::from(image.width) * u64::from(image.height);
        // Decoders guard against bad input; this is for everything else, so that one image cannot affect others.
        let prepared = panic::catch_unwind(|| pixels::prepare(&bytes, self.recipe, max_pixels));
        let prepared = prepared.unwrap_or(Err(DecodeFault::Undecodable));
        Ok(prepared.map(|prepared| prepared.rgb).map_err(|fault| RowError {
            code: fault.code().to_owned(),
            message: fault.to_string(),
        }))
    }

    /// Its packed pixels, if there are any and they are undamaged.
    fn packed(&self, files: &Files, image: &ManifestImage) -> anyhow::Result<Option<Image>> {
        let Some(pack) = &files.pack else {
            return Ok(None);
        };
        let (width, height) = (image.pack_width, image.pack_height);
        let found = stored::read(&pack.file, image.pack_offset, pixels::byte_count(width, height))?;
        let sound = found.filter(|rgb| match image.pack_crc32 {
            Some(sum) => crc32(rgb) == sum,
            None => pack.is_whole(),
        });
        if sound.is_none() {
            self.damages.note(&pack.sha256)?;
        }
        Ok(sound.map(|rgb| Image { width, height, rgb }))
    }
}

impl Files {
    fn open(segment: &Segment, recipe: &Preprocessing) -> anyhow::Result<Self> {
        let fits = segment.pack_side == recipe.resize_to && recipe.interpolation.is_bilinear();
        let pack = match File::open(&segment.pack) {
            _ if !fits => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(file.context("the dataset's pixel pack cannot be opened")?),
        };
        let images = File::open(&segment.images).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let what = format!("the file of the dataset's images (segment {})", segment.number);
                Damaged::new(what).into()
            }
            _ => anyhow::Error::new(error).context("the dataset's images cannot be opened"),
        })?;
        Ok(Self {
            number: segment.number,
            images,
            pack: pack.map(|file| Pack {
                file,
                path: segment.pack.clone(),
                sha256: segment.pack_sha256.clone(),
                whole: OnceLock::new(),
            }),
        })
    }
}

impl Pack {
    fn is_whole(&self) -> bool {
        let check = || digest::holds(&self.path, &self.sha256).unwrap_or(false);
        *self.whole.get_or_init(check)
    }
}
