//! Which pictures train, which validate, which are measured on: the dataset's own parts, or a stratified share where it has none.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::Context;

use super::halt::Halt;
use crate::{
    domain::{
        job::FailureCode,
        spec::EvaluatedSplit,
        split::{self, Split, SplitSpec},
    },
    protocol::{DatasetInput, ManifestImage},
};

/// A picture and what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Place in [`Data::images`].
    pub image: usize,
    pub class: u32,
}

/// The pictures of a dataset version, divided.
#[derive(Debug)]
pub struct Data {
    pub images: Vec<ManifestImage>,
    pub train: Vec<Sample>,
    /// Empty where there is nothing to validate on.
    pub val: Vec<Sample>,
}

/// Reads the manifest and divides the pictures.
///
/// # Errors
/// `invalid_data` where the training part is empty or shows fewer than two classes.
pub fn read(input: &DatasetInput, spec: &SplitSpec) -> Result<Data, Halt> {
    let (images, labels, parts) = read_divided(input, spec)?;
    let data = Data {
        train: chosen(&labels, &parts, |part| part == Split::Train),
        val: chosen(&labels, &parts, |part| part == Split::Val),
        images,
    };
    check(&data, &input.classes)?;
    Ok(data)
}

/// Reads the manifest and takes the pictures of one part as [`Data::val`], with nothing to train on.
///
/// # Errors
/// `invalid_data` where the part is empty.
pub fn read_part(input: &DatasetInput, spec: &SplitSpec, wanted: EvaluatedSplit) -> Result<Data, Halt> {
    let (images, labels, parts) = read_divided(input, spec)?;
    let val = chosen(&labels, &parts, |part| wanted.includes(part));
    if val.is_empty() {
        let message = format!(
            "the dataset has no images in its part `{}`; choose another `split`, such as `all`",
            wanted.as_str()
        );
        return Err(invalid(&message));
    }
    Ok(Data {
        images,
        train: Vec::new(),
        val,
    })
}

/// The pictures, the class of each, and the part that each belongs to.
type Divided = (Vec<ManifestImage>, Vec<u32>, Vec<Split>);

fn read_divided(input: &DatasetInput, spec: &SplitSpec) -> Result<Divided, Halt> {
    let images = read_manifest(&input.manifest)?;
    let classes = input.classes.len();
    let mut labels = Vec::with_capacity(images.len());
    for image in &images {
        let class = image
            .class
            .ok_or_else(|| invalid("the dataset has no classes; its images have to lie in class folders"))?;
        if class as usize >= classes {
            return Err(anyhow::anyhow!("image {} has class {class} of {classes}", image.id).into());
        }
        labels.push(class);
    }
    let parts = divide(&images, &labels, classes, spec);
    Ok((images, labels, parts))
}

fn chosen(labels: &[u32], parts: &[Split], wanted: impl Fn(Split) -> bool) -> Vec<Sample> {
    let places = parts.iter().zip(labels).enumerate();
    let places = places.filter(|(_, (part, _))| wanted(**part));
    places
        .map(|(image, (_, class))| Sample { image, class: *class })
        .collect()
}

/// A part that the dataset brings itself is taken as it is; what is missing is cut from the training part.
fn divide(images: &[ManifestImage], labels: &[u32], classes: usize, spec: &SplitSpec) -> Vec<Split> {
    let mut parts: Vec<Split> = images.iter().map(|image| image.split).collect();
    let share = |part: Split, share: f64| if parts.contains(&part) { 0.0 } else { share };
    let spec = SplitSpec {
        val: share(Split::Val, spec.val),
        test: share(Split::Test, spec.test),
        seed: spec.seed,
    };
    let train: Vec<usize> = (0..parts.len())
        .filter(|&image| parts[image] == Split::Train)
        .collect();
    let train_labels: Vec<u32> = train.iter().map(|&image| labels[image]).collect();
    let cut = split::stratified(&train_labels, classes, &spec);
    for (image, part) in train.into_iter().zip(cut) {
        parts[image] = part;
    }
    parts
}

fn check(data: &Data, classes: &[String]) -> Result<(), Halt> {
    if data.train.is_empty() {
        return Err(invalid("the dataset has no training images"));
    }
    let shown: BTreeSet<u32> = data.train.iter().map(|sample| sample.class).collect();
    if shown.len() < 2 {
        let names: Vec<_> = shown
            .iter()
            .filter_map(|class| classes.get(*class as usize))
            .collect();
        let message =
            format!("the training images show one class only ({names:?}); training needs at least two");
        return Err(invalid(&message));
    }
    Ok(())
}

fn invalid(message: &str) -> Halt {
    Halt::failed(FailureCode::InvalidData, message)
}

/// All images of the dataset, in the order of their ids.
pub fn read_manifest(path: &Path) -> anyhow::Result<Vec<ManifestImage>> {
    let file = File::open(path).context("the dataset's manifest cannot be opened")?;
    let mut images = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.context("the dataset's manifest cannot be read")?;
        let image =
            serde_json::from_str(&line).with_context(|| format!("line {} of the manifest", number + 1))?;
        images.push(image);
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: u32, class: u32, split: Split) -> ManifestImage {
        ManifestImage {
            id,
            segment: 0,
            path: format!("{id}.png"),
            class: Some(class),
            split,
            sha256: "0".repeat(64),
            offset: 0,
            bytes: 0,
            width: 1,
            height: 1,
            pack_offset: 0,
            pack_width: 1,
            pack_height: 1,
        }
    }

    fn parts(own: &[Split], val: f64, test: f64) -> Vec<Split> {
        let images: Vec<_> = (0..)
            .zip(own)
            .map(|(id, split)| image(id, id % 2, *split))
            .collect();
        let labels: Vec<_> = images.iter().filter_map(|image| image.class).collect();
        divide(&images, &labels, 2, &SplitSpec { val, test, seed: 0 })
    }

    fn count(parts: &[Split], wanted: Split) -> usize {
        parts.iter().filter(|part| **part == wanted).count()
    }

    #[test]
    fn without_parts_of_its_own_a_dataset_is_divided_class_by_class() {
        let parts = parts(&[Split::Train; 40], 0.25, 0.1);
        assert_eq!((count(&parts, Split::Val), count(&parts, Split::Test)), (10, 4));
        let of_class = |class| parts.iter().skip(class).step_by(2).copied().collect::<Vec<_>>();
        assert_eq!(count(&of_class(0), Split::Val), count(&of_class(1), Split::Val));
    }

    #[test]
    fn parts_that_a_dataset_brings_stay_as_they_are() {
        let own: Vec<Split> = (0..40)
            .map(|id| if id < 8 { Split::Val } else { Split::Train })
            .collect();
        assert_eq!(parts(&own, 0.5, 0.0), own);
        let with_test = parts(&own, 0.5, 0.25);
        assert_eq!(with_test[..8], own[..8]);
        assert_eq!(count(&with_test, Split::Test), 8);
    }
}
