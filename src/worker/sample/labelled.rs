//! Images with several labels each, for `task: "multi_label"`: one or two figures, and labels for every outline, colour and pattern that is
//! to be seen. `images/NNN.png` and a table, `labels.csv`, with the labels between `|`.

use std::{
    collections::BTreeSet,
    io::{Seek, Write},
};

use rayon::prelude::*;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{
    png,
    scene::{Dye, Figure, Scene, Weave},
    shape::Shape,
};
use crate::{
    domain::random::{Draws, Stream},
    worker::pixels::Image,
};

pub const IMAGES: u64 = 600;
/// Width and height, in pixels.
const SIDE: u32 = 96;
/// Of the draws, so that they are none of those of the images with one label.
const SERIES: u64 = 1;

/// All labels that images may have.
pub fn labels() -> Vec<String> {
    let shapes = Shape::ALL.map(|shape| shape.class().trim_end_matches('s'));
    let names = shapes
        .into_iter()
        .chain(Dye::ALL.map(Dye::name))
        .chain(Weave::ALL.map(Weave::name));
    let names: BTreeSet<&str> = names.collect();
    names.into_iter().map(str::to_owned).collect()
}

/// An image and its labels, sorted.
fn draw(seed: u64, number: u64) -> (Image, BTreeSet<&'static str>) {
    let mut draws = Draws::at(seed, Stream::SampleDataset, SERIES, number);
    let figures: Vec<Figure> = (0..1 + draws.below(2)).map(|_| Figure::any(&mut draws)).collect();
    let labels = figures.iter().flat_map(|figure| {
        [
            figure.shape.class().trim_end_matches('s'),
            figure.dye.name(),
            figure.weave.name(),
        ]
    });
    let labels = labels.collect();
    (Scene::of_figures(SIDE, &figures, &mut draws).into_image(), labels)
}

pub fn write_archive(out: impl Write + Seek, seed: u64) -> anyhow::Result<()> {
    let drawn: Vec<(String, Vec<u8>, String)> = (0..IMAGES)
        .into_par_iter()
        .map(|number| {
            let (image, labels) = draw(seed, number);
            let name = format!("images/{number:03}.png");
            let labels: Vec<&str> = labels.into_iter().collect();
            let line = format!("{name},{}\n", labels.join("|"));
            Ok((name, png(&image)?, line))
        })
        .collect::<anyhow::Result<_>>()?;
    let mut archive = ZipWriter::new(out);
    // The images are compressed already.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut table = "file,labels\n".to_owned();
    for (name, bytes, line) in drawn {
        archive.start_file(name, options)?;
        archive.write_all(&bytes)?;
        table.push_str(&line);
    }
    archive.start_file("labels.csv", options)?;
    archive.write_all(table.as_bytes())?;
    archive.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_on_many_images_and_the_seed_decides() {
        let sets: Vec<BTreeSet<&str>> = (0..200).map(|number| draw(3, number).1).collect();
        for label in labels() {
            let count = sets
                .iter()
                .filter(|labels| labels.contains(label.as_str()))
                .count();
            assert!((30..160).contains(&count), "{label}: {count}");
        }
        assert!(sets.iter().all(|labels| labels.len() >= 3));
        assert_eq!(draw(3, 7).0.rgb, draw(3, 7).0.rgb);
        assert_ne!(draw(3, 7).0.rgb, draw(4, 7).0.rgb);
    }
}
