//! The dataset of `make demo`, drawn by the program itself: a zip of about 300 images in four classes, `CLASS/NNN.jpg` and `.png`.
//!
//! Backgrounds, clutter, sizes and positions have the same distribution in all classes; outlines, patterns and a tendency to a colour
//! distinguish them.
//! A small network learns them from scratch in a minute or two. The same seed gives the same file.

mod canvas;
mod encoded;
mod labelled;
mod scene;
mod shape;

use std::{
    io::{Seek, Write},
    path::Path,
};

use anyhow::Context;
use rayon::prelude::*;
use tempfile::NamedTempFile;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use self::{
    encoded::{jpeg, png},
    labelled::Table,
    scene::Scene,
    shape::Shape,
};
use super::pixels::Image;
use crate::domain::random::{Draws, Stream};

/// Images of each class.
const PER_CLASS: u64 = 75;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleSummary {
    pub images: u64,
    pub classes: Vec<String>,
    /// Size of the archive.
    pub bytes: u64,
}

/// What the images are labelled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleLabels {
    /// A class each.
    Classes,
    /// Several labels, in a table.
    Several,
    /// The answers to several questions, in columns of a table.
    Tasks,
}

/// Draws the dataset and writes it to `out`, which appears complete or not at all.
/// Errors: `out` cannot be written.
pub fn write_sample_dataset(out: &Path, seed: u64, labels: SampleLabels) -> anyhow::Result<SampleSummary> {
    let place = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut file = NamedTempFile::new_in(place)
        .with_context(|| format!("cannot write to {}; does this folder exist?", place.display()))?;
    let table = match labels {
        SampleLabels::Classes => None,
        SampleLabels::Several => Some(Table::Labels),
        SampleLabels::Tasks => Some(Table::Tasks),
    };
    let written = match table {
        Some(table) => labelled::write_archive(file.as_file_mut(), seed, table),
        None => write_archive(file.as_file_mut(), seed),
    };
    written.context("cannot write the sample dataset")?;
    let bytes = file.as_file().metadata()?.len();
    file.persist(out)
        .with_context(|| format!("cannot write {}", out.display()))?;
    if let Some(table) = table {
        return Ok(SampleSummary {
            images: labelled::IMAGES,
            classes: table.classes(),
            bytes,
        });
    }
    Ok(SampleSummary {
        images: PER_CLASS * Shape::ALL.len() as u64,
        classes: Shape::ALL.iter().map(|shape| shape.class().to_owned()).collect(),
        bytes,
    })
}

fn write_archive(out: impl Write + Seek, seed: u64) -> anyhow::Result<()> {
    let numbers: Vec<u64> = (0..PER_CLASS * Shape::ALL.len() as u64).collect();
    let files: Vec<(String, Vec<u8>)> = numbers
        .par_iter()
        .map(|&number| draw_file(seed, number))
        .collect::<anyhow::Result<_>>()?;
    let mut archive = ZipWriter::new(out);
    // The images are compressed already.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in files {
        archive.start_file(name, options)?;
        archive.write_all(&bytes)?;
    }
    archive.finish()?;
    Ok(())
}

/// One image: a function of the seed and its index. The rest of its draws decides how it is stored.
fn draw(seed: u64, number: u64) -> (Shape, Image, Draws) {
    let shape = Shape::ALL[(number / PER_CLASS) as usize];
    let mut draws = Draws::at(seed, Stream::SampleDataset, 0, number);
    let image = Scene::draw(shape, &mut draws).into_image();
    (shape, image, draws)
}

/// Its name in the archive and its bytes.
fn draw_file(seed: u64, number: u64) -> anyhow::Result<(String, Vec<u8>)> {
    let (shape, image, mut draws) = draw(seed, number);
    let name = format!("{}/{:03}", shape.class(), number % PER_CLASS);
    if draws.unit() < 0.7 {
        let quality = draws.between(60.0, 96.0) as u8;
        Ok((format!("{name}.jpg"), jpeg(&image, quality)?))
    } else {
        Ok((format!("{name}.png"), png(&image)?))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;
    use crate::{domain::models::preprocessing::UsedBits, worker::pixels};

    #[test]
    fn every_image_decodes_and_the_seed_decides() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sample.zip");
        let summary = write_sample_dataset(&path, 7, SampleLabels::Classes).unwrap();
        assert_eq!(summary.bytes, fs::metadata(&path).unwrap().len());
        assert_eq!(summary.images, 300);

        let mut archive = zip::ZipArchive::new(fs::File::open(&path).unwrap()).unwrap();
        let (mut classes, mut kinds) = (BTreeMap::new(), BTreeMap::new());
        for index in 0..archive.len() {
            let mut file = archive.by_index(index).unwrap();
            let name = file.name().unwrap().into_owned();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            let image = pixels::decode(&bytes, 320 * 320, UsedBits::ALL).unwrap();
            assert!((96..=320).contains(&image.width) && (96..=320).contains(&image.height));
            let (class, file_name) = name.split_once('/').unwrap();
            *classes.entry(class.to_owned()).or_insert(0) += 1;
            *kinds.entry(file_name[3..].to_owned()).or_insert(0) += 1;
        }
        assert!(summary.classes.iter().all(|class| classes[class] == 75));
        assert!(kinds[".jpg"] > 100 && kinds[".png"] > 40, "{kinds:?}");

        let first = |seed| draw_file(seed, 0).unwrap();
        assert_eq!(first(7), first(7));
        assert_ne!(first(7).1, first(8).1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = write_sample_dataset(Path::new("/no/such/folder/sample.zip"), 0, SampleLabels::Several)
            .unwrap_err();
        assert!(error.to_string().contains("/no/such/folder"), "{error}");
    }
}
