//! A trained model as files: `model.safetensors` (torchvision's names) and `model.json`, its card.
//!
//! Written by training, read by prediction and by later trainings. Nothing in a file is trusted before it has been verified: the weights
//! against their hash, the card against its format.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    panic,
    path::Path,
    thread,
};

use serde::Deserialize;

use super::{
    adapters,
    state::{self, StateDict, StateFault},
};
use crate::{
    domain::{
        architecture::Head,
        damage::Damaged,
        models::{model::ModelCard, tasks::TaskOutputs},
        spec::Task,
    },
    files::digest,
    protocol::{
        Artifact,
        frames::{BaseFile, ModelFiles},
    },
    worker::process::run_dir::RunDir,
};

/// Names of the two files in a run directory.
pub const WEIGHTS_FILE: &str = "model.safetensors";
pub const CARD_FILE: &str = "model.json";
/// Of the weights that an adapter does not have itself.
pub const BASE_FILE: &str = "base.safetensors";

/// Largest card, in bytes; one of 1000 classes has some tens of thousands.
const MAX_CARD: u64 = 16 << 20;

/// The two files of a bundle that was written.
#[derive(Clone, Debug, PartialEq)]
pub struct BundleFiles {
    pub weights: Artifact,
    pub card: Artifact,
}

/// Why a bundle cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum BundleFault {
    #[error("the model's weights: {0}")]
    Weights(#[from] StateFault),
    #[error("the model's files cannot be read or written: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Damaged(#[from] Damaged),
    #[error("the model's card cannot be used: {0}")]
    Card(String),
}

/// Writes a model into a run directory, durably.
pub fn write(dir: &RunDir, weights: &StateDict, card: &ModelCard) -> Result<BundleFiles, BundleFault> {
    check_card(card)?;
    write_state(dir, WEIGHTS_FILE, weights)?;
    dir.write_json(CARD_FILE, card)?;
    Ok(BundleFiles {
        weights: dir.artifact(WEIGHTS_FILE)?,
        card: dir.artifact(CARD_FILE)?,
    })
}

/// Writes the weights that an adapter does not have itself, durably. The same weights give the same file.
pub fn write_base(dir: &RunDir, weights: &StateDict) -> Result<Artifact, BundleFault> {
    write_state(dir, BASE_FILE, weights)?;
    Ok(dir.artifact(BASE_FILE)?)
}

/// SHA-256, hexadecimal, and length of the file that [`write_base`] would write.
pub fn base_digest(weights: &StateDict) -> Result<(String, u64), BundleFault> {
    Ok(state::digest(weights, &metadata())?)
}

fn write_state(dir: &RunDir, file: &str, weights: &StateDict) -> Result<(), BundleFault> {
    Ok(dir.retry_when_full(|| state::write(&dir.file(file), weights, &metadata()))?)
}

/// `format` is what other readers of safetensors (transformers, timm) expect.
fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_owned(), "pt".to_owned())])
}

/// Reads a model's weights after verifying them; those of an adapter merged into its base.
pub fn read_weights(files: &ModelFiles) -> Result<StateDict, BundleFault> {
    let own = read_own_weights(files)?;
    let Some(base) = &files.base else {
        return Ok(own);
    };
    let mut weights = adapters::joined(&read_base(base)?, own);
    adapters::merge(&mut weights);
    Ok(weights)
}

/// Reads what a model's own file of weights has, after verifying it: all weights, or those that an adapter changes.
pub fn read_own_weights(files: &ModelFiles) -> Result<StateDict, BundleFault> {
    verified(&files.weights, &files.sha256, weights_damaged)
}

/// Reads the weights that an adapter is beside, after verifying them.
pub fn read_base(base: &BaseFile) -> Result<StateDict, BundleFault> {
    verified(&base.path, &base.sha256, base_damaged)
}

/// Hashes a file while it is read: nothing of it is given away unless the digest is right.
fn verified(path: &Path, sha256: &str, damaged: fn() -> Damaged) -> Result<StateDict, BundleFault> {
    let (holds, read) = thread::scope(|scope| {
        let hashing = scope.spawn(|| digest::holds(path, sha256));
        let read = state::read(path);
        let holds = hashing.join().unwrap_or_else(|fault| panic::resume_unwind(fault));
        (holds, read)
    });
    match holds? {
        true => Ok(read?),
        false => Err(damaged().into()),
    }
}

/// Reads a model's card after verifying it, if this program understands it.
pub fn read_card(files: &ModelFiles) -> Result<ModelCard, BundleFault> {
    if !digest::holds(&files.card, &files.card_sha256)? {
        return Err(card_damaged().into());
    }
    read_any_card(&files.card)
}

pub fn weights_damaged() -> Damaged {
    Damaged::new("the file of the model's weights")
}

pub fn base_damaged() -> Damaged {
    Damaged::new("the file of the weights that the model is an adapter of")
}

pub fn card_damaged() -> Damaged {
    Damaged::new("the model's card")
}

/// Reads a card of unknown origin and checks that this program understands it.
pub fn read_any_card(path: &Path) -> Result<ModelCard, BundleFault> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_CARD + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_CARD {
        return Err(BundleFault::Card(format!("it is larger than {MAX_CARD} bytes")));
    }
    let fault = |fault: serde_json::Error| BundleFault::Card(fault.to_string());
    // The format comes first: a card of a later format may lack fields that this one requires.
    let Format { format } = serde_json::from_slice(&text).map_err(fault)?;
    check_format(format)?;
    let card = serde_json::from_slice(&text).map_err(fault)?;
    check_card(&card)?;
    Ok(card)
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn check_format(format: u32) -> Result<(), BundleFault> {
    if format == ModelCard::FORMAT {
        return Ok(());
    }
    let known = ModelCard::FORMAT;
    let message =
        format!("it has format {format}, but this program reads format {known}; update the program");
    Err(BundleFault::Card(message))
}

fn check_card(card: &ModelCard) -> Result<(), BundleFault> {
    check_format(card.format)?;
    let fault = |message: &str| Err(BundleFault::Card(message.to_owned()));
    let has_head = card.head != Head::None;
    if has_head && card.classes.is_empty() {
        return fault("it names no classes");
    }
    if !has_head && !card.classes.is_empty() {
        return fault("it names classes, and the network has no head");
    }
    let recipe = &card.preprocessing;
    if recipe.crop == 0 || recipe.crop > 4096 || recipe.resize_to < recipe.crop || recipe.resize_to > 8192 {
        return fault("its image sizes are out of range");
    }
    let usable = recipe.mean.iter().all(|mean| mean.is_finite())
        && recipe.std.iter().all(|std| std.is_finite() && *std > 0.0);
    if !usable {
        return fault("its mean or standard deviation is not a usable number");
    }
    if let Head::Knn {
        images,
        k,
        temperature,
    } = card.head
        && !((1..=images).contains(&k) && temperature.is_finite() && temperature > 0.0)
    {
        return fault("its head has more neighbours than images, or no usable temperature");
    }
    let thresholds = match card.task {
        Task::Single | Task::MultiTask => 0,
        Task::MultiLabel => card.classes.len(),
    };
    let usable = |threshold: &f64| (0.0..=1.0).contains(threshold);
    if card.thresholds.len() != thresholds || !card.thresholds.iter().all(usable) {
        return fault(
            "it does not have a threshold from 0 to 1 for each class of several labels, and no other",
        );
    }
    if (card.task == Task::MultiTask) == card.tasks.is_empty() || !tasks_fit(card) {
        return fault("its tasks are not those of its classes, each class being of one task");
    }
    if !(card.temperature.is_finite() && card.temperature > 0.0) {
        return fault("its temperature is not a usable number");
    }
    Ok(())
}

/// Whether each class is of one task, and the temperatures can be used.
fn tasks_fit(card: &ModelCard) -> bool {
    let mut places: Vec<u32> = card.tasks.iter().flat_map(|task| task.classes.clone()).collect();
    places.sort_unstable();
    let usable =
        |task: &TaskOutputs| task.temperature.is_finite() && task.temperature > 0.0 && task.classes.len() > 1;
    card.tasks.is_empty()
        || (places.into_iter().eq(0..card.classes.len() as u32) && card.tasks.iter().all(usable))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use tch::Tensor;

    use super::*;
    use crate::{
        domain::{
            id::DatasetId,
            models::model::{DatasetLineage, ModelMetrics},
            name::Name,
            spec::JobSpec,
        },
        worker::process::stored::tests::flipping,
    };

    impl BundleFiles {
        /// As the server would name them.
        pub(crate) fn at(&self, dir: &RunDir) -> ModelFiles {
            ModelFiles {
                sha256: self.weights.sha256.clone(),
                weights: dir.file(&self.weights.file),
                card: dir.file(&self.card.file),
                card_sha256: self.card.sha256.clone(),
                base: None,
            }
        }
    }

    /// A card of a model with these classes and an input of 32 pixels.
    pub(crate) fn card(classes: &[&str]) -> ModelCard {
        let document =
            serde_json::json!({"dataset": "drawn", "image": {"size": 32}, "backbone": {"weights": "none"}});
        let spec = JobSpec::parse(&document).unwrap();
        ModelCard {
            format: ModelCard::FORMAT,
            architecture: spec.backbone.architecture,
            head: crate::domain::architecture::Head::Linear,
            pretraining: None,
            adapter: None,
            classes: classes.iter().map(|class| class.to_string()).collect(),
            task: Task::Single,
            thresholds: Vec::new(),
            tasks: Vec::new(),
            preprocessing: spec.preprocessing(),
            spec: Some(spec),
            metrics: Some(ModelMetrics {
                epoch: 1,
                train_loss: 0.5,
                train_accuracy: 0.75,
                val_loss: Some(0.25),
                val_accuracy: Some(1.0),
                val_map: None,
                train_images: 8,
                val_images: 2,
                test_images: 0,
            }),
            dataset: Some(DatasetLineage {
                id: DatasetId::new(),
                name: Name::parse("drawn").unwrap(),
                version: 1,
                sha256: "0".repeat(64),
                content_sha256: None,
            }),
            base_weights: "none".into(),
            base_weights_sha256: None,
            base_weights_guessed: false,
            program: "finetuned test".into(),
            libtorch: crate::worker::device::LIBTORCH_VERSION.into(),
            temperature: 1.0,
        }
    }

    fn weights() -> StateDict {
        StateDict::from([("fc.bias".to_owned(), Tensor::from_slice(&[1f32, 2.0]))])
    }

    #[test]
    fn a_bundle_reads_back_and_its_weights_are_held_to_their_hash() {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::new(folder.path());
        let card = card(&["ants", "bees"]);
        let files = write(&dir, &weights(), &card).unwrap();
        assert_eq!(files.weights.file, "model.safetensors");
        let files = files.at(&dir);
        assert_eq!(read_card(&files).unwrap(), card);
        assert_eq!(state::read_metadata(&files.weights).unwrap()["format"], "pt");
        let back = read_weights(&files).unwrap();
        assert!(back["fc.bias"].equal(&weights()["fc.bias"]));
    }

    #[test]
    fn a_model_with_a_flipped_bit_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::new(folder.path());
        let files = write(&dir, &weights(), &card(&["ants", "bees"]))
            .unwrap()
            .at(&dir);
        let is_damage = |fault: BundleFault| matches!(fault, BundleFault::Damaged(_));
        flipping(&files.weights, 7, || {
            assert!(is_damage(read_weights(&files).unwrap_err()))
        });
        flipping(&files.card, 7, || {
            assert!(is_damage(read_card(&files).unwrap_err()))
        });
        fs::remove_file(&files.card).unwrap();
        assert!(
            is_damage(read_card(&files).unwrap_err()),
            "one that is gone is no better"
        );
        assert!(read_weights(&files).is_ok());
    }

    #[test]
    fn a_card_that_is_not_understood_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.json");
        let refusal = |text: &str| {
            fs::write(&path, text).unwrap();
            read_any_card(&path).unwrap_err().to_string()
        };
        assert!(refusal(r#"{"format": 2, "novelty": true}"#).contains("format 2"));
        assert!(refusal("{").contains("card"));
        assert!(refusal(r#"{"format": 1}"#).contains("missing field"));
        let mut silly = card(&["a", "b"]);
        silly.preprocessing.std[1] = 0.0;
        assert!(refusal(&serde_json::to_string(&silly).unwrap()).contains("standard deviation"));
        let mut cold = card(&["a", "b"]);
        cold.temperature = 0.0;
        assert!(refusal(&serde_json::to_string(&cold).unwrap()).contains("temperature"));
    }

    #[test]
    fn a_card_of_before_has_no_temperature() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.json");
        let mut old = serde_json::to_value(card(&["a", "b"])).unwrap();
        old.as_object_mut().unwrap().remove("temperature");
        fs::write(&path, old.to_string()).unwrap();
        assert_eq!(read_any_card(&path).unwrap().temperature, 1.0);
    }
}
