//! The manifest of a dataset version as the server reads it: [`ManifestImage`]s as lines of JSON, in the order of their ids. It is a
//! blob, so it never changes while it is read.
//!
//! Line by line, and by halves of the file where one image is wanted: memory does not grow with the dataset. Blocking calls.

pub mod revision;

use std::{
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::Path,
};

use serde::Deserialize;

use crate::{
    domain::datasets::{content::ContentDigest, dataset::Class, split::SplitCounts},
    error::{Error, Result},
    protocol::ManifestImage,
};

/// All images.
pub fn images(path: &Path) -> Result<impl Iterator<Item = Result<ManifestImage>> + use<>> {
    images_after(path, None)
}

/// The images whose id is above this one.
pub fn images_after(
    path: &Path,
    after: Option<u32>,
) -> Result<impl Iterator<Item = Result<ManifestImage>> + use<>> {
    let mut reader = BufReader::new(File::open(path)?);
    let start = match after {
        Some(after) => start_after(&mut reader, after)?,
        None => 0,
    };
    reader.seek(SeekFrom::Start(start))?;
    Ok(reader.lines().map(|line| parse(line?.as_bytes())))
}

/// The image of this id, if the version has it.
pub fn find(path: &Path, id: u32) -> Result<Option<ManifestImage>> {
    let mut from_there = images_after(path, id.checked_sub(1))?;
    let found = from_there.next().transpose()?;
    Ok(found.filter(|image| image.id == id))
}

/// Where the first line begins whose id is above `after`.
fn start_after(reader: &mut BufReader<File>, after: u32) -> Result<u64> {
    #[derive(Deserialize)]
    struct Id {
        id: u32,
    }
    // Lines that begin before `low`, which is a line's beginning, have no higher ids; those that begin at or after `high` have.
    let (mut low, mut high) = (0, reader.get_ref().metadata()?.len());
    let mut line = Vec::new();
    while low < high {
        let middle = low + (high - low) / 2;
        let mut start = middle;
        if middle > low {
            reader.seek(SeekFrom::Start(middle - 1))?;
            line.clear();
            start += reader.read_until(b'\n', &mut line)? as u64 - 1;
        } else {
            reader.seek(SeekFrom::Start(middle))?;
        }
        if start >= high {
            high = middle;
            continue;
        }
        line.clear();
        let length = reader.read_until(b'\n', &mut line)? as u64;
        if parse::<Id>(&line)?.id > after {
            high = start;
        } else {
            low = start + length;
        }
    }
    Ok(low)
}

fn parse<T: for<'a> Deserialize<'a>>(line: &[u8]) -> Result<T> {
    serde_json::from_slice(line)
        .map_err(|error| Error::internal(anyhow::anyhow!("cannot read a manifest: {error}")))
}

/// What a manifest comes to, counted image by image.
#[derive(Default)]
pub struct Tally {
    classes: Vec<Class>,
    splits: SplitCounts,
    images: u64,
    several_labels: u64,
    content: ContentDigest,
}

/// What a manifest comes to.
#[derive(Clone, Debug)]
pub struct Summary {
    pub images: u64,
    pub classes: Vec<Class>,
    pub splits: SplitCounts,
    /// Images with several labels, or with none of the classes.
    pub several_labels: u64,
    pub content_sha256: String,
}

impl Tally {
    /// `classes`: the names, in their order.
    pub fn new(classes: impl IntoIterator<Item = String>) -> Self {
        let class = |(index, name)| Class {
            name,
            index,
            images: 0,
            splits: Some(SplitCounts::default()),
        };
        let classes: Vec<Class> = (0..).zip(classes).map(class).collect();
        Self {
            classes,
            ..Self::default()
        }
    }

    pub fn count(&mut self, image: &ManifestImage) -> Result<()> {
        for index in image.label_set() {
            let class = self.classes.get_mut(*index as usize);
            let class = class
                .ok_or_else(|| Error::internal(anyhow::anyhow!("image {} has class {index}", image.id)))?;
            class.images += 1;
            class.splits.get_or_insert_default().add(image.split);
        }
        let names = image
            .label_set()
            .iter()
            .map(|index| self.classes[*index as usize].name.as_str());
        let names: Vec<&str> = names.collect();
        let labels = image.is_labelled().then_some(names.as_slice());
        self.content.add(labels, image.split, &image.sha256);
        self.several_labels += u64::from(image.labels.is_some());
        self.splits.add(image.split);
        self.images += 1;
        Ok(())
    }

    pub fn finish(self) -> Summary {
        Summary {
            images: self.images,
            classes: self.classes,
            splits: self.splits,
            several_labels: self.several_labels,
            content_sha256: self.content.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::datasets::split::Split;

    fn image(id: u32) -> ManifestImage {
        ManifestImage {
            id,
            segment: 0,
            // Lines of very different lengths, so that halves fall anywhere.
            path: format!("{}.png", "x".repeat((id as usize * 7919) % 900)),
            class: Some(id % 2),
            labels: None,
            split: Split::Train,
            sha256: id.to_string(),
            offset: 0,
            bytes: 1,
            width: 1,
            height: 1,
            pack_offset: 0,
            pack_width: 1,
            pack_height: 1,
            pack_crc32: None,
            used_bits: None,
        }
    }

    #[test]
    fn an_image_is_found_by_its_id_and_none_that_is_not_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for count in [0, 1, 2, 3, 100] {
            let ids: Vec<u32> = (0..count).map(|place| place * 3 + 1).collect();
            let lines = ids
                .iter()
                .map(|id| serde_json::to_string(&image(*id)).unwrap() + "\n");
            std::fs::write(file.path(), lines.collect::<String>()).unwrap();
            for wanted in 0..count * 3 + 3 {
                let found = find(file.path(), wanted).unwrap();
                assert_eq!(
                    found,
                    ids.contains(&wanted).then(|| image(wanted)),
                    "{wanted} of {count}"
                );
                let after = images_after(file.path(), Some(wanted)).unwrap();
                let after: Vec<u32> = after.map(|image| image.unwrap().id).collect();
                let above: Vec<u32> = ids.iter().copied().filter(|id| *id > wanted).collect();
                assert_eq!(after, above);
            }
        }
    }

    #[test]
    fn everything_is_counted() {
        let mut tally = Tally::new(["a".to_owned(), "b".to_owned()]);
        for id in 0..5 {
            tally.count(&image(id)).unwrap();
        }
        assert!(
            tally
                .count(&ManifestImage {
                    class: Some(2),
                    ..image(6)
                })
                .is_err()
        );
        let both = image(7).with_labels(Some(vec![0, 1]));
        let mut with_several = Tally::new(["a".to_owned(), "b".to_owned()]);
        for image in [both, image(8), image(9).with_labels(Some(Vec::new()))] {
            with_several.count(&image).unwrap();
        }
        let several = with_several.finish();
        assert_eq!((several.images, several.several_labels), (3, 2));
        assert_eq!([several.classes[0].images, several.classes[1].images], [2, 1]);
        let summary = tally.finish();
        assert_eq!((summary.images, summary.splits.train), (5, 5));
        let counts: Vec<_> = summary
            .classes
            .iter()
            .map(|class| (class.images, class.splits.unwrap().of(Split::Train)))
            .collect();
        assert_eq!(counts, [(3, 3), (2, 2)]);
    }
}
