//! Images of another dataset that go along with those of a training, without their labels.

use std::sync::Arc;

use crate::{
    domain::models::preprocessing::Preprocessing,
    protocol::{DatasetInput, TrainRun},
    worker::{
        process::run_dir::RunDir,
        train::{
            context::{TrainContext, Unlabelled},
            input::{
                data,
                pack::{Pack, Side},
            },
            plan::Plan,
            progress::{halt::Halt, pulse::Heartbeat},
        },
    },
};

/// Name of its directory below that of the run: what both need on the disk has the same names.
const FOLDER: &str = "unlabelled";

/// Reads the images of `input` for a run with these inputs, and packs them at the same size.
///
/// # Errors
/// `invalid_data` if there are too few, other bits of them count, or, of a target domain, they have other classes.
pub fn read(
    run: &TrainRun,
    input: &DatasetInput,
    source: &TrainContext,
    side: Side,
    dir: &RunDir,
    heartbeat: &mut Heartbeat,
) -> Result<Unlabelled, Halt> {
    // By their labels the model is judged, where the classes are the same.
    let classes = run
        .spec
        .domain_adaptation
        .as_ref()
        .map(|_| run.common.dataset.classes.as_slice());
    let (data, split) = data::read_unlabelled(input, classes)?;
    data.check_used_bits(&Preprocessing {
        used_bits: source.data.used_bits(),
        ..run.spec.preprocessing()
    })?;
    let mut run = run.clone();
    run.common.dataset = input.clone();
    run.unlabelled = None;
    // Only those of the training's own dataset are known to the server, and kept.
    run.activations.clear();
    let dir = dir.folder(FOLDER)?;
    let pack = Pack::obtain(input, &data, side, &dir, run.common.threads, heartbeat)?;
    let context = TrainContext {
        plan: Plan::new(&run.spec, vec![0; data.train.len()]),
        data,
        pack: Arc::new(pack),
        device: source.device,
        kind: source.kind,
        machine: source.machine.clone(),
        job: source.job.clone(),
        unlabelled: None,
        teachers: source.teachers.clone(),
    };
    Ok(Unlabelled {
        run,
        context,
        split,
        dir,
    })
}
