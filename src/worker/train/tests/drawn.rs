//! A small dataset that the tests draw themselves, as the files that ingest leaves, and a run over it.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Cursor, Write},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
};

use serde_json::json;
use tch::Device;
use tempfile::TempDir;

use crate::{
    domain::{
        datasets::split::Split,
        id::{DatasetId, JobId},
        models::{
            model::DatasetLineage,
            preprocessing::{Interpolation, UsedBits},
        },
        name::Name,
        random::{Draws, Stream},
        spec::{Architecture, JobSpec, Spec, Weights},
    },
    files::digest,
    protocol::{
        DatasetInput, JobRun, ManifestImage, PretrainRun, RunResult, Segment, TrainRun, WeightsSource,
        WorkerMessage,
    },
    worker::{
        files::state,
        nets::Network,
        pixels,
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
            stored::crc32,
        },
    },
};

pub const CLASSES: [&str; 3] = ["discs", "squares", "stripes"];
/// Side of the images that the runs train on.
pub const SIZE: u32 = 32;

/// A dataset on disk.
pub struct Drawn {
    folder: TempDir,
    pub input: DatasetInput,
    pub images: Vec<ManifestImage>,
}

impl Drawn {
    /// `count` images, class by class in turn, packed with the shorter side at `pack_side`; `part` says where each belongs.
    pub fn new(count: u32, pack_side: u32, part: impl Fn(u32) -> Split) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut files, mut pack, mut images) = (Vec::new(), Vec::new(), Vec::new());
        for id in 0..count {
            let class = id % CLASSES.len() as u32;
            let file = draw(id, class);
            let image = pixels::decode(&file, 1 << 20, UsedBits::ALL).unwrap();
            let (width, height) = (image.width, image.height);
            let packed = pixels::pack(image, pack_side, Interpolation::Bilinear);
            images.push(ManifestImage {
                id,
                segment: 0,
                path: format!("{}/{id}.png", CLASSES[class as usize]),
                class: Some(class),
                labels: None,
                split: part(id),
                sha256: digest::of_bytes(&file),
                offset: files.len() as u64,
                bytes: file.len() as u64,
                width,
                height,
                pack_offset: pack.len() as u64,
                pack_width: packed.width,
                pack_height: packed.height,
                pack_crc32: Some(crc32(&packed.rgb)),
                used_bits: None,
            });
            files.extend(file);
            pack.extend(packed.rgb);
        }
        let lines = images
            .iter()
            .map(|image| serde_json::to_string(image).unwrap() + "\n");
        let lines: String = lines.collect();
        let write = |name: &str, bytes: &[u8]| -> PathBuf {
            fs::write(folder.path().join(name), bytes).unwrap();
            folder.path().join(name)
        };
        let input = DatasetInput {
            lineage: DatasetLineage {
                id: DatasetId::new(),
                name: Name::parse("drawn").unwrap(),
                version: 1,
                sha256: "0".repeat(64),
                content_sha256: None,
            },
            classes: CLASSES.map(str::to_owned).to_vec(),
            manifest: write("manifest.jsonl", lines.as_bytes()),
            manifest_sha256: digest::of_bytes(lines.as_bytes()),
            segments: vec![Segment {
                number: 0,
                images: write("images.bin", &files),
                pack: write("pack.bin", &pack),
                pack_sha256: digest::of_bytes(&pack),
                pack_side,
            }],
            packs: Vec::new(),
        };
        Self {
            folder,
            input,
            images,
        }
    }

    /// Changes lines of the manifest.
    pub fn change(&mut self, change: impl Fn(&mut ManifestImage)) {
        self.images.iter_mut().for_each(change);
        let lines = self.images.iter().map(serde_json::to_string);
        let lines: String = lines.map(|line| line.unwrap() + "\n").collect();
        fs::write(&self.input.manifest, &lines).unwrap();
        self.input.manifest_sha256 = digest::of_bytes(lines.as_bytes());
    }

    /// All images in one part, packed as the runs want them.
    pub fn flat(count: u32) -> Self {
        Self::new(count, resize_to(), |_| Split::Train)
    }

    /// The same images without classes.
    pub fn unlabelled(mut self) -> Self {
        let mut lines = String::new();
        for image in &mut self.images {
            image.class = None;
            lines += &(serde_json::to_string(image).unwrap() + "\n");
        }
        fs::write(&self.input.manifest, &lines).unwrap();
        self.input.manifest_sha256 = digest::of_bytes(lines.as_bytes());
        self.input.classes.clear();
        self
    }

    /// The file of an image.
    pub fn file(&self, image: &ManifestImage) -> Vec<u8> {
        let files = fs::read(&self.input.segments[0].images).unwrap();
        files[image.offset as usize..][..image.bytes as usize].to_vec()
    }

    /// A run of a spec from base weights that all tests share; fields of `spec` override the defaults of these tests.
    pub fn run(&self, spec: serde_json::Value) -> TrainRun {
        let mut document = json!({
            "dataset": "drawn", "image": {"size": SIZE}, "batch_size": 8, "epochs": 2, "freeze": "none",
            "backbone": {"weights": "base.safetensors"}, "split": {"val": 0.25},
            "optimizer": {"lr": 0.02, "backbone_lr_multiplier": 1.0},
        });
        for (field, value) in spec.as_object().unwrap() {
            document[field] = value.clone();
        }
        let spec = JobSpec::parse(&document).unwrap();
        let weights = match spec.backbone.weights {
            Weights::None => WeightsSource::None,
            _ => WeightsSource::File {
                path: base_weights_of(spec.backbone.architecture),
                origin: "base.safetensors".into(),
                sha256: None,
                classes: None,
            },
        };
        TrainRun {
            common: common(self.input.clone()),
            spec,
            weights,
            unlabelled: None,
            teachers: Vec::new(),
            pretraining: None,
            checkpoints: Vec::new(),
            activations: Vec::new(),
            max_activation_bytes: 1 << 30,
            bases: Vec::new(),
        }
    }

    pub fn dir(&self, name: &str) -> RunDir {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        RunDir::new(path)
    }
}

/// The side that a spec of these tests resizes to.
pub fn resize_to() -> u32 {
    SIZE * 256 / 224
}

/// What an attempt said and how it ended.
pub struct Attempt {
    pub messages: Vec<WorkerMessage>,
    pub result: anyhow::Result<RunResult>,
}

/// Runs an attempt; `react` hears every message and may set the flag.
pub fn attempt(
    run: &TrainRun,
    dir: &RunDir,
    react: impl Fn(&WorkerMessage, &StopFlag) + Send + 'static,
) -> Attempt {
    let stop = StopFlag::default();
    let messages = Arc::new(Mutex::new(Vec::new()));
    let reporter = Reporter::to(Listener {
        messages: Arc::clone(&messages),
        stop: stop.clone(),
        react,
    });
    let result = match run.pretraining {
        None => super::super::run(run, dir, &reporter, &stop),
        Some(_) => super::super::pretrain(&pretrain_run(run), dir, &reporter, &stop),
    };
    let messages = messages.lock().unwrap().clone();
    Attempt { messages, result }
}

/// The run of a pretraining that is like this training.
fn pretrain_run(run: &TrainRun) -> PretrainRun {
    let document = json!({"kind": "pretrain", "dataset": "drawn"});
    match Spec::parse(&document).unwrap() {
        Spec::Pretrain(spec) => PretrainRun {
            train: run.clone(),
            spec: *spec,
        },
        other => panic!("it is of kind {}", other.kind().as_str()),
    }
}

/// Collects what is reported.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<Vec<u8>>>);

impl Told {
    pub fn messages(&self) -> Vec<WorkerMessage> {
        let told = self.0.lock().unwrap();
        let lines = told.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }
}

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn uninterrupted(run: &TrainRun, dir: &RunDir) -> Attempt {
    attempt(run, dir, |_, _| {})
}

struct Listener<F> {
    messages: Arc<Mutex<Vec<WorkerMessage>>>,
    stop: StopFlag,
    react: F,
}

impl<F: Fn(&WorkerMessage, &StopFlag)> Write for Listener<F> {
    /// The reporter writes one line at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let message = serde_json::from_slice(line)?;
        (self.react)(&message, &self.stop);
        self.messages.lock().unwrap().push(message);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Random ResNet-18 weights with a head of ten classes.
pub fn base_weights() -> PathBuf {
    base_weights_of(Architecture::Resnet18)
}

/// The same of another architecture; drawn once for all tests of the process.
pub fn base_weights_of(architecture: Architecture) -> PathBuf {
    static FILES: OnceLock<(TempDir, Mutex<BTreeSet<PathBuf>>)> = OnceLock::new();
    let (folder, files) = FILES.get_or_init(|| (tempfile::tempdir().unwrap(), Mutex::default()));
    let path = folder.path().join(format!("{architecture}.safetensors"));
    // Whoever comes second waits for the file to be whole.
    let mut files = files.lock().unwrap();
    if files.insert(path.clone()) {
        let network = Network::drawn(architecture, 10, 1, Device::Cpu);
        state::write(&path, network.state(), &Default::default()).unwrap();
    }
    path
}

/// A disc, a square or stripes in a colour of its own, on noise, somewhere in an image that is not square. PNG.
fn draw(id: u32, class: u32) -> Vec<u8> {
    let mut draws = Draws::at(3, Stream::SampleDataset, 0, u64::from(id));
    let (width, height) = (40 + draws.below(12) as u32, 40);
    let (x, y) = (draws.between(16.0, 24.0), draws.between(16.0, 24.0));
    let mut image = image::RgbImage::new(width, height);
    for (column, row, pixel) in image.enumerate_pixels_mut() {
        let (across, down) = (f64::from(column) - x, f64::from(row) - y);
        let inside = match class {
            0 => across.hypot(down) < 12.0,
            1 => across.abs().max(down.abs()) < 10.0,
            _ => (column / 4) % 2 == 0,
        };
        for (channel, value) in pixel.0.iter_mut().enumerate() {
            let colour = if channel == class as usize { 220.0 } else { 60.0 };
            let base = if inside { colour } else { 110.0 };
            *value = (base + draws.between(-30.0, 30.0)) as u8;
        }
    }
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

/// A first attempt on two threads.
pub fn common(dataset: DatasetInput) -> JobRun {
    JobRun {
        job: JobId::new(),
        attempt: 1,
        dataset,
        device: "cpu".into(),
        threads: 2,
        seconds_used: 0.0,
    }
}
