//! `finetuned-worker thumbnails`: makes pictures of a pixel pack small and encodes them. Nothing is decoded here, and nothing of the
//! original files gets into what is made.

use std::{fs::File, io::Write};

use anyhow::{Context, ensure};
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use memmap2::Mmap;
use rayon::{ThreadPoolBuilder, prelude::*};

use super::{
    child::{RunDir, StopFlag, Stopped},
    pixels::{self, PictureView},
};
use crate::protocol::{PackedPicture, RunResult, ThumbnailsRun};

/// Name within the run directory.
const FILE: &str = "thumbnails.bin";
/// Of the JPEGs, 1 to 100: small files, and nothing to be seen of it at this size.
const QUALITY: u8 = 85;

/// Leaves one file in `dir`: a line of JSON, `[[image, offset, bytes], …]`, and after it the pictures.
///
/// # Errors
/// [`Stopped`] once `stop` is set; anything else is a failure of ours or of the machine.
pub fn draw(run: &ThumbnailsRun, dir: &RunDir, stop: &StopFlag) -> anyhow::Result<RunResult> {
    let file = File::open(&run.pack).context("the pixel pack cannot be opened")?;
    // SAFETY: the file is an immutable blob of the server; nobody shortens or changes it.
    let pack = unsafe { Mmap::map(&file)? };
    let pool = ThreadPoolBuilder::new()
        .num_threads(run.threads as usize)
        .build()?;
    let drawn: anyhow::Result<Vec<Vec<u8>>> = pool.install(|| {
        let pictures = run.pictures.par_iter();
        pictures
            .map(|picture| thumbnail(&pack, picture, run.side, stop))
            .collect()
    });
    let drawn = drawn?;
    let mut index = Vec::new();
    let mut offset = 0;
    for (picture, bytes) in run.pictures.iter().zip(&drawn) {
        index.push((picture.image, offset, bytes.len()));
        offset += bytes.len();
    }
    let mut out = File::create(dir.file(FILE))?;
    writeln!(out, "{}", serde_json::to_string(&index)?)?;
    for bytes in &drawn {
        out.write_all(bytes)?;
    }
    Ok(RunResult::Drawn {
        thumbnails: dir.artifact(FILE)?,
    })
}

fn thumbnail(pack: &[u8], picture: &PackedPicture, side: u32, stop: &StopFlag) -> anyhow::Result<Vec<u8>> {
    ensure!(!stop.is_set(), Stopped);
    let start = usize::try_from(picture.offset)?;
    let length = usize::try_from(pixels::byte_count(picture.width, picture.height))?;
    let bytes = pack.get(start..).and_then(|rest| rest.get(..length));
    let view = bytes.and_then(|bytes| PictureView::new(picture.width, picture.height, bytes));
    let view = view.with_context(|| format!("picture {} is not in the pixel pack", picture.image))?;
    let (width, height) = fitted(picture.width, picture.height, side);
    let small = pixels::resize(view, width, height);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode(&small.rgb, width, height, ExtendedColorType::Rgb8)
        .context("a thumbnail cannot be encoded")?;
    Ok(jpeg)
}

/// Sides in the same proportion, the longer one at most `side`; what is smaller stays as it is.
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
    use crate::worker::pixels::Picture;

    #[test]
    fn pictures_keep_their_proportion_and_are_never_made_larger() {
        assert_eq!(fitted(256, 384, 96), (64, 96));
        assert_eq!(fitted(30, 20, 96), (30, 20));
        assert_eq!(fitted(5120, 256, 16), (16, 1));
    }

    #[test]
    fn a_file_of_small_jpegs_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::new(folder.path());
        let (red, wide): (Vec<u8>, Vec<u8>) =
            ([200, 10, 10].repeat(64 * 64), [10, 10, 200].repeat(300 * 256));
        let pack = folder.path().join("pack");
        std::fs::write(&pack, [red, wide].concat()).unwrap();
        let picture = |image, offset, width, height| PackedPicture {
            image,
            offset,
            width,
            height,
        };
        let mut run = ThumbnailsRun {
            pack,
            pictures: vec![picture(7, 0, 64, 64), picture(9, 64 * 64 * 3, 300, 256)],
            side: 100,
            threads: 2,
        };
        let RunResult::Drawn { thumbnails } = draw(&run, &dir, &StopFlag::default()).unwrap() else {
            panic!("no thumbnails");
        };
        let bytes = std::fs::read(dir.file(&thumbnails.file)).unwrap();
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let index: Vec<(u32, usize, usize)> = serde_json::from_slice(&bytes[..end]).unwrap();
        let decoded = |place: usize| -> Picture {
            let (_, offset, length) = index[place];
            pixels::decode(&bytes[end + 1 + offset..][..length], 1 << 20).unwrap()
        };
        assert_eq!((index[0].0, index[1].0), (7, 9));
        assert_eq!((decoded(0).width, decoded(0).height), (64, 64));
        assert_eq!((decoded(1).width, decoded(1).height), (100, 85));
        assert!(decoded(0).rgb[0] > 150 && decoded(1).rgb[2] > 150);

        run.pictures.push(picture(10, 64 * 64 * 3, 300, 257));
        assert!(
            draw(&run, &dir, &StopFlag::default()).is_err(),
            "past the end of the pack"
        );
    }
}
