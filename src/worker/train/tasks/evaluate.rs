//! A job of kind `evaluate`: a model's outputs for one split of a labelled dataset, and their metrics. Every attempt starts over; it takes
//! seconds where a training takes hours.

use std::{collections::BTreeSet, sync::Arc};

use tch::{Device, Kind};

use super::{budget::Budget, outputs};
use crate::{
    domain::{
        jobs::{
            evaluation::{Evaluation, Subject},
            job::FailureCode,
        },
        models::model::ModelCard,
        spec::{Augment, JobKind},
    },
    protocol::{EvaluateRun, FoundResult, RunResult, WorkerMessage},
    worker::{
        augment::{Augmentation, View},
        device,
        files::bundle,
        nets::{Network, folded::Folded, input},
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
        train::{
            input::{
                data::{self, Data, Sample},
                loader::{Item, Loader},
                pack::Side,
            },
            progress::{halt::Halt, pulse::Heartbeat, reporter::ProgressReporter},
            publish::EVALUATION_FILE,
            setup,
        },
    },
};

pub fn evaluate(
    run: &EvaluateRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<RunResult, Halt> {
    let budget = Budget::new(run.spec.max_seconds, run.common.seconds_used);
    let device = device::parse(&run.common.device).map_err(anyhow::Error::msg)?;
    // Only after the device is known: CUDA has to be loaded before the first call to libtorch.
    tch::set_num_threads(run.common.threads.max(1) as i32);
    let card = bundle::read_card(&run.model)?;
    let data = read_data(run, &card)?;
    data.check_used_bits(&card.preprocessing)?;
    let mut heartbeat = Heartbeat::new(reporter, stop);
    let network = load(run, &card, device)?;
    reporter.send(&WorkerMessage::log(about(run, &card, &data)));
    let recipe = &card.preprocessing;
    let side = Side::of(recipe);
    let pack = setup::pack(
        &run.common.dataset,
        &data,
        side,
        dir,
        run.common.threads,
        &mut heartbeat,
    )?;
    let batches: Vec<&[Sample]> = data.val.chunks(run.spec.batch_size as usize).collect();
    let item = |sample: &Sample| Item::new(*sample, data.images[sample.image].id, View::PLAIN);
    let items = |batch: &&[Sample]| batch.iter().map(item).collect();
    let plain = Arc::new(Augmentation::new(&Augment::default(), 0, recipe));
    let threads = Loader::threads(device, run.common.threads);
    let mut loader = Loader::start(
        &Arc::new(pack),
        &plain,
        batches.iter().map(items).collect(),
        threads,
        device,
    );
    let mut logits = outputs::empty(card.classes.len(), data.label_sets.as_ref());
    let mut progress = ProgressReporter::new(reporter, batches.len());
    for samples in batches {
        heartbeat.beat()?;
        budget.check()?;
        let Some(batch) = loader.next()? else { break };
        let images = input::normalised(&batch.images, recipe, device);
        let outputs = network.logits(&images);
        outputs::append(&mut logits, &outputs, samples)?;
        progress.count(samples.len(), 1);
    }
    let subject = Subject {
        dataset: run.common.dataset.lineage.clone(),
        split: run.spec.split,
        classes: &card.classes,
        temperature: card.temperature,
        thresholds: &card.thresholds,
        tasks: &card.tasks,
    };
    let evaluation = Evaluation::of(&subject, &logits, outputs::images_of(&data));
    dir.write_compact_json(EVALUATION_FILE, &evaluation)?;
    let file = dir.artifact(EVALUATION_FILE)?;
    Ok(RunResult::Found(FoundResult::new(JobKind::Evaluate, file)))
}

/// The images to evaluate, with the classes of the model.
fn read_data(run: &EvaluateRun, card: &ModelCard) -> Result<Data, Halt> {
    let mut data = data::read_split(&run.common.dataset, &card.split(), run.spec.split, card.task)?;
    let place = |name: &String| card.classes.iter().position(|known| known == name);
    let places: Vec<Option<usize>> = run.common.dataset.classes.iter().map(place).collect();
    let class_of_model = |class: u32| match places[class as usize] {
        Some(class) => Ok(class as u32),
        None => {
            let name = &run.common.dataset.classes[class as usize];
            let message = format!("the model does not know the dataset's class {name}");
            Err(Halt::failed(FailureCode::InvalidData, message))
        }
    };
    if let Some(sets) = &data.label_sets {
        let of_model = |labels: &Vec<u32>| {
            let labels: Result<BTreeSet<u32>, Halt> =
                labels.iter().map(|label| class_of_model(*label)).collect();
            labels.map(|labels| labels.into_iter().collect())
        };
        let sets: Result<Vec<Vec<u32>>, Halt> = sets.iter().map(of_model).collect();
        data.label_sets = Some(Arc::new(sets?));
        return Ok(data);
    }
    for sample in &mut data.val {
        sample.class = class_of_model(sample.class)?;
    }
    Ok(data)
}

fn load(run: &EvaluateRun, card: &ModelCard, device: Device) -> Result<Folded, Halt> {
    let weights = bundle::read_weights(&run.model)?;
    let network = Network::loaded(card.architecture, card.outputs(), &weights, Device::Cpu)?;
    let (batch, side) = (i64::from(run.spec.batch_size), i64::from(card.preprocessing.crop));
    Ok(Folded::of(&network, Kind::Float, device).packed_for(batch, side))
}

fn about(run: &EvaluateRun, card: &ModelCard, data: &Data) -> String {
    format!(
        "evaluating a {} for {} classes on {} images (`{}`) of {} on {}",
        card.architecture,
        card.classes.len(),
        data.val.len(),
        run.spec.split.as_str(),
        run.common.dataset.lineage.name,
        run.common.device
    )
}
