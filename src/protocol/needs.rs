//! What a run needs of the world: the files that it reads, the weights that it may have to fetch, its device. Everything else is closed to it
//! (`process::sandbox`), so a path that is added to a run must be added here.

use std::path::{Path, PathBuf};

use super::{
    DatasetInput, HubSource, RegistrySource, RunSpec, Segment, TrainRun, WeightsSource, WeightsTask,
    frames::ModelFiles,
};

impl RunSpec {
    /// The files that it reads, besides those in its directory. Some may not be there.
    pub fn reads(&self) -> Vec<PathBuf> {
        let mut paths = Paths::default();
        match self {
            RunSpec::Ingest(run) => paths.add(&run.archive),
            RunSpec::Evaluate(run) => paths.add_dataset(&run.common.dataset).add_model(&run.model),
            RunSpec::BatchPredict(run) => paths.add_dataset(&run.common.dataset).add_model(&run.model),
            RunSpec::Preview(run) => {
                let paths = paths.add_dataset(&run.dataset);
                match &run.hub {
                    Some(hub) => paths.add(&hub.cache),
                    None => paths,
                }
            }
            RunSpec::Thumbnails(run) => paths.add_segment(&run.segment),
            RunSpec::Import(run) => paths.add(&run.file),
            RunSpec::Export(run) => paths.add_model(&run.model),
            RunSpec::Weights(run) => match &run.task {
                WeightsTask::Fetch { source, .. } => paths.add_weights(source),
                WeightsTask::Verify { path, .. } => paths.add_with_digest(path),
            },
            RunSpec::Train(_)
            | RunSpec::LrFind(_)
            | RunSpec::Compare(_)
            | RunSpec::LabelCheck(_)
            | RunSpec::CrossValidate(_)
            | RunSpec::Pretrain(_) => &mut paths,
        };
        for training in self.trainings() {
            paths.add_training(training);
        }
        paths.0
    }

    /// The trainings that it consists of.
    pub fn trainings(&self) -> Vec<&TrainRun> {
        match self {
            RunSpec::Train(run) => vec![run],
            RunSpec::LrFind(run) => vec![&run.train],
            RunSpec::Compare(run) => run.trainings.iter().collect(),
            RunSpec::LabelCheck(run) => vec![&run.train],
            RunSpec::CrossValidate(run) => vec![&run.train],
            RunSpec::Pretrain(run) => vec![&run.train],
            _ => Vec::new(),
        }
    }

    pub fn trainings_mut(&mut self) -> Vec<&mut TrainRun> {
        match self {
            RunSpec::Train(run) => vec![run],
            RunSpec::LrFind(run) => vec![&mut run.train],
            RunSpec::Compare(run) => run.trainings.iter_mut().collect(),
            RunSpec::LabelCheck(run) => vec![&mut run.train],
            RunSpec::CrossValidate(run) => vec![&mut run.train],
            RunSpec::Pretrain(run) => vec![&mut run.train],
            _ => Vec::new(),
        }
    }

    /// Whether it computes on a GPU.
    pub fn uses_a_card(&self) -> bool {
        self.device().is_some_and(|device| device.starts_with("cuda"))
    }

    /// The device that it computes on; none where it computes little.
    pub fn device(&self) -> Option<&str> {
        let job = match self {
            RunSpec::Evaluate(run) => Some(&run.common),
            RunSpec::BatchPredict(run) => Some(&run.common),
            _ => None,
        };
        let trainings = self.trainings().into_iter().map(|training| &training.common);
        let mut all = job.into_iter().chain(trainings);
        all.next().map(|common| common.device.as_str())
    }
}

impl WeightsSource {
    /// The caches that it is fetched into.
    pub fn caches(&self) -> Vec<&Path> {
        let (hub, registry) = self.sources();
        let hub = hub.map(|hub| hub.cache.as_path());
        hub.into_iter()
            .chain(registry.map(|registry| registry.cache.as_path()))
            .collect()
    }

    /// Whether it may have to be fetched.
    pub fn is_remote(&self) -> bool {
        !self.caches().is_empty()
    }

    /// Certificate authorities of the registry, if it names any.
    pub fn certificates(&self) -> Option<&Path> {
        self.sources().1?.access.as_ref()?.certificates.as_deref()
    }

    fn sources(&self) -> (Option<&HubSource>, Option<&RegistrySource>) {
        match self {
            WeightsSource::Hub(hub) => (Some(hub), None),
            WeightsSource::Registry(registry) => (None, Some(registry)),
            WeightsSource::HubOrRegistry { hub, registry } => (Some(hub), Some(registry)),
            WeightsSource::None
            | WeightsSource::File { .. }
            | WeightsSource::Adapter { .. }
            | WeightsSource::Unavailable { .. } => (None, None),
        }
    }
}

#[derive(Default)]
struct Paths(Vec<PathBuf>);

impl Paths {
    fn add(&mut self, path: &Path) -> &mut Self {
        self.0.push(path.to_owned());
        self
    }

    /// The digest of an operator's file may be in one beside it.
    fn add_with_digest(&mut self, path: &Path) -> &mut Self {
        self.add(path).add(&path.with_added_extension("sha256"))
    }

    fn add_segment(&mut self, segment: &Segment) -> &mut Self {
        self.add(&segment.images).add(&segment.pack)
    }

    fn add_dataset(&mut self, dataset: &DatasetInput) -> &mut Self {
        self.add(&dataset.manifest);
        for segment in &dataset.segments {
            self.add_segment(segment);
        }
        for pack in &dataset.packs {
            self.add(&pack.path);
        }
        self
    }

    fn add_model(&mut self, files: &ModelFiles) -> &mut Self {
        self.add(&files.weights).add(&files.card);
        match &files.base {
            Some(base) => self.add(&base.path),
            None => self,
        }
    }

    fn add_weights(&mut self, source: &WeightsSource) -> &mut Self {
        match source {
            WeightsSource::File { path, .. } => self.add_with_digest(path),
            WeightsSource::Adapter { files, .. } => self.add_model(files),
            remote => {
                for cache in remote.caches() {
                    self.add(cache);
                }
                self
            }
        }
    }

    fn add_training(&mut self, run: &TrainRun) -> &mut Self {
        self.add_dataset(&run.common.dataset).add_weights(&run.weights);
        if let Some(unlabelled) = &run.unlabelled {
            self.add_dataset(unlabelled);
        }
        for teacher in &run.teachers {
            self.add_model(&teacher.files);
        }
        for checkpoint in &run.checkpoints {
            self.add(checkpoint);
        }
        for activations in &run.activations {
            self.add(&activations.path);
        }
        for base in &run.bases {
            self.add(&base.file.path);
        }
        self
    }
}
