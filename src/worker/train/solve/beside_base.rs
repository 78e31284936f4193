//! Where a head is made at once of activations that are there, and a model has the very backbone as its base, nothing of the backbone has to be
//! read: a large one would take longer than everything else.

use crate::{
    domain::architecture::Outputs,
    protocol::{TrainRun, WorkerMessage},
    worker::{
        files::mapped::mapped,
        nets::Network,
        process::child::Reporter,
        train::{context::TrainContext, input::precompute, learner::Base, progress::halt::Halt},
        weights::{self, BaseWeights},
    },
};

/// A network of which only the head will be used.
pub struct BesideBase {
    pub network: Network,
    pub base_weights: BaseWeights,
    pub base: Base,
}

/// None where the weights have to be read.
pub fn begin(
    run: &TrainRun,
    context: &TrainContext,
    outputs: Outputs,
    reporter: &Reporter,
) -> Result<Option<BesideBase>, Halt> {
    let (spec, architecture) = (&run.spec, run.spec.backbone.architecture);
    // A head that is trained step by step may begin with that of the weights.
    if !spec.head.is_made_at_once() || run.bases.is_empty() {
        return Ok(None);
    }
    let Some(base_weights) = weights::origin(&run.weights) else {
        return Ok(None);
    };
    let is_source = |sha256: &String| base_weights.sha256.as_ref() == Some(sha256);
    let mut bases = run.bases.iter().filter(|base| is_source(&base.source_sha256));
    let Some(base) = bases.find(|base| precompute::are_known(run, context, &base.file.sha256)) else {
        return Ok(None);
    };
    let network = mapped(&base.file.path).and_then(|backbone| {
        let (seed, device) = (spec.seed, context.device);
        Ok(Network::on_lent_backbone(
            architecture,
            outputs,
            &backbone,
            seed,
            device,
        )?)
    });
    let Ok(network) = network else {
        // Whatever it is, the weights themselves are there.
        return Ok(None);
    };
    reporter.send(&WorkerMessage::log(
        "the backbone is the one that another model has as its base, and is not read again; the head is new",
    ));
    let (sha256, bytes) = (base.file.sha256.clone(), base.bytes);
    Ok(Some(BesideBase {
        network,
        base_weights,
        base: Base { sha256, bytes },
    }))
}
