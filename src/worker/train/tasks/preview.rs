//! Runs of kind `preview`: a contact sheet of what a job would train on, drawn by the same code as in training.
//!
//! A row for each image: as in prediction, then as in the first epochs of the job. Nothing is trained here.

use std::{borrow::Cow, sync::Arc};

use anyhow::Context;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use tch::{Device, Kind, Tensor};

use crate::{
    domain::{datasets::split::Split, jobs::job::FailureCode, models::preprocessing::Interpolation},
    protocol::{Artifact, PreviewRun, RunResult},
    worker::{
        augment::{Augmentation, View},
        pixels::{self, Image},
        process::{
            child::{Reporter, StopFlag, Stopped},
            run_dir::RunDir,
        },
        train::{
            input::{
                data::{self, Data, Sample},
                loader::{Item, Loader},
                mixing,
            },
            plan::Plan,
            progress::{halt::Halt, pulse::Heartbeat},
            setup,
        },
    },
};

/// Name of the sheet in the run directory.
const SHEET_FILE: &str = "sheet.png";
/// Longest side of an image on the sheet; larger ones are scaled down.
const CELL: u32 = 192;
/// White between the images.
const GAP: u32 = 4;

/// Draws the sheet that `run` asks for into `dir`.
///
/// # Errors
/// [`Stopped`] once `stop` is set; anything else is a bug or a fault of the machine.
pub fn preview(
    run: &PreviewRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<RunResult> {
    tch::set_num_threads(run.threads.max(1) as i32);
    let drawn =
        described(run, reporter, stop).and_then(|run| draw(&run, dir, &mut Heartbeat::new(reporter, stop)));
    match drawn {
        Ok(sheet) => Ok(RunResult::Previewed { sheet }),
        Err(Halt::Failed(error)) => Ok(RunResult::Failed(error)),
        Err(Halt::Stopped) => Err(Stopped.into()),
        Err(Halt::Broken(error)) => Err(error),
    }
}

/// The run with a complete spec, see [`setup::described`].
fn described<'a>(
    run: &'a PreviewRun,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<Cow<'a, PreviewRun>, Halt> {
    let Some(hub) = &run.hub else {
        return Ok(Cow::Borrowed(run));
    };
    let mut run = run.clone();
    setup::complete(&mut run.spec.job, hub, reporter, stop)?;
    Ok(Cow::Owned(run))
}

fn draw(run: &PreviewRun, dir: &RunDir, heartbeat: &mut Heartbeat) -> Result<Artifact, Halt> {
    let (job, recipe) = (&run.spec.job, run.spec.job.preprocessing());
    let data = chosen(run)?;
    let plan = Plan::new(job, data.train.iter().map(|sample| sample.class).collect());
    let pack = setup::pack(&run.dataset, &data, setup::side(job), dir, run.threads, heartbeat)?;
    let column = |view: &dyn Fn(u32) -> View| -> Vec<Item> {
        let item = |sample: &Sample| {
            let id = data.images[sample.image].id;
            Item::new(*sample, id, view(id))
        };
        data.train.iter().map(item).collect()
    };
    let mut columns = vec![column(&|_| View::PLAIN)];
    columns.extend((1..=run.spec.views).map(|epoch| column(&|id| plan.views.at(epoch, id))));
    let augmentation = Arc::new(Augmentation::new(&job.augment, job.seed, &recipe));
    let mut sheet = Sheet::new(data.train.len() as u32, columns.len() as u32, recipe.crop);
    let mut loader = Loader::start(
        &Arc::new(pack),
        &augmentation,
        columns,
        run.threads as usize,
        Device::Cpu,
    );
    let mut column = 0;
    while let Some(batch) = loader.next()? {
        heartbeat.beat()?;
        let mut images = batch.images;
        if column > 0
            && let Some(mix) = plan.mixes.at(column, 0, recipe.crop)
        {
            images = mixing::mixed(&images, &mix).round().to_kind(Kind::Uint8);
        }
        for row in 0..data.train.len() as u32 {
            sheet.put(row, column, &image(&images, row, recipe.crop)?);
        }
        column += 1;
    }
    let sheet = sheet.image;
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&sheet.rgb, sheet.width, sheet.height, ExtendedColorType::Rgb8)
        .context("cannot encode the sheet")?;
    std::fs::write(dir.file(SHEET_FILE), png)?;
    Ok(dir.artifact(SHEET_FILE)?)
}

/// The requested number of images, evenly spread over the dataset's training images (which are sorted by class), or over all images if it
/// has none.
fn chosen(run: &PreviewRun) -> Result<Data, Halt> {
    let images = data::read_manifest(&run.dataset)?;
    let part = |wanted: Option<Split>| -> Vec<usize> {
        let fits = |image: &usize| wanted.is_none_or(|wanted| images[*image].split == wanted);
        (0..images.len()).filter(fits).collect()
    };
    let train = part(Some(Split::Train));
    let from = if train.is_empty() { part(None) } else { train };
    if from.is_empty() {
        return Err(Halt::failed(
            FailureCode::InvalidData,
            "the dataset has no images",
        ));
    }
    let count = from.len().min(run.spec.images as usize);
    let sample = |place: usize| {
        let image = from[place * from.len() / count];
        Sample { image, class: 0 }
    };
    Ok(Data {
        train: (0..count).map(sample).collect(),
        val: Vec::new(),
        test: 0,
        images: Arc::new(images),
        label_sets: None,
    })
}

/// One of images `[N, side, side, 3]`, u8.
fn image(images: &Tensor, row: u32, side: u32) -> anyhow::Result<Image> {
    Ok(Image {
        width: side,
        height: side,
        rgb: Vec::try_from(images.get(row.into()).reshape([-1]))?,
    })
}

/// Images of one size in rows and columns, separated by white gaps.
struct Sheet {
    cell: u32,
    image: Image,
}

impl Sheet {
    fn new(rows: u32, columns: u32, side: u32) -> Self {
        let cell = side.min(CELL);
        let length = |count: u32| count * (cell + GAP) - GAP;
        let (width, height) = (length(columns), length(rows));
        Self {
            cell,
            image: Image {
                width,
                height,
                rgb: vec![255; pixels::byte_count(width, height) as usize],
            },
        }
    }

    fn put(&mut self, row: u32, column: u32, image: &Image) {
        let small = pixels::resize(image, self.cell, self.cell, Interpolation::Bilinear);
        let (left, top) = (
            (column * (self.cell + GAP)) as usize,
            (row * (self.cell + GAP)) as usize,
        );
        let (width, row_bytes) = (self.image.width as usize, self.cell as usize * 3);
        for (row, pixels) in small.rgb.chunks_exact(row_bytes).enumerate() {
            let to = ((top + row) * width + left) * 3;
            self.image.rgb[to..to + row_bytes].copy_from_slice(pixels);
        }
    }
}
