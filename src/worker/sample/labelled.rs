//! Images with several labels each: `images/NNN.png` and a table, `labels.csv`.
//!
//! For `task: "multi_label"` one or two figures, and labels between `|` for every outline, colour and pattern that is to be seen. For
//! `task: "multi_task"` one figure, and a column for each of the three.

use std::{
    collections::BTreeSet,
    io::{Seek, Write},
};

use rayon::prelude::*;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{
    encoded::png,
    scene::{Dye, Figure, Scene, Weave},
    shape::Shape,
};
use crate::{
    domain::{
        models::tasks::class_of,
        random::{Draws, Stream},
    },
    worker::pixels::Image,
};

pub const IMAGES: u64 = 600;
/// Width and height, in pixels.
const SIDE: u32 = 96;
/// Of the draws, so that they are none of those of the images with one label.
const SERIES: u64 = 1;

/// What the table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Labels,
    Tasks,
}

/// The columns of tasks.
const TASKS: [&str; 3] = ["shape", "colour", "pattern"];

impl Table {
    fn head(self) -> String {
        match self {
            Table::Labels => "file,labels\n".to_owned(),
            Table::Tasks => format!("file,{}\n", TASKS.join(",")),
        }
    }

    fn line(self, name: &str, figures: &[Figure]) -> String {
        match self {
            Table::Labels => format!("{name},{}\n", Vec::from_iter(labels_of(figures)).join("|")),
            Table::Tasks => format!("{name},{}\n", names(&figures[0]).join(",")),
        }
    }

    /// The classes that the dataset will have, sorted.
    pub fn classes(self) -> Vec<String> {
        match self {
            Table::Labels => labels(),
            Table::Tasks => tasks(),
        }
    }
}

fn tasks() -> Vec<String> {
    let shapes = Shape::ALL
        .map(|shape| shape.class().trim_end_matches('s'))
        .to_vec();
    let names = [
        shapes,
        Dye::ALL.map(Dye::name).to_vec(),
        Weave::ALL.map(Weave::name).to_vec(),
    ];
    let of_task = |(task, names): (&str, Vec<&str>)| -> Vec<String> {
        names.into_iter().map(|name| class_of(task, name)).collect()
    };
    let classes: BTreeSet<String> = TASKS.into_iter().zip(names).flat_map(of_task).collect();
    classes.into_iter().collect()
}

/// All labels that images may have.
fn labels() -> Vec<String> {
    let shapes = Shape::ALL.map(|shape| shape.class().trim_end_matches('s'));
    let names = shapes
        .into_iter()
        .chain(Dye::ALL.map(Dye::name))
        .chain(Weave::ALL.map(Weave::name));
    let names: BTreeSet<&str> = names.collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Outline, colour and pattern.
fn names(figure: &Figure) -> [&'static str; 3] {
    [
        figure.shape.class().trim_end_matches('s'),
        figure.dye.name(),
        figure.weave.name(),
    ]
}

fn labels_of(figures: &[Figure]) -> BTreeSet<&'static str> {
    figures.iter().flat_map(names).collect()
}

/// An image and its figures.
fn draw(seed: u64, number: u64, table: Table) -> (Image, Vec<Figure>) {
    let mut draws = Draws::at(seed, Stream::SampleDataset, SERIES, number);
    let count = match table {
        Table::Labels => 1 + draws.below(2),
        Table::Tasks => 1,
    };
    let figures: Vec<Figure> = (0..count).map(|_| Figure::any(&mut draws)).collect();
    (
        Scene::of_figures(SIDE, &figures, &mut draws).into_image(),
        figures,
    )
}

pub fn write_archive(out: impl Write + Seek, seed: u64, table: Table) -> anyhow::Result<()> {
    let drawn: Vec<(String, Vec<u8>, String)> = (0..IMAGES)
        .into_par_iter()
        .map(|number| {
            let (image, figures) = draw(seed, number, table);
            let name = format!("images/{number:03}.png");
            let line = table.line(&name, &figures);
            Ok((name, png(&image)?, line))
        })
        .collect::<anyhow::Result<_>>()?;
    let mut archive = ZipWriter::new(out);
    // The images are compressed already.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut text = table.head();
    for (name, bytes, line) in drawn {
        archive.start_file(name, options)?;
        archive.write_all(&bytes)?;
        text.push_str(&line);
    }
    archive.start_file("labels.csv", options)?;
    archive.write_all(text.as_bytes())?;
    archive.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::models::tasks::tasks_of;

    #[test]
    fn every_label_is_on_many_images_and_the_seed_decides() {
        let sets: Vec<BTreeSet<&str>> = (0..200)
            .map(|number| labels_of(&draw(3, number, Table::Labels).1))
            .collect();
        for label in labels() {
            let count = sets
                .iter()
                .filter(|labels| labels.contains(label.as_str()))
                .count();
            assert!((30..160).contains(&count), "{label}: {count}");
        }
        assert!(sets.iter().all(|labels| labels.len() >= 3));
        let rgb = |seed| draw(seed, 7, Table::Labels).0.rgb;
        assert_eq!(rgb(3), rgb(3));
        assert_ne!(rgb(3), rgb(4));
    }

    #[test]
    fn images_of_tasks_answer_each() {
        let classes = Table::Tasks.classes();
        assert!(
            tasks_of(&classes).is_ok_and(|tasks| tasks.len() == 3),
            "{classes:?}"
        );
        assert_eq!(Table::Tasks.head(), "file,shape,colour,pattern\n");
        let (_, figures) = draw(3, 7, Table::Tasks);
        let line = Table::Tasks.line("7.png", &figures);
        for (task, answer) in TASKS.iter().zip(line.trim().split(',').skip(1)) {
            assert!(classes.contains(&class_of(task, answer)), "{line}");
        }
    }
}
