//! Which images are for training, validation and testing: the dataset's own splits, or a stratified split where it has none.

use std::{
    collections::{BTreeSet, HashMap},
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
        metrics::LabelSets,
        models::{
            preprocessing::{Preprocessing, UsedBits},
            tasks::parts_of,
        },
        spec::{EvaluatedSplit, Task},
    },
    protocol::{DatasetInput, ManifestImage},
    worker::{process::stored, train::progress::halt::Halt},
};

/// An image and its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Place in [`Data::images`].
    pub image: usize,
    /// With several labels: the index of their set in [`Data::label_sets`].
    pub class: u32,
}

/// The images of a dataset version, split.
#[derive(Debug)]
pub struct Data {
    pub images: Arc<Vec<ManifestImage>>,
    pub train: Vec<Sample>,
    /// Empty where there is nothing to validate on.
    pub val: Vec<Sample>,
    /// How many images are held out for testing.
    pub test: usize,
    /// Where images have several labels: all different sets of them.
    pub label_sets: Option<LabelSets>,
}

impl Data {
    /// The indices of the classes that an image shows.
    pub fn labels_of(&self, sample: &Sample) -> Vec<u32> {
        match &self.label_sets {
            Some(sets) => sets[sample.class as usize].clone(),
            None => vec![sample.class],
        }
    }

    /// How many bits of its 16-bit images count: the same for all. None if it has no such images.
    pub fn used_bits(&self) -> Option<UsedBits> {
        self.images.iter().find_map(|image| image.used_bits)
    }

    /// Whether the dataset's pixels are those that a model with this preprocessing sees.
    ///
    /// # Errors
    /// `invalid_data` if other bits of its 16-bit images count than in the model's.
    pub fn check_used_bits(&self, recipe: &Preprocessing) -> Result<(), Halt> {
        let Some(here) = self.used_bits() else {
            return Ok(());
        };
        let known = recipe.used_bits.unwrap_or(UsedBits::ALL);
        if here == known {
            return Ok(());
        }
        let message = format!(
            "of the dataset's 16-bit images {} bits count, and the model was trained on images of which {} count; read the dataset again with \
             `used_bits` {}",
            here.get(),
            known.get(),
            known.get()
        );
        Err(invalid(&message))
    }
}

/// Reads the manifest and splits the images.
///
/// # Errors
/// `invalid_data` if the training split is empty or has fewer than two classes.
pub fn read(input: &DatasetInput, spec: &SplitSpec, task: Task) -> Result<Data, Halt> {
    let (images, labels, splits) = read_split_images(input, spec, task)?;
    let data = Data {
        train: chosen(&labels.of_images, &splits, |split| split == Split::Train),
        val: chosen(&labels.of_images, &splits, |split| split == Split::Val),
        test: splits.iter().filter(|split| **split == Split::Test).count(),
        images: Arc::new(images),
        label_sets: labels.sets,
    };
    check(&data, spec, &input.classes)?;
    Ok(data)
}

/// Reads the manifest and returns the images of one split as [`Data::val`], with an empty training split.
///
/// # Errors
/// `invalid_data` if the split is empty.
pub fn read_split(
    input: &DatasetInput,
    spec: &SplitSpec,
    wanted: EvaluatedSplit,
    task: Task,
) -> Result<Data, Halt> {
    let (images, labels, splits) = read_split_images(input, spec, task)?;
    let val = chosen(&labels.of_images, &splits, |split| wanted.includes(split));
    if val.is_empty() {
        return Err(empty_split(wanted));
    }
    Ok(Data {
        images: Arc::new(images),
        train: Vec::new(),
        val,
        test: 0,
        label_sets: labels.sets,
    })
}

/// Reads images that go along with those of a training: [`Data::train`] are those that take part, whose labels are not looked at. Where
/// `classes` are given, those of the training, [`Data::val`] are images by whose labels the result is judged, with these classes. Their
/// split is returned; none where the images have no labels.
///
/// # Errors
/// `invalid_data` if there are fewer than two images, or a class that is not among `classes`.
pub fn read_unlabelled(
    input: &DatasetInput,
    classes: Option<&[String]>,
) -> Result<(Data, Option<EvaluatedSplit>), Halt> {
    let images = read_manifest(input)?;
    let has = |split| images.iter().any(|image| image.split == split);
    let in_split = |wanted: EvaluatedSplit| {
        let images = images.iter().enumerate();
        images.filter(move |(_, image)| wanted.includes(image.split))
    };
    let taking_part = match has(Split::Train) {
        true => EvaluatedSplit::Train,
        false => EvaluatedSplit::All,
    };
    let train: Vec<Sample> = in_split(taking_part)
        .map(|(image, _)| Sample { image, class: 0 })
        .collect();
    if train.len() < 2 {
        let name = &input.lineage.name;
        return Err(invalid(&format!(
            "the dataset {name} needs at least two images; add more"
        )));
    }
    let judged = match (has(Split::Test), has(Split::Val)) {
        (true, _) => EvaluatedSplit::Test,
        (false, true) => EvaluatedSplit::Val,
        (false, false) => EvaluatedSplit::Train,
    };
    let mut val = Vec::new();
    for (image, about) in in_split(judged) {
        let name = about.class.and_then(|class| input.classes.get(class as usize));
        let (Some(name), Some(classes)) = (name, classes) else {
            continue;
        };
        let class = classes.iter().position(|known| known == name).ok_or_else(|| {
            invalid(&format!(
                "the training has no class `{name}`, and the target dataset has; both need the same classes"
            ))
        })?;
        val.push(Sample {
            image,
            class: class as u32,
        });
    }
    let split = (!val.is_empty()).then_some(judged);
    let data = Data {
        train,
        val,
        test: 0,
        images: Arc::new(images),
        label_sets: None,
    };
    Ok((data, split))
}

/// Reads images to learn from without labels: [`Data::train`] are those of the training split. Where the images have labels,
/// [`Data::val`] are those of the validation split, and all have their classes.
///
/// # Errors
/// `invalid_data` if the training split is empty.
pub fn read_for_pretraining(input: &DatasetInput, spec: &SplitSpec) -> Result<Data, Halt> {
    let images = read_manifest(input)?;
    let (labels, splits) = divided_if_labelled(&images, spec);
    let has_labels = !input.classes.is_empty() && labels.is_some();
    let labels = labels.unwrap_or_else(|| vec![0; images.len()]);
    let data = Data {
        train: chosen(&labels, &splits, |split| split == Split::Train),
        val: chosen(&labels, &splits, |split| has_labels && split == Split::Val),
        test: splits.iter().filter(|split| **split == Split::Test).count(),
        images: Arc::new(images),
        label_sets: None,
    };
    match data.train.is_empty() {
        true => Err(invalid("the dataset has no training images")),
        false => Ok(data),
    }
}

/// Reads the manifest and returns the labelled images of these splits of the dataset's own as [`Data::train`]; none is split further.
///
/// # Errors
/// `invalid_data` if the images have no classes, or there are none in these splits.
pub fn read_whole(input: &DatasetInput, wanted: impl Fn(Split) -> bool) -> Result<Data, Halt> {
    let (images, labels) = read_labelled(input, Task::Single)?;
    let splits: Vec<Split> = images.iter().map(|image| image.split).collect();
    let train = chosen(&labels.of_images, &splits, wanted);
    if train.is_empty() {
        return Err(invalid("the dataset has no images outside of its test split"));
    }
    Ok(Data {
        test: images.len() - train.len(),
        images: Arc::new(images),
        train,
        val: Vec::new(),
        label_sets: None,
    })
}

/// The split of each image, in the order of the manifest. Images without classes are not split further: there is nothing to stratify by.
pub fn splits(input: &DatasetInput, spec: &SplitSpec) -> anyhow::Result<Vec<Split>> {
    Ok(divided_if_labelled(&read_manifest(input)?, spec).1)
}

/// The class of each image, if all have one, and the split of each.
fn divided_if_labelled(images: &[ManifestImage], spec: &SplitSpec) -> (Option<Vec<u32>>, Vec<Split>) {
    let splits = match images.iter().all(ManifestImage::is_labelled) {
        true => divide(images, &strata(images), spec),
        false => images.iter().map(|image| image.split).collect(),
    };
    (images.iter().map(|image| image.class).collect(), splits)
}

/// By what images are stratified: their classes, or the rarest of their labels.
fn strata(images: &[ManifestImage]) -> Vec<u32> {
    let labels: Vec<Vec<u32>> = images.iter().map(|image| image.label_set().to_vec()).collect();
    split::rarest_labels(&labels)
}

/// What images show.
struct Labels {
    /// The class of each image, or the index of its set.
    of_images: Vec<u32>,
    sets: Option<LabelSets>,
}

/// The images, what they show, and the split of each.
type SplitImages = (Vec<ManifestImage>, Labels, Vec<Split>);

fn read_split_images(input: &DatasetInput, spec: &SplitSpec, task: Task) -> Result<SplitImages, Halt> {
    let (images, labels) = read_labelled(input, task)?;
    let splits = divide(&images, &strata(&images), spec);
    Ok((images, labels, splits))
}

/// The images and what they show.
fn read_labelled(input: &DatasetInput, task: Task) -> Result<(Vec<ManifestImage>, Labels), Halt> {
    let images = read_manifest(input)?;
    let classes = input.classes.len();
    let mut of_images = Vec::with_capacity(images.len());
    let mut sets: Vec<Vec<u32>> = Vec::new();
    let mut known: HashMap<&[u32], u32> = HashMap::new();
    for image in &images {
        if !image.is_labelled() {
            return Err(invalid(
                "the dataset has no classes; its images must be in class folders",
            ));
        }
        let labels = image.label_set();
        if let Some(class) = labels.iter().find(|class| **class as usize >= classes) {
            return Err(anyhow::anyhow!("image {} has class {class} of {classes}", image.id).into());
        }
        if task == Task::MultiTask {
            check_answers(image, labels, &input.classes)?;
        }
        of_images.push(match (task, image.class) {
            (Task::Single, Some(class)) => class,
            (Task::Single, None) => {
                return Err(invalid(
                    "images of the dataset have several labels; train on them with `\"task\": \"multi_label\"`",
                ));
            }
            (Task::MultiLabel | Task::MultiTask, _) => *known.entry(labels).or_insert_with(|| {
                sets.push(labels.to_vec());
                sets.len() as u32 - 1
            }),
        });
    }
    drop(known);
    let sets = (!task.is_single()).then(|| Arc::new(sets));
    Ok((images, Labels { of_images, sets }))
}

/// An image is of one class of a task at most, and of one task at least.
fn check_answers(image: &ManifestImage, labels: &[u32], classes: &[String]) -> Result<(), Halt> {
    let (path, id) = (&image.path, image.id);
    let mut answers: Vec<(&str, &str)> = Vec::new();
    for class in labels.iter().map(|class| classes[*class as usize].as_str()) {
        let task = parts_of(class).map_or(class, |(task, _)| task);
        if let Some((_, other)) = answers.iter().find(|(known, _)| *known == task) {
            return Err(invalid(&format!(
                "the image `{path}` is both `{other}` and `{class}`, and a task has one answer: take one away (PATCH \
                 /v1/datasets/{{dataset}}/images/{id}), or use `\"task\": \"multi_label\"`"
            )));
        }
        answers.push((task, class));
    }
    match answers.is_empty() {
        false => Ok(()),
        true => Err(invalid(&format!(
            "the image `{path}` has no label for any task; give it one (PATCH /v1/datasets/{{dataset}}/images/{id}), or remove it"
        ))),
    }
}

fn chosen(labels: &[u32], splits: &[Split], wanted: impl Fn(Split) -> bool) -> Vec<Sample> {
    let places = splits.iter().zip(labels).enumerate();
    let places = places.filter(|(_, (split, _))| wanted(**split));
    places
        .map(|(image, (_, class))| Sample { image, class: *class })
        .collect()
}

/// Splits of the dataset itself are used as they are; missing ones are drawn from the training split.
fn divide(images: &[ManifestImage], labels: &[u32], spec: &SplitSpec) -> Vec<Split> {
    let mut splits: Vec<Split> = images.iter().map(|image| image.split).collect();
    let share = |split: Split, share: f64| if splits.contains(&split) { 0.0 } else { share };
    let shares = Shares {
        val: share(Split::Val, spec.val),
        test: share(Split::Test, spec.test),
    };
    let train: Vec<usize> = (0..splits.len())
        .filter(|&image| splits[image] == Split::Train)
        .collect();
    let train_labels: Vec<u32> = train.iter().map(|&image| labels[image]).collect();
    let named = train.iter().map(|&image| &images[image]);
    let named = named.map(|image| (image.path.as_str(), image.sha256.as_str()));
    let groups = split::groups(named, spec.group_by.as_ref());
    let cut = split::stratified(&train_labels, &groups, shares, spec.seed);
    for (image, split) in train.into_iter().zip(cut) {
        splits[image] = split;
    }
    splits
}

fn check(data: &Data, spec: &SplitSpec, classes: &[String]) -> Result<(), Halt> {
    if data.train.is_empty() {
        return Err(invalid("the dataset has no training images"));
    }
    let shown: BTreeSet<u32> = data.train.iter().map(|sample| sample.class).collect();
    if shown.len() < 2 {
        let only = shown.first().map_or(&[][..], std::slice::from_ref);
        let labels = match &data.label_sets {
            Some(sets) => only.first().map_or(&[][..], |set| &sets[*set as usize]),
            None => only,
        };
        let names: Vec<_> = labels
            .iter()
            .filter_map(|class| classes.get(*class as usize))
            .collect();
        let message = match data.label_sets {
            Some(_) => {
                format!("all training images have the same labels ({names:?}); training needs a difference")
            }
            None => {
                format!("the training images have one class only ({names:?}); training needs at least two")
            }
        };
        return Err(invalid(&message));
    }
    if let Some(group_by) = spec
        .group_by
        .as_ref()
        .filter(|_| spec.val > 0.0 && data.val.is_empty())
    {
        let message = format!(
            "with `split.group_by` no image is left to validate on: the names of the files, up to `{}` number {}, tie together all images of \
             each class; raise `split.group_by.parts`, or leave `split.group_by` out",
            group_by.separator, group_by.parts
        );
        return Err(invalid(&message));
    }
    Ok(())
}

/// The requested split is empty.
pub fn empty_split(wanted: EvaluatedSplit) -> Halt {
    let message = format!(
        "the dataset has no images in its split `{}`; choose another `split`, such as `all`",
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

/// Verifies the manifest's digest before anything in it is used.
pub fn check_manifest(input: &DatasetInput) -> anyhow::Result<()> {
    let lineage = &input.lineage;
    stored::check(&input.manifest, &input.manifest_sha256, || {
        format!(
            "the manifest of the dataset `{}` (version {})",
            lineage.name, lineage.version
        )
    })
}

/// The same one by one, for callers that cannot hold them all and have verified the manifest.
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
            labels: None,
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
            used_bits: None,
        }
    }

    fn images(own: &[Split]) -> Vec<ManifestImage> {
        let each = (0..).zip(own);
        each.map(|(id, split)| image(id, id % 2, *split)).collect()
    }

    fn divided(images: &[ManifestImage], spec: &SplitSpec) -> Vec<Split> {
        divide(images, &strata(images), spec)
    }

    fn splits(own: &[Split], val: f64, test: f64) -> Vec<Split> {
        let spec = SplitSpec {
            val,
            test,
            ..SplitSpec::default()
        };
        divided(&images(own), &spec)
    }

    fn count(splits: &[Split], wanted: Split) -> usize {
        splits.iter().filter(|split| **split == wanted).count()
    }

    #[test]
    fn without_parts_of_its_own_a_dataset_is_divided_class_by_class() {
        let splits = splits(&[Split::Train; 40], 0.25, 0.1);
        assert_eq!((count(&splits, Split::Val), count(&splits, Split::Test)), (10, 4));
        let of_class = |class| splits.iter().skip(class).step_by(2).copied().collect::<Vec<_>>();
        assert_eq!(count(&of_class(0), Split::Val), count(&of_class(1), Split::Val));
    }

    #[test]
    fn parts_that_a_dataset_brings_stay_as_they_are() {
        let own: Vec<Split> = (0..40)
            .map(|id| if id < 8 { Split::Val } else { Split::Train })
            .collect();
        assert_eq!(splits(&own, 0.5, 0.0), own);
        let with_test = splits(&own, 0.5, 0.25);
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
            let splits = divided(&images, &spec);
            assert_eq!(count(&splits, Split::Val), 8, "seed {seed}");
            let twins = (0..8).step_by(2).map(|id| splits[id]);
            assert!(
                twins.clone().eq(std::iter::repeat_n(splits[0], 4)),
                "seed {seed}: {splits:?}"
            );

            spec.group_by = Some(GroupBy {
                separator: "_".into(),
                parts: 2,
            });
            let splits = divided(&images, &spec);
            assert_eq!(count(&splits, Split::Val), 8, "seed {seed}");
            for patient in splits.chunks(8) {
                assert!(
                    patient.iter().all(|split| *split == patient[0]),
                    "seed {seed}: {splits:?}"
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
            label_sets: None,
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

    #[test]
    fn a_model_is_evaluated_only_on_pixels_like_those_it_was_trained_on() {
        let data = |used_bits| Data {
            images: Arc::new(vec![ManifestImage {
                used_bits,
                ..image(0, 0, Split::Train)
            }]),
            train: Vec::new(),
            val: Vec::new(),
            test: 0,
            label_sets: None,
        };
        let recipe = |used_bits| Preprocessing {
            used_bits,
            ..Preprocessing::for_size(32)
        };
        let [ten, twelve, all] = [UsedBits::new(10), UsedBits::new(12), Some(UsedBits::ALL)];
        for (dataset, model) in [
            (None, None),
            (None, twelve),
            (twelve, twelve),
            (all, None),
            (all, all),
        ] {
            assert!(
                data(dataset).check_used_bits(&recipe(model)).is_ok(),
                "{dataset:?} {model:?}"
            );
        }
        for (dataset, model) in [(twelve, None), (twelve, ten), (all, twelve)] {
            assert!(
                data(dataset).check_used_bits(&recipe(model)).is_err(),
                "{dataset:?} {model:?}"
            );
        }
    }
}
