//! Which pictures train, which validate, which are measured on: the dataset's own parts, or a stratified share where it has none.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    sync::Arc,
};

use anyhow::Context;

use crate::{
    domain::{
        datasets::split::{self, Shares, Split, SplitSpec},
        jobs::job::FailureCode,
        spec::EvaluatedSplit,
    },
    protocol::{DatasetInput, ManifestImage},
    worker::{process::stored, train::progress::halt::Halt},
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
    pub images: Arc<Vec<ManifestImage>>,
    pub train: Vec<Sample>,
    /// Empty where there is nothing to validate on.
    pub val: Vec<Sample>,
    /// How many images are kept for testing.
    pub test: usize,
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
        test: parts.iter().filter(|part| **part == Split::Test).count(),
        images: Arc::new(images),
    };
    check(&data, spec, &input.classes)?;
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
        return Err(empty_part(wanted));
    }
    Ok(Data {
        images: Arc::new(images),
        train: Vec::new(),
        val,
        test: 0,
    })
}

/// The part that each image belongs to, in the order of the manifest. Of images without classes none is cut off: there is nothing to
/// cut by.
pub fn parts(input: &DatasetInput, spec: &SplitSpec) -> anyhow::Result<Vec<Split>> {
    let images = read_manifest(input)?;
    let labels: Option<Vec<u32>> = images.iter().map(|image| image.class).collect();
    Ok(match labels {
        Some(labels) => divide(&images, &labels, spec),
        None => images.iter().map(|image| image.split).collect(),
    })
}

/// The pictures, the class of each, and the part that each belongs to.
type Divided = (Vec<ManifestImage>, Vec<u32>, Vec<Split>);

fn read_divided(input: &DatasetInput, spec: &SplitSpec) -> Result<Divided, Halt> {
    let images = read_manifest(input)?;
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
    let parts = divide(&images, &labels, spec);
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
fn divide(images: &[ManifestImage], labels: &[u32], spec: &SplitSpec) -> Vec<Split> {
    let mut parts: Vec<Split> = images.iter().map(|image| image.split).collect();
    let share = |part: Split, share: f64| if parts.contains(&part) { 0.0 } else { share };
    let shares = Shares {
        val: share(Split::Val, spec.val),
        test: share(Split::Test, spec.test),
    };
    let train: Vec<usize> = (0..parts.len())
        .filter(|&image| parts[image] == Split::Train)
        .collect();
    let train_labels: Vec<u32> = train.iter().map(|&image| labels[image]).collect();
    let named = train.iter().map(|&image| &images[image]);
    let named = named.map(|image| (image.path.as_str(), image.sha256.as_str()));
    let groups = split::groups(named, spec.group_by.as_ref());
    let cut = split::stratified(&train_labels, &groups, shares, spec.seed);
    for (image, part) in train.into_iter().zip(cut) {
        parts[image] = part;
    }
    parts
}

fn check(data: &Data, spec: &SplitSpec, classes: &[String]) -> Result<(), Halt> {
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
    if let Some(group_by) = spec
        .group_by
        .as_ref()
        .filter(|_| spec.val > 0.0 && data.val.is_empty())
    {
        let message = format!(
            "with `split.group_by` no image is left to validate on: the names of the files, up to `{}` number {}, tie all images of \
             each class together; raise `split.group_by.parts`, or leave `split.group_by` out",
            group_by.separator, group_by.parts
        );
        return Err(invalid(&message));
    }
    Ok(())
}

/// There is nothing in the part that was asked for.
pub fn empty_part(wanted: EvaluatedSplit) -> Halt {
    let message = format!(
        "the dataset has no images in its part `{}`; choose another `split`, such as `all`",
        wanted.as_str()
    );
    invalid(&message)
}

fn invalid(message: &str) -> Halt {
    Halt::failed(FailureCode::InvalidData, message)
}

/// All images of the dataset, in the order of their ids.
pub fn read_manifest(input: &DatasetInput) -> anyhow::Result<Vec<ManifestImage>> {
    check_manifest(input)?;
    manifest(&input.manifest)?.collect()
}

/// Holds the manifest to its digest, before anything in it counts.
pub fn check_manifest(input: &DatasetInput) -> anyhow::Result<()> {
    let lineage = &input.lineage;
    stored::check(&input.manifest, &input.manifest_sha256, || {
        format!(
            "the manifest of the dataset `{}` (version {})",
            lineage.name, lineage.version
        )
    })
}

/// The same one by one, for those who cannot hold them all and have checked the manifest.
pub fn manifest(path: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<ManifestImage>>> {
    let file = File::open(path).context("the dataset's manifest cannot be opened")?;
    let lines = BufReader::new(file).lines().enumerate();
    Ok(lines.map(|(number, line)| {
        let line = line.context("the dataset's manifest cannot be read")?;
        serde_json::from_str(&line).with_context(|| format!("line {} of the manifest", number + 1))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::datasets::split::GroupBy;

    fn image(id: u32, class: u32, split: Split) -> ManifestImage {
        ManifestImage {
            id,
            segment: 0,
            path: format!("{id}.png"),
            class: Some(class),
            split,
            sha256: format!("{id:064x}"),
            offset: 0,
            bytes: 0,
            width: 1,
            height: 1,
            pack_offset: 0,
            pack_width: 1,
            pack_height: 1,
            pack_crc32: None,
        }
    }

    fn images(own: &[Split]) -> Vec<ManifestImage> {
        let each = (0..).zip(own);
        each.map(|(id, split)| image(id, id % 2, *split)).collect()
    }

    fn divided(images: &[ManifestImage], spec: &SplitSpec) -> Vec<Split> {
        let labels: Vec<_> = images.iter().filter_map(|image| image.class).collect();
        divide(images, &labels, spec)
    }

    fn parts(own: &[Split], val: f64, test: f64) -> Vec<Split> {
        let spec = SplitSpec {
            val,
            test,
            ..SplitSpec::default()
        };
        divided(&images(own), &spec)
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
    #[test]
    fn twins_and_groups_stay_on_one_side() {
        let mut images = images(&[Split::Train; 40]);
        for image in &mut images {
            // Four images of each class have the same bytes, and every eight images are of one patient.
            let bytes = if image.id < 8 { image.id % 2 } else { image.id };
            image.sha256 = format!("{bytes:064x}");
            image.path = format!("patient_{}_{}.png", image.id / 8, image.id);
        }
        let mut spec = SplitSpec::default();
        for seed in 0..20 {
            spec.seed = seed;
            spec.group_by = None;
            let parts = divided(&images, &spec);
            assert_eq!(count(&parts, Split::Val), 8, "seed {seed}");
            let twins = (0..8).step_by(2).map(|id| parts[id]);
            assert!(
                twins.clone().eq(std::iter::repeat_n(parts[0], 4)),
                "seed {seed}: {parts:?}"
            );

            spec.group_by = Some(GroupBy {
                separator: "_".into(),
                parts: 2,
            });
            let parts = divided(&images, &spec);
            assert_eq!(count(&parts, Split::Val), 8, "seed {seed}");
            for patient in parts.chunks(8) {
                assert!(
                    patient.iter().all(|part| *part == patient[0]),
                    "seed {seed}: {parts:?}"
                );
            }
        }
    }

    #[test]
    fn a_grouping_that_leaves_nothing_to_validate_on_is_an_error() {
        let spec = SplitSpec {
            group_by: Some(GroupBy {
                separator: "_".into(),
                parts: 1,
            }),
            ..SplitSpec::default()
        };
        let data = Data {
            images: Arc::default(),
            train: vec![Sample { image: 0, class: 0 }, Sample { image: 1, class: 1 }],
            val: Vec::new(),
            test: 0,
        };
        let names = ["ants".to_owned(), "bees".to_owned()];
        assert!(check(&data, &SplitSpec::default(), &names).is_ok());
        let Err(Halt::Failed(error)) = check(&data, &spec, &names) else {
            panic!("it was let through");
        };
        assert!(
            error.message.contains("raise `split.group_by.parts`"),
            "{}",
            error.message
        );
    }
}
