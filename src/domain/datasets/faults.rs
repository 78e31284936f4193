//! What prevents a job from using a dataset, and what to do about it.

use super::dataset::{Class, Dataset, DatasetStatus, Layout};
use crate::{
    domain::{
        models::tasks::{self, TaskOutputs},
        spec::{JobSpec, Task},
    },
    error::FieldError,
};

impl Dataset {
    /// What prevents a job from training on this dataset, each with the field of the spec concerned. A dataset that is still being read has
    /// no faults yet; they are checked again when its job starts.
    pub fn faults_for(&self, spec: &JobSpec) -> Vec<FieldError> {
        let fault = |code, message: String| vec![FieldError::new("/dataset", code, message)];
        if self.status == DatasetStatus::Processing {
            return Vec::new();
        }
        if let Some(unusable) = self.unusable("training") {
            return vec![unusable];
        }
        if spec.task.is_single() && self.several_labels > 0 {
            let task = match self.tasks() {
                Ok(_) => "`multi_task` or `multi_label`",
                Err(_) => "`multi_label`",
            };
            let message = format!(
                "{}; set `task` to {task}, or {}",
                self.about_several(),
                Self::LEAVE_OUT
            );
            return vec![FieldError::new("/task", "several_labels", message)];
        }
        if spec.task == Task::MultiTask {
            match self.tasks() {
                Err(why) => return vec![FieldError::new("/task", "no_tasks", why)],
                Ok(tasks) => {
                    let faults = spec
                        .loss
                        .task_weights
                        .iter()
                        .flat_map(|weights| weights.faults(&tasks));
                    let faults: Vec<_> = faults.collect();
                    if !faults.is_empty() {
                        return faults;
                    }
                }
            }
        }
        // With several labels one class can be told, from images that do not show it.
        let least = if self.several_labels > 0 { 1 } else { 2 };
        if self.classes.len() < least {
            let names: Vec<_> = self.classes.iter().map(|class| class.name.as_str()).collect();
            let message = format!(
                "the dataset has one class only ({}); training needs at least two",
                names.join(", ")
            );
            return fault("one_class", message);
        }
        if self.splits.train == 0 {
            let message = "the dataset's training split is empty; training needs images in it";
            return fault("empty_split", message.into());
        }
        let taught = |class: &&Class| class.splits.is_none_or(|splits| splits.train > 0);
        let taught: Vec<_> = self
            .classes
            .iter()
            .filter(taught)
            .map(|class| class.name.as_str())
            .collect();
        if taught.len() < least {
            let message = format!(
                "the dataset's training split has one class only ({}); training needs at least two",
                taught.join(", ")
            );
            return fault("one_class", message);
        }
        let brings_val = self.splits.val > 0;
        let in_both = |class: &Class| {
            class
                .splits
                .is_none_or(|splits| splits.train > 0 && splits.val > 0)
        };
        if brings_val && !self.classes.iter().any(in_both) {
            let message = "no class has both training and validation images, so nothing could be measured; divide the dataset anew \
                           (POST /v1/datasets/{dataset}/split), or read its archive again with other options (…/reread)";
            return fault("no_shared_class", message.into());
        }
        let shares = spec.split.val + spec.split.test;
        if !brings_val && shares > 0.95 {
            let message = "`val` and `test` together leave no images to train on".to_owned();
            return vec![FieldError::new("/split", "range", message)];
        }
        Vec::new()
    }

    /// What prevents a model of these classes from being evaluated on this dataset, as in [`Dataset::faults_for`].
    pub fn faults_for_evaluation(&self, known: &[String], task: Task) -> Vec<FieldError> {
        if self.status == DatasetStatus::Processing {
            return Vec::new();
        }
        if let Some(unusable) = self.unusable("an evaluation") {
            return vec![unusable];
        }
        if let Some(several) = self.fault_of_several_labels().filter(|_| task.is_single()) {
            return vec![several];
        }
        let unknown: Vec<_> = self
            .classes
            .iter()
            .filter(|class| !known.contains(&class.name))
            .map(|class| class.name.as_str())
            .collect();
        if unknown.is_empty() {
            return Vec::new();
        }
        let message = format!(
            "the model does not know these classes of the dataset: {}; it knows {}",
            listed(&unknown),
            listed(known)
        );
        vec![FieldError::new("/dataset", "unknown_classes", message)]
    }

    /// What prevents this dataset's images from going along with those of `source`, the dataset of a training; `pointer` is the field that
    /// names it. `by_class`: whether they are of the same classes.
    pub fn faults_beside(&self, source: &Dataset, pointer: &str, by_class: bool) -> Option<FieldError> {
        let fault = |code, message: String| Some(FieldError::new(pointer, code, message));
        if let Some(failure) = self.failure() {
            return fault("dataset_failed", failure.message);
        }
        if self.status == DatasetStatus::Processing {
            let message = "this dataset is still being read; submit the job once it is `ready`";
            return fault("not_ready", message.to_owned());
        }
        if self.id == source.id {
            let message = "this is the dataset of the labelled images itself; name another one";
            return fault("conflict", message.to_owned());
        }
        if self.images < 2 {
            return fault(
                "too_few_images",
                "this dataset needs at least two images".to_owned(),
            );
        }
        if let Some(several) = self.fault_of_several_labels().filter(|_| by_class) {
            return fault("several_labels", several.message);
        }
        let known = |class: &&Class| source.classes.iter().any(|known| known.name == class.name);
        let unknown: Vec<_> = self.classes.iter().filter(|class| !known(class)).collect();
        if !by_class || unknown.is_empty() || source.status == DatasetStatus::Processing {
            return None;
        }
        let message = format!(
            "this dataset has classes that `dataset` does not have: {}; both domains need the same classes. Change the classes of \
             its images, or read its archive again without classes (POST /v1/datasets/{{dataset}}/reread with `\"classes\": \"none\"`)",
            listed(
                &unknown
                    .iter()
                    .map(|class| class.name.as_str())
                    .collect::<Vec<_>>()
            )
        );
        fault("unknown_classes", message)
    }

    /// What prevents the images from being divided into so many folds, each judged by a head that was made of the others; as in
    /// [`Dataset::faults_for`]. `images` is how many of a class take part; `purpose` is what they are divided for.
    pub fn faults_for_folds(
        &self,
        folds: u32,
        purpose: &str,
        images: impl Fn(&Class) -> u64,
    ) -> Vec<FieldError> {
        if self.status == DatasetStatus::Processing {
            return Vec::new();
        }
        if let Some(unusable) = self.unusable(purpose).or_else(|| self.fault_of_several_labels()) {
            return vec![unusable];
        }
        let shown: Vec<&Class> = self.classes.iter().filter(|class| images(class) > 0).collect();
        if shown.len() < 2 {
            let names: Vec<&str> = shown.iter().map(|class| class.name.as_str()).collect();
            let message = format!(
                "images of one class only take part ({}); {purpose} needs at least two classes",
                names.join(", ")
            );
            return vec![FieldError::new("/dataset", "one_class", message)];
        }
        let smallest = shown.into_iter().min_by_key(|class| images(class));
        match smallest.filter(|class| images(class) < u64::from(folds)) {
            Some(class) => {
                let message = too_few_for_folds(&class.name, images(class), folds);
                vec![FieldError::new("/folds", "range", message)]
            }
            None => Vec::new(),
        }
    }

    /// What prevents a backbone from learning from its images without labels, of which it needs `least`; as in [`Dataset::faults_for`].
    pub fn faults_for_pretraining(&self, least: u64) -> Vec<FieldError> {
        if let Some(failure) = self.failure() {
            return vec![failure];
        }
        if self.status == DatasetStatus::Processing || self.splits.train >= least {
            return Vec::new();
        }
        let message = format!(
            "the dataset has {} training images; what images have in common is learned from at least {least}, and well only from thousands: \
             add images",
            self.splits.train
        );
        vec![FieldError::new("/dataset", "too_few_images", message)]
    }

    /// What prevents any model from classifying this dataset's images.
    pub fn faults_for_predictions(&self) -> Vec<FieldError> {
        self.failure().into_iter().collect()
    }

    /// The tasks of its classes, if they are those of several tasks.
    fn tasks(&self) -> Result<Vec<TaskOutputs>, String> {
        let names: Vec<&str> = self.classes.iter().map(|class| class.name.as_str()).collect();
        tasks::tasks_of(&names)
    }

    /// What prevents work for which each image has one class.
    pub fn fault_of_several_labels(&self) -> Option<FieldError> {
        let message = format!("{}; {}", self.about_several(), Self::LEAVE_OUT);
        (self.several_labels > 0).then(|| FieldError::new("/dataset", "several_labels", message))
    }

    const LEAVE_OUT: &str = "read the archive again without them (POST /v1/datasets/{dataset}/reread with `\"several_labels\": \
                             \"leave_out\"`)";

    fn about_several(&self) -> String {
        format!(
            "{} of the {} images have several labels, or none of the classes",
            self.several_labels, self.images
        )
    }

    fn unusable(&self, purpose: &str) -> Option<FieldError> {
        let unlabelled = || {
            let message = format!("the dataset has no classes; {purpose} needs images in class folders");
            FieldError::new("/dataset", "unlabelled", message)
        };
        let is_unlabelled = self.layout == Some(Layout::Unlabelled);
        self.failure().or_else(|| is_unlabelled.then(unlabelled))
    }

    fn failure(&self) -> Option<FieldError> {
        if self.status != DatasetStatus::Failed {
            return None;
        }
        let why = self.error.as_ref().map_or("", |error| error.message.as_str());
        let message = format!("the dataset cannot be used: {why}");
        Some(FieldError::new("/dataset", "dataset_failed", message))
    }
}

/// Why a class with so many images that can be separated cannot be in every fold, and what to do.
pub fn too_few_for_folds(class: &str, parts: u64, folds: u32) -> String {
    let lower = match parts {
        0 | 1 => String::new(),
        parts => format!("set `folds` to {parts} or less, "),
    };
    format!(
        "each of the {folds} folds needs images of every class, and the class `{class}` has {parts} that can be separated: {lower}add images \
         of this class, or remove it"
    )
}

/// Names for people, never more than anybody would read.
fn listed(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<_> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
