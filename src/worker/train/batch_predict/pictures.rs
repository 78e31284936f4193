//! From an image of a dataset to the bytes that the network sees: out of the pack that came with it where it has the right size, otherwise
//! from the original file. Either way they are those that `predict` makes of the file.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    panic,
};

use anyhow::Context;

use crate::{
    domain::{predictions::RowError, preprocessing::Preprocessing},
    protocol::{DatasetInput, ManifestImage, Segment},
    worker::pixels::{self, DecodeFault, Picture},
};

/// The files of a dataset version. Read, not mapped: what passes by once shall not fill the memory.
pub struct Pictures<'a> {
    segments: Vec<Files>,
    recipe: &'a Preprocessing,
}

struct Files {
    number: u32,
    images: File,
    /// Where its pictures have the size.
    pack: Option<File>,
}

impl<'a> Pictures<'a> {
    pub fn open(input: &DatasetInput, recipe: &'a Preprocessing) -> anyhow::Result<Self> {
        let open = |segment: &Segment| {
            let fits = segment.pack_side == recipe.resize_to && segment.pack.exists();
            Ok(Files {
                number: segment.number,
                images: File::open(&segment.images).context("the dataset's images cannot be opened")?,
                pack: fits
                    .then(|| File::open(&segment.pack))
                    .transpose()
                    .context("the dataset's pixel pack cannot be opened")?,
            })
        };
        Ok(Self {
            segments: input.segments.iter().map(open).collect::<anyhow::Result<_>>()?,
            recipe,
        })
    }

    /// Bytes of what the network sees of one.
    pub fn bytes(&self) -> usize {
        pixels::byte_count(self.recipe.crop, self.recipe.crop) as usize
    }

    /// `crop` rows of `crop` pixels, red, green, blue; or why this image has none.
    ///
    /// # Errors
    /// The disk fails, or the dataset contradicts itself: no fault of this image.
    pub fn picture(&self, image: &ManifestImage) -> anyhow::Result<Result<Vec<u8>, RowError>> {
        let files = self.segments.iter().find(|files| files.number == image.segment);
        let files = files.with_context(|| {
            format!(
                "image {} lies in segment {}, which is not there",
                image.id, image.segment
            )
        })?;
        if let Some(pack) = &files.pack {
            let (width, height) = (image.pack_width, image.pack_height);
            let rgb = read(pack, image.pack_offset, pixels::byte_count(width, height))?;
            let rgb = rgb.with_context(|| format!("image {} is not in the pixel pack", image.id))?;
            let packed = Picture { width, height, rgb };
            return Ok(Ok(pixels::prepare_from_pack(&packed, self.recipe).rgb));
        }
        let Some(bytes) = read(&files.images, image.offset, image.bytes)? else {
            return Ok(Err(RowError {
                code: "truncated".to_owned(),
                message: "the image's file is not there to its end".to_owned(),
            }));
        };
        // What ingest has let through: the limit of today may be another.
        let max_pixels = u64::from(image.width) * u64::from(image.height);
        // Decoders guard themselves; this is for all else, so that one image hurts no other.
        let picture = panic::catch_unwind(|| pixels::prepare(&bytes, self.recipe, max_pixels));
        let picture = picture.unwrap_or(Err(DecodeFault::Undecodable));
        Ok(picture.map(|picture| picture.rgb).map_err(|fault| RowError {
            code: fault.code().to_owned(),
            message: fault.to_string(),
        }))
    }
}

/// None where the file ends before that.
fn read(file: &File, offset: u64, bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    match file.read_exact_at(&mut buffer, offset) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        outcome => outcome.map(|()| Some(buffer)),
    }
}
