//! `finetuned-worker thumbnails`: scales down images of a segment and encodes them: those of its pack, or if that has been deleted or is
//! damaged the originals, packed again first, so that the results are the same. Nothing else of the original files gets into the
//! thumbnails.

use std::{
    fs::File,
    io::{self, Write},
};

use anyhow::{Context, ensure};
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use memmap2::Mmap;
use rayon::{ThreadPoolBuilder, prelude::*};

use super::{
    pixels::{self, Image, ImageView},
    process::{
        child::{StopFlag, Stopped},
        run_dir::RunDir,
        stored::{self, crc32},
    },
};
use crate::{
    domain::{damage::Damaged, models::preprocessing::Interpolation},
    files::digest,
    protocol::{ManifestImage, RunResult, Segment, ThumbnailsRun},
};

/// Name within the run directory.
const FILE: &str = "thumbnails.bin";
/// JPEG quality, 1 to 100: small files, without visible artefacts at this size.
const QUALITY: u8 = 85;

/// Writes one file into `dir`: a line of JSON, `[[image, offset, bytes, sha256], …]`, a line with the SHA-256 of that one, and the images.
///
/// # Errors
/// [`Stopped`] once `stop` is set; anything else is a bug or a fault of the machine.
pub fn draw(run: &ThumbnailsRun, dir: &RunDir, stop: &StopFlag) -> anyhow::Result<RunResult> {
    let source = Source::open(&run.segment)?;
    let pool = ThreadPoolBuilder::new()
        .num_threads(run.threads as usize)
        .build()?;
    let drawn: anyhow::Result<Vec<Vec<u8>>> = pool.install(|| {
        let images = run.images.par_iter();
        images
            .map(|image| {
                ensure!(!stop.is_set(), Stopped);
                source.thumbnail(image, run.side)
            })
            .collect()
    });
    let drawn = drawn?;
    let mut index = Vec::new();
    let mut offset = 0;
    for (image, bytes) in run.images.iter().zip(&drawn) {
        index.push((image.id, offset, bytes.len(), digest::of_bytes(bytes)));
        offset += bytes.len();
    }
    let index = serde_json::to_string(&index)?;
    let mut out = File::create(dir.file(FILE))?;
    writeln!(out, "{index}\n{}", digest::of_bytes(index.as_bytes()))?;
    for bytes in &drawn {
        out.write_all(bytes)?;
    }
    Ok(RunResult::Drawn {
        thumbnails: dir.artifact(FILE)?,
    })
}

/// The source of the pixels.
struct Source<'a> {
    segment: &'a Segment,
    /// None if it has been deleted.
    pack: Option<Mmap>,
}

impl<'a> Source<'a> {
    fn open(segment: &'a Segment) -> anyhow::Result<Self> {
        let pack = match File::open(&segment.pack) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => None,
            file => {
                let file = file.context("cannot open the pixel pack")?;
                // SAFETY: the file is an immutable blob of the server; nobody truncates or modifies it.
                Some(unsafe { Mmap::map(&file)? })
            }
        };
        Ok(Self { segment, pack })
    }

    fn thumbnail(&self, image: &ManifestImage, side: u32) -> anyhow::Result<Vec<u8>> {
        if let Some(packed) = self.pack.as_ref().and_then(|pack| packed(pack, image)) {
            return small(packed, side);
        }
        let originals = File::open(&self.segment.images).map_err(|fault| match fault.kind() {
            io::ErrorKind::NotFound => Damaged::image(image.id, &image.path).into(),
            _ => anyhow::Error::new(fault).context("cannot open the images"),
        })?;
        let bytes = stored::read_original(&originals, image)?;
        let decoded: Image = pixels::decode(
            &bytes,
            u64::from(image.width) * u64::from(image.height),
            image.depth(),
        )
        .with_context(|| format!("image {} no longer decodes", image.id))?;
        small(
            pixels::pack(decoded, self.segment.pack_side, Interpolation::Bilinear).view(),
            side,
        )
    }
}

/// A packed image, if it is undamaged. An older one without a checksum is not trusted.
fn packed<'a>(pack: &'a [u8], image: &ManifestImage) -> Option<ImageView<'a>> {
    let length = pixels::byte_count(image.pack_width, image.pack_height);
    let rgb = part(pack, image.pack_offset, length)?;
    if image.pack_crc32 != Some(crc32(rgb)) {
        tracing::warn!(
            image = image.id,
            "its packed pixels are damaged or have no checksum; using its file instead"
        );
        return None;
    }
    ImageView::new(image.pack_width, image.pack_height, rgb)
}

fn part(file: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    file.get(start..)?.get(..usize::try_from(length).ok()?)
}

fn small(view: ImageView<'_>, side: u32) -> anyhow::Result<Vec<u8>> {
    let (width, height) = fitted(view.width, view.height, side);
    let small = pixels::resize(view, width, height, Interpolation::Bilinear);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode(&small.rgb, width, height, ExtendedColorType::Rgb8)
        .context("cannot encode a thumbnail")?;
    Ok(jpeg)
}

/// A size with the same aspect ratio, the longer side at most `side`; smaller images are unchanged.
fn fitted(width: u32, height: u32, side: u32) -> (u32, u32) {
    let longer = width.max(height);
    if longer <= side {
        return (width, height);
    }
    let scaled = |length: u32| {
        let exact = f64::from(length) * f64::from(side) / f64::from(longer);
        (exact.round() as u32).max(1)
    };
    (scaled(width), scaled(height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{datasets::split::Split, models::preprocessing::UsedBits},
        worker::process::stored::tests::flipping,
    };

    #[test]
    fn images_keep_their_proportion_and_are_never_made_larger() {
        assert_eq!(fitted(256, 384, 96), (64, 96));
        assert_eq!(fitted(30, 20, 96), (30, 20));
        assert_eq!(fitted(5120, 256, 16), (16, 1));
    }

    fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
        let mut bytes = io::Cursor::new(Vec::new());
        image::RgbImage::from_pixel(width, height, image::Rgb(colour))
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
        bytes.into_inner()
    }

    #[test]
    fn a_file_of_small_jpegs_is_left_whether_or_not_the_pack_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::new(folder.path());
        let (mut originals, mut packed, mut images) = (Vec::new(), Vec::new(), Vec::new());
        for (id, width, height, colour) in [(7, 64, 64, [200, 10, 10]), (9, 600, 512, [10, 10, 200])] {
            let file = png(width, height, colour);
            let pack = pixels::pack(
                pixels::decode(&file, 1 << 20, UsedBits::ALL).unwrap(),
                256,
                Interpolation::Bilinear,
            );
            images.push(ManifestImage {
                id,
                segment: 0,
                path: String::new(),
                class: None,
                labels: None,
                split: Split::Train,
                sha256: digest::of_bytes(&file),
                offset: originals.len() as u64,
                bytes: file.len() as u64,
                width,
                height,
                pack_offset: packed.len() as u64,
                pack_width: pack.width,
                pack_height: pack.height,
                pack_crc32: Some(crc32(&pack.rgb)),
                used_bits: None,
            });
            originals.extend(file);
            packed.extend(pack.rgb);
        }
        let segment = Segment {
            number: 0,
            images: folder.path().join("images"),
            pack: folder.path().join("pack"),
            pack_sha256: digest::of_bytes(&packed),
            pack_side: 256,
        };
        std::fs::write(&segment.images, originals).unwrap();
        std::fs::write(&segment.pack, packed).unwrap();
        let mut run = ThumbnailsRun {
            segment,
            images,
            side: 100,
            threads: 2,
        };
        let drawn = |run: &ThumbnailsRun| {
            let RunResult::Drawn { thumbnails } = draw(run, &dir, &StopFlag::default()).unwrap() else {
                panic!("no thumbnails");
            };
            std::fs::read(dir.file(&thumbnails.file)).unwrap()
        };
        let bytes = drawn(&run);
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let index: Vec<(u32, usize, usize, String)> = serde_json::from_slice(&bytes[..end]).unwrap();
        assert_eq!(
            bytes[end + 1..][..64],
            *digest::of_bytes(&bytes[..end]).as_bytes()
        );
        let decoded = |place: usize| -> Image {
            let (_, offset, length, sha256) = &index[place];
            let jpeg = &bytes[end + 66 + offset..][..*length];
            assert_eq!(*sha256, digest::of_bytes(jpeg));
            pixels::decode(jpeg, 1 << 20, UsedBits::ALL).unwrap()
        };
        assert_eq!((index[0].0, index[1].0), (7, 9));
        assert_eq!((decoded(0).width, decoded(0).height), (64, 64));
        assert_eq!((decoded(1).width, decoded(1).height), (100, 85));
        assert!(decoded(0).rgb[0] > 150 && decoded(1).rgb[2] > 150);

        flipping(&run.segment.pack, 10, || {
            assert!(drawn(&run) == bytes, "out of the originals")
        });
        std::fs::remove_file(&run.segment.pack).unwrap();
        assert!(drawn(&run) == bytes, "out of the originals");

        let fault = |run: &ThumbnailsRun| draw(run, &dir, &StopFlag::default()).unwrap_err();
        flipping(&run.segment.images, 10, || {
            assert!(stored::damage_in(&fault(&run)).is_some())
        });
        run.images[1].bytes += 1;
        assert!(
            stored::damage_in(&fault(&run)).is_some(),
            "past the end of the file"
        );
    }
}
