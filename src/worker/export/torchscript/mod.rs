//! TorchScript without tracing: the module as source, with its tensors, in the archive that `torch.jit.load` reads (torch's
//! `serialization.md`, version 3).
//!
//! So parameters remain parameters under torchvision's names and can be moved or trained, and batches and images may have any size. The
//! file is loaded again with libtorch and compared with the network's own logits. `model.json` is included as an extra file.

mod layers;
mod modules;
mod pickle;
mod products;
mod tokens;
mod windows;

use std::path::Path;

use anyhow::{Context, ensure};
use tch::{CModule, Kind, TchError, Tensor};

use self::modules::{Module, Slot};
use super::{Archive, Model};
use crate::worker::autograd::without_gradients;
use crate::{
    domain::models::model::ModelCard,
    worker::files::state::{self, StateDict},
};

/// The top-level folder of the archive; its name does not matter.
const ROOT: &str = "model";
/// Version of the format: the oldest that supports everything used here, which newer programs read too.
const VERSION: &[u8] = b"3\n";
/// `()`, pickled: the source contains its constants itself.
const NO_CONSTANTS: &[u8] = b"\x80\x02).";
/// Largest difference of a logit, relative to the largest one (or to 1 where all are smaller).
const TOLERANCE: f64 = 1e-4;
/// Side, in pixels, of the images that are compared, or a little more: enough to reach every layer.
const COMPARED_SIDE: u32 = 64;

/// Writes the module of a model.
pub fn write(path: &Path, model: &Model) -> anyhow::Result<()> {
    let (design, outputs) = (model.card.architecture.design(), model.card.outputs());
    let card = serde_json::to_vec_pretty(&model.card)?;
    write_module(path, &layers::of(design, outputs), &model.state, &card)?;
    check(path, model)
}

fn write_module(path: &Path, root: &Module, state: &StateDict, card: &[u8]) -> anyhow::Result<()> {
    let mut tensors = Vec::new();
    let data = pickle::module(root, state, &mut tensors);
    let mut archive = Archive::create(path)?;
    let mut add = |name: &str, bytes: &[u8]| archive.add(&format!("{ROOT}/{name}"), bytes);
    add("data.pkl", &data)?;
    add(
        &format!("code/__torch__/{}.py", modules::NAMESPACE),
        root.source().as_bytes(),
    )?;
    add("constants.pkl", NO_CONSTANTS)?;
    add("extra/model.json", card)?;
    for (index, tensor) in tensors.into_iter().enumerate() {
        // SAFETY: nothing writes to a model while it is exported.
        add(&format!("data/{index}"), unsafe { state::bytes_of(tensor) })?;
    }
    add("version", VERSION)?;
    add("byteorder", b"little")?;
    archive.finish()
}

/// Loads a module that this process itself has just written, and never any other: loading executes its source.
#[expect(
    clippy::disallowed_methods,
    reason = "it is our own file, compared with the network before it is returned"
)]
pub(super) fn loaded(path: &Path) -> Result<CModule, TchError> {
    CModule::load(path)
}

/// Compares the written module with its network.
fn check(path: &Path, model: &Model) -> anyhow::Result<()> {
    let module = loaded(path).context("the TorchScript module that was written cannot be loaded")?;
    let side = compared_side(&model.card);
    let numbers = Tensor::arange(2 * 3 * side * side, (Kind::Float, tch::Device::Cpu));
    let images = (numbers * 0.7).sin().view([2, 3, side, side]);
    let expected = model.network.logits(&images);
    let found = without_gradients(|| module.forward_ts(&[&images]))?;
    ensure!(
        found.size() == expected.size(),
        "the TorchScript module returns another shape"
    );
    let scale = expected.abs().max().double_value(&[]).max(1.0);
    let distance = (found - expected).abs().max().double_value(&[]);
    ensure!(
        distance <= TOLERANCE * scale,
        "the TorchScript module's results differ by {distance:e}"
    );
    Ok(())
}

/// Of images that the network takes, no larger than necessary.
fn compared_side(card: &ModelCard) -> i64 {
    let crop = card.preprocessing.crop;
    let takes = |side: &u32| card.architecture.check_size(*side).is_ok();
    let smallest = (COMPARED_SIDE..crop).find(takes);
    i64::from(smallest.unwrap_or(crop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::architecture::Outputs, worker::nets::vocabulary};

    #[test]
    fn every_word_of_the_vocabulary_is_computed_as_it_is_trained() {
        for design in vocabulary::networks() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("model.pt");
            let root = layers::of(&design, Outputs::from(vocabulary::CLASSES as usize));
            let tensors = vocabulary::state(&design).into_iter();
            let state: StateDict = tensors
                .map(|(name, tensor)| (name, tensor.contiguous()))
                .collect();
            write_module(&path, &root, &state, b"{}").unwrap();
            let module = loaded(&path).unwrap();
            let images = vocabulary::images(3);
            let expected = vocabulary::logits(&design, &images);
            let found = without_gradients(|| module.forward_ts(&[&images])).unwrap();
            let scale = expected.abs().max().double_value(&[]);
            let off = (found - expected).abs().max().double_value(&[]) / scale;
            assert!(off <= 1e-4, "off by {off:e}");
            let mut names: Vec<String> = module
                .named_parameters()
                .unwrap()
                .into_iter()
                .map(|it| it.0)
                .collect();
            names.sort();
            let learning = design.tensors(vocabulary::CLASSES).into_iter();
            let mut expected: Vec<String> = learning
                .filter_map(|(_, name, tensor)| tensor.learns().then_some(name))
                .collect();
            expected.sort();
            assert_eq!(names, expected);
        }
    }
}
