//! A job of kind `batch-predict`: a model's prediction for every image of a dataset, or of one split of it, as rows in two files. Every
//! attempt starts over.
//!
//! ```text
//! manifest -> lanes (pixels; on a CPU also the network) -> (on a GPU the network) -> rows
//! ```
//! Whatever the dataset's size, only a limited number of images is in memory. Rows come in the dataset's order. Predictions are those of
//! `predict` for the same file: the same pixels ([`reader`]), the same folded network, the same arithmetic.

mod lanes;
mod network;
mod reader;
mod rows;

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use tch::Device;

pub use self::network::Place;
use self::{
    lanes::{Lanes, Work},
    network::{Classifier, Item},
    reader::ImageReader,
    rows::Rows,
};
use super::budget::Budget;
use crate::{
    domain::{datasets::split::Split, models::model::ModelCard, spec::EvaluatedSplit},
    protocol::{BatchPredictRun, ManifestImage, PredictedResult, RunResult, WorkerMessage},
    worker::{
        device,
        files::bundle,
        nets::{Network, folded::Folded},
        predict,
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
        train::{
            input::{damages::Damages, data},
            progress::{halt::Halt, pulse::Heartbeat, reporter::ProgressReporter},
        },
    },
};

pub fn batch_predict(
    run: &BatchPredictRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<RunResult, Halt> {
    let device = device::parse(&run.common.device).map_err(anyhow::Error::msg)?;
    classify(run, Place::of(device), dir, reporter, stop)
}

pub fn classify(
    run: &BatchPredictRun,
    place: Place,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<RunResult, Halt> {
    let budget = Budget::new(run.spec.max_seconds, run.common.seconds_used);
    // Only after the device is known: CUDA has to be loaded before the first call to libtorch. Lanes have a core each.
    tch::set_num_threads(1);
    let card = bundle::read_card(&run.model)?;
    data::check_manifest(&run.common.dataset)?;
    let selection = Selection::of(run, &card)?;
    let mut heartbeat = Heartbeat::new(reporter, stop);
    let network = load(run, &card, place.device)?;
    let mut classifier = Classifier::new(network, &card, place, run.spec.batch_size);
    reporter.send(&WorkerMessage::log(about(run, &card, selection.images)));
    let damages = Damages::new(dir, reporter);
    let reader = ImageReader::open(&run.common.dataset, &card.preprocessing, &damages)?;
    let mut rows = Rows::create(
        dir,
        &run.common.dataset.classes,
        card.task,
        run.spec.top_k.min(card.classes.len() as u32),
    )?;
    let mut progress = ProgressReporter::new(reporter, selection.images);
    let work = Work {
        reader: &reader,
        classifier: place.in_lanes.then(|| classifier.share()),
        stop,
    };
    let count = run.common.threads.max(1) as usize;
    Lanes::run(&work, count, &mut heartbeat, |lanes| {
        let mut images = selection.read(&run.common.dataset.manifest)?;
        // If the lanes do not compute: images waiting for a full batch.
        let mut waiting: Vec<Item> = Vec::new();
        loop {
            let ready = lanes.next(&mut images)?;
            budget.check()?;
            let is_last = ready.is_none();
            waiting.extend(ready.into_iter().flatten());
            if !place.in_lanes {
                if waiting.len() < run.spec.batch_size as usize && !is_last {
                    continue;
                }
                classify_batch(&mut classifier, &mut waiting, reporter)?;
            }
            for item in &waiting {
                rows.write(item, &card, selection.split(&item.image))?;
            }
            if !waiting.is_empty() {
                progress.count(waiting.len(), waiting.len());
                waiting.clear();
            }
            if is_last {
                return Ok(());
            }
        }
    })?;
    let (images, errors) = (rows.images(), rows.errors());
    let (jsonl, csv) = rows.finish()?;
    if errors > 0 {
        let message = format!("{errors} of {images} images have no prediction; their rows say why");
        reporter.send(&WorkerMessage::warning("images_without_prediction", message));
    }
    Ok(RunResult::Predicted(Box::new(PredictedResult {
        images,
        errors,
        jsonl: dir.artifact(jsonl)?,
        csv: dir.artifact(csv)?,
    })))
}

/// Tries smaller batches if memory does not suffice, with a warning.
fn classify_batch(
    classifier: &mut Classifier,
    waiting: &mut [Item],
    reporter: &Reporter,
) -> Result<(), Halt> {
    let limit = classifier.limit();
    classifier.classify(waiting)?;
    if classifier.limit() < limit {
        let message = format!(
            "not enough memory for batches of {limit} images; they go through the network {} at a time",
            classifier.limit()
        );
        reporter.send(&WorkerMessage::warning("batch_halved", message));
    }
    Ok(())
}

/// The network as in `predict`: folded, and compared with the original.
fn load(run: &BatchPredictRun, card: &ModelCard, device: Device) -> Result<Folded, Halt> {
    let weights = bundle::read_weights(&run.model)?;
    let network = Network::loaded(card.architecture, card.outputs(), &weights, Device::Cpu)?;
    let (batch, side) = (i64::from(run.spec.batch_size), i64::from(card.preprocessing.crop));
    Ok(predict::packed(&network, device, batch, side).map_err(anyhow::Error::msg)?)
}

fn about(run: &BatchPredictRun, card: &ModelCard, images: usize) -> String {
    format!(
        "a {} for {} classes classifies {images} images (`{}`) of {} on {}",
        card.architecture,
        card.classes.len(),
        run.spec.split.as_str(),
        run.common.dataset.lineage.name,
        run.common.device
    )
}

/// Which images are classified.
struct Selection {
    wanted: EvaluatedSplit,
    /// By index in the manifest; none if all are selected.
    chosen: Option<Vec<bool>>,
    images: usize,
}

impl Selection {
    /// # Errors
    /// `invalid_data` if there are none.
    fn of(run: &BatchPredictRun, card: &ModelCard) -> Result<Self, Halt> {
        let wanted = run.spec.split;
        let selection = if wanted == EvaluatedSplit::All {
            Self {
                wanted,
                chosen: None,
                images: count_lines(&run.common.dataset.manifest)?,
            }
        } else {
            let splits = data::splits(&run.common.dataset, &card.split())?;
            let chosen: Vec<bool> = splits.into_iter().map(|split| wanted.includes(split)).collect();
            Self {
                wanted,
                images: chosen.iter().filter(|chosen| **chosen).count(),
                chosen: Some(chosen),
            }
        };
        if selection.images == 0 {
            return Err(data::empty_split(wanted));
        }
        Ok(selection)
    }

    fn read(&self, manifest: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<ManifestImage>>> {
        let images = data::manifest(manifest)?.enumerate();
        let is_chosen = |place: usize| self.chosen.as_ref().is_none_or(|chosen| chosen[place]);
        let chosen = images.filter(move |(place, image)| image.is_err() || is_chosen(*place));
        Ok(chosen.map(|(_, image)| image))
    }

    /// The split reported for an image: the one it was selected for, or its split in the dataset.
    fn split(&self, image: &ManifestImage) -> Split {
        match self.wanted {
            EvaluatedSplit::Train => Split::Train,
            EvaluatedSplit::Val => Split::Val,
            EvaluatedSplit::Test => Split::Test,
            EvaluatedSplit::All => image.split,
        }
    }
}

fn count_lines(path: &Path) -> io::Result<usize> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut lines = 0;
    while reader.skip_until(b'\n')? > 0 {
        lines += 1;
    }
    Ok(lines)
}
