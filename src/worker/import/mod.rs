//! Model imports: an untrusted file is checked completely and converted to a model of ours.
//!
//! The result is what a training would have written: torchvision's names, 32-bit floats, a card. Equivalent files give the same bytes, so
//! an exported bundle comes back with its own digests. Nothing is loaded partially, and no code comes from data.

pub mod detect;
mod packed;
mod refusal;
#[cfg(test)]
mod tests;

use std::path::Path;

use tch::{Device, Kind, Tensor};

use self::refusal::Refusal;
use super::{
    device,
    files::{
        adapters,
        bundle::{self, BundleFault},
        state::{self, StateDict},
    },
    nets::{Network, heads},
    process::{
        child::{Reporter, StopFlag, Stopped},
        run_dir::RunDir,
    },
    weights,
};
use crate::{
    domain::{
        architecture::HeadKind,
        models::{
            labels::twice,
            model::{ModelCard, check_metadata},
            model_import::WeightsDescription,
            preprocessing::Preprocessing,
        },
        spec::{Architecture, Task},
    },
    files::digest,
    protocol::{ImportContents, ImportResult, ImportRun, RunResult},
};

/// Range of a network's input size, and the largest size that images are resized to before.
const SIDES: std::ops::RangeInclusive<u32> = 32..=1024;
const MAX_RESIZE: u32 = 2048;
/// Longest text in a card that is only for people, in bytes.
const MAX_TEXT: usize = 512;
const MAX_LABEL: usize = 255;

/// Checks the uploaded file and writes a model into the run directory, or returns what is wrong.
pub fn run(
    spec: &ImportRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<RunResult> {
    tch::set_num_threads(spec.threads.max(1) as i32);
    match import(spec, dir, reporter, stop) {
        Ok(result) => Ok(RunResult::Imported(Box::new(result))),
        Err(fault) => match fault.downcast::<Refusal>() {
            Ok(refused) => Ok(RunResult::Refused(refused.into_refusal())),
            Err(fault) => Err(fault),
        },
    }
}

fn import(
    spec: &ImportRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<ImportResult> {
    let (mut state, card, remarks) = match &spec.contents {
        ImportContents::Weights(described) => {
            let contents = weights::file::read(&spec.file).map_err(refusal::of_file)?;
            let card = described_card(&contents.state, described)?;
            let fitted = weights::fit::fitted(contents.state, card.architecture);
            (fitted.state, card, [contents.told, fitted.told].concat())
        }
        ImportContents::Bundle => {
            let files = packed::unpack(spec, dir, reporter, stop)?;
            let card = bundle::read_any_card(&files.card).map_err(card_fault)?;
            if card.adapter.is_some() {
                let message = "this is an adapter without the weights that it belongs to; export the model, and send that file";
                return Err(Refusal::new(message).into());
            }
            check_card(&card, spec.max_classes)?;
            (read(&files.weights)?, card, Vec::new())
        }
    };
    if stop.is_set() {
        return Err(Stopped.into());
    }
    // What is stored is one network.
    adapters::merge(&mut state);
    let network = checked(&state, &card).map_err(|fault| refusal::after(fault, &remarks))?;
    drop(state);
    let files = bundle::write(dir, network.state(), &card)?;
    Ok(ImportResult {
        card,
        weights: files.weights,
        card_file: files.card,
        remarks: remarks
            .into_iter()
            .map(|remark| refusal::harmless(&remark))
            .collect(),
    })
}

fn read(path: &Path) -> anyhow::Result<StateDict> {
    state::read(path).map_err(refusal::of_state)
}

/// The network, with everything checked that does not need an image: names, shapes, types, and that it computes finite numbers.
fn checked(weights: &StateDict, card: &ModelCard) -> anyhow::Result<Network> {
    let outputs = heads::found(weights, card.architecture).map(|found| found.classes);
    // An index of a class may be the largest of those that occur, or not.
    let exact = card.head.kind() != Some(HeadKind::Knn);
    if let Some(outputs) = outputs
        .filter(|_| exact)
        .filter(|outputs| *outputs != card.classes.len() as i64)
    {
        let message = format!(
            "the network has {outputs} outputs, but {} classes are given; each output needs a class",
            card.classes.len()
        );
        return Err(Refusal::of("/labels", message).into());
    }
    let network = Network::loaded(card.architecture, card.outputs(), weights, Device::Cpu)
        .map_err(|fault| Refusal::new(fault.to_string()))?;
    for (name, tensor) in network.state() {
        // In 32 bits, whatever type they came in.
        if tensor.kind() == Kind::Float && tensor.isfinite().all().int64_value(&[]) == 0 {
            return Err(Refusal::new(format!("`{name}` contains numbers that are not finite")).into());
        }
        if name.ends_with(".running_var") && tensor.lt(0.0).any().int64_value(&[]) != 0 {
            return Err(Refusal::new(format!("`{name}` contains variances below 0")).into());
        }
    }
    let side = i64::from(card.preprocessing.crop);
    let logits = network.logits(&Tensor::zeros([1, 3, side, side], (Kind::Float, Device::Cpu)));
    if logits.isfinite().all().int64_value(&[]) == 0 {
        let message = "the network computes no finite numbers for a plain image; its weights are damaged";
        return Err(Refusal::new(message).into());
    }
    Ok(network)
}

/// The card of weights that came without one.
fn described_card(state: &StateDict, described: &WeightsDescription) -> anyhow::Result<ModelCard> {
    let architecture = match described.architecture {
        Some(architecture) => architecture,
        None => only_one(detect::architectures(state))?
            .or_else(|| {
                weights::fit::candidates(state)
                    .iter()
                    .find_map(detect::architecture)
            })
            .ok_or_else(|| {
                let known: Vec<_> = Architecture::ALL.iter().map(|known| known.as_str()).collect();
                let known = known.join(", ");
                let message = format!("the tensors do not match any known network ({known})");
                Refusal::of("/architecture", message)
            })?,
    };
    let preprocessing = described.preprocessing(architecture);
    check_recipe(&preprocessing)?;
    let head = detect::head(state, architecture)?;
    Ok(ModelCard {
        format: ModelCard::FORMAT,
        architecture,
        head,
        classes: described.labels.clone(),
        task: Task::Single,
        thresholds: Vec::new(),
        tasks: Vec::new(),
        preprocessing,
        spec: None,
        metrics: None,
        pretraining: None,
        adapter: None,
        dataset: None,
        base_weights: "imported".to_owned(),
        base_weights_sha256: None,
        base_weights_guessed: false,
        program: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
        libtorch: device::LIBTORCH_VERSION.to_owned(),
        temperature: ModelCard::no_temperature(),
    })
}

/// The network that the weights fit.
///
/// # Errors
/// There are several: which one was trained, the tensors do not say.
fn only_one(fitting: Vec<Architecture>) -> anyhow::Result<Option<Architecture>> {
    match fitting.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => {
            let names: Vec<_> = several.iter().map(|it| format!("`{it}`")).collect();
            let names = names.join(" and ");
            let message =
                format!("the tensors fit {names}, which compute different things with them; say which it is");
            Err(Refusal::of("/architecture", message).into())
        }
    }
}

/// The card in a bundle is untrusted too: what [`bundle::read_any_card`] assumes of our own is checked here.
fn check_card(card: &ModelCard, max_classes: usize) -> anyhow::Result<()> {
    let refuse = |message: String| Err(Refusal::new(format!("the bundle's model.json: {message}")).into());
    if card.classes.len() > max_classes {
        return refuse(format!(
            "it has {} classes, but the limit is {max_classes}",
            card.classes.len()
        ));
    }
    let harmless =
        |label: &String| (1..=MAX_LABEL).contains(&label.len()) && !label.chars().any(char::is_control);
    if !card.classes.iter().all(harmless) {
        return refuse(
            "a class name is empty, longer than 255 bytes, or contains control characters".to_owned(),
        );
    }
    if let Some(label) = twice(&card.classes) {
        return refuse(format!("the class `{label}` occurs twice"));
    }
    let trained = card.spec.iter().map(|spec| &spec.metadata);
    let pretrained = card
        .pretraining
        .iter()
        .map(|pretraining| &pretraining.spec.metadata);
    if let Some(rule) = trained
        .chain(pretrained)
        .find_map(|metadata| check_metadata(metadata).err())
    {
        return refuse(format!("the metadata {rule}"));
    }
    let digests = card
        .dataset
        .iter()
        .flat_map(|dataset| [Some(&dataset.sha256), dataset.content_sha256.as_ref()]);
    let mut digests = digests.chain([card.base_weights_sha256.as_ref()]).flatten();
    if !digests.all(|text| digest::is_digest(text)) {
        return refuse("a digest is invalid".to_owned());
    }
    let texts = [&card.base_weights, &card.program, &card.libtorch];
    if texts
        .iter()
        .any(|text| text.len() > MAX_TEXT || text.chars().any(char::is_control))
    {
        return refuse("a text is too long".to_owned());
    }
    check_recipe(&card.preprocessing)
}

fn check_recipe(recipe: &Preprocessing) -> anyhow::Result<()> {
    if !SIDES.contains(&recipe.crop) || !(recipe.crop..=MAX_RESIZE).contains(&recipe.resize_to) {
        let message = format!(
            "images of {} pixels, resized to {} before, are out of range: the input size may be {} to {}",
            recipe.crop,
            recipe.resize_to,
            SIDES.start(),
            SIDES.end()
        );
        return Err(Refusal::new(message).into());
    }
    Ok(())
}

fn card_fault(fault: BundleFault) -> anyhow::Error {
    match fault {
        BundleFault::Card(message) => Refusal::new(format!("the bundle's model.json: {message}")).into(),
        fault => fault.into(),
    }
}
