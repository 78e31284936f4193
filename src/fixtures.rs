//! For tests only: a data directory with rows in it, and shell or Python scripts that stand in for the worker program.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::unix::pipe};

use crate::{
    blobs::Blobs,
    config::Config,
    domain::{
        access::Holder,
        datasets::{
            dataset::{Class, Dataset, Layout, ReportSummary},
            reading::ReadOptions,
            split::SplitCounts,
        },
        id::{DatasetId, JobId},
        jobs::job::{Job, StopReason},
        models::model::{DatasetLineage, Model, ModelCard, ModelMetrics},
        name::Name,
        spec::{JobSpec, Spec},
    },
    files::digest,
    limits::Limits,
    protocol::{Artifact, BulkFile, IngestResult},
    store::{CreatedDataset, CreatedJob, NewDataset, NewJob, NewModel, SegmentFiles, Store, Topic},
};

/// Longest time that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A data directory with its store and blobs.
pub struct Stand {
    pub folder: TempDir,
    pub config: Config,
    pub store: Store,
    pub blobs: Blobs,
}

impl Stand {
    pub async fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap()).await
    }

    pub async fn in_folder(folder: TempDir) -> Self {
        let data_dir = folder.path().join("data");
        let blobs = Blobs::open(&data_dir).unwrap();
        let store = Store::open(&data_dir.join("finetuned.db")).await.unwrap();
        let mut config = Config::for_data_dir(data_dir);
        config.limits = Limits {
            step_deadline_seconds: 30,
            load_deadline_seconds: 30,
            stop_grace_seconds: 10,
            ..Limits::DEFAULT
        };
        Self {
            folder,
            config,
            store,
            blobs,
        }
    }

    /// The folder beside the data directory where a stand-in lies and leaves its traces.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes an executable script. Another process does the writing: while one of ours held the file open, a child that another
    /// test starts in this moment would hold it too, and then the kernel refuses to run it.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.beside(name);
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 700 \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        path
    }

    /// Makes the pipe beside the data directory; ask for it before the stand-in is started.
    pub fn lifeline(&self) -> Lifeline {
        let path = self.beside("lifeline");
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        Lifeline(pipe::OpenOptions::new().open_receiver(path).unwrap())
    }

    /// A dataset that can train, with blobs that only rows know of.
    pub async fn dataset(&self, name: &str) -> Dataset {
        self.dataset_of(name, &["ants", "bees"]).await
    }

    pub async fn dataset_of(&self, name: &str, classes: &[&str]) -> Dataset {
        let id = self.upload(name, digest::of_bytes(name.as_bytes())).await;
        self.read_as(id, classes).await
    }

    /// Reads the one dataset that waits for it.
    pub async fn read(&self, id: DatasetId) -> Dataset {
        self.read_as(id, &["ants", "bees"]).await
    }

    async fn read_as(&self, id: DatasetId, classes: &[&str]) -> Dataset {
        let claimed = self.store.claim_dataset(Vec::new()).await.unwrap().unwrap();
        assert_eq!(claimed.id, id);
        let class = |(index, name): (usize, &&str)| Class {
            name: (*name).to_owned(),
            index: index as u32,
            images: 10,
            splits: Some(SplitCounts {
                train: 10,
                ..SplitCounts::default()
            }),
        };
        let result = IngestResult {
            layout: Layout::Flat,
            images: 10 * classes.len() as u64,
            classes: classes.iter().enumerate().map(class).collect(),
            splits: SplitCounts {
                train: 10 * classes.len() as u64,
                ..SplitCounts::default()
            },
            several_labels: 0,
            content_sha256: digest::of_bytes(classes.concat().as_bytes()),
            report: ReportSummary::default(),
            manifest: artifact("manifest"),
            images_file: bulk_file("images"),
            pack: bulk_file("pack"),
            report_entries: artifact("report"),
        };
        let segment = SegmentFiles {
            number: 0,
            images: artifact("images").sha256,
            pack: artifact("pack").sha256,
            pack_bytes: result.pack.bytes,
            pack_side: 256,
        };
        assert!(
            self.store
                .finish_dataset(&claimed, result, segment)
                .await
                .unwrap()
        );
        self.store.dataset(&id.to_string()).await.unwrap()
    }

    /// A dataset that waits to be read.
    pub async fn upload(&self, name: &str, sha256: String) -> DatasetId {
        let new = NewDataset {
            options: ReadOptions::default(),
            name: Name::parse(name).unwrap().into(),
            sha256,
            bytes: 7,
            owner: None,
        };
        match self.store.create_dataset(new).await.unwrap() {
            CreatedDataset::Created(id) | CreatedDataset::Existing(id) => id,
        }
    }

    /// Submits a job; `spec` is what a caller would send, less its dataset.
    pub async fn submit(&self, dataset: &Dataset, spec: serde_json::Value) -> JobId {
        self.submit_as(None, dataset, spec).await
    }

    /// The same with a key.
    pub async fn submit_as(
        &self,
        owner: Option<&Holder>,
        dataset: &Dataset,
        mut spec: serde_json::Value,
    ) -> JobId {
        spec["dataset"] = json!(dataset.id.to_string());
        let spec = Spec::parse(&spec).unwrap();
        let name = match spec.training() {
            Some(training) => training.model_name(&dataset.name),
            None => Name::parse("measured").unwrap(),
        };
        let new = NewJob {
            name,
            spec,
            dataset: crate::domain::jobs::job::DatasetVersion {
                id: dataset.id,
                version: dataset.version,
                content_sha256: dataset.content_sha256.clone(),
            },
            owner: owner.cloned(),
            max_queued: 100,
            key: None,
            trace: None,
        };
        match self.store.create_job(new).await.unwrap() {
            CreatedJob::Created(id) | CreatedJob::Repeated(id) => id,
        }
    }

    /// Waits until a job is as a test wants it.
    pub async fn until(&self, job: JobId, wanted: impl Fn(&Job) -> bool) -> Job {
        let mut changed = self.store.signals().subscribe(Topic::Job(job));
        let wait = async {
            loop {
                let row = self.store.job(&job.to_string()).await.unwrap();
                if wanted(&row) {
                    return row;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(row) => row,
            Err(_) => panic!(
                "the job stayed as it is: {:#?}",
                self.store.job(&job.to_string()).await
            ),
        }
    }

    /// Waits until a dataset is as a test wants it.
    pub async fn until_dataset(&self, id: DatasetId, wanted: impl Fn(&Dataset) -> bool) -> Dataset {
        let mut changed = self.store.signals().subscribe(Topic::Dataset(id));
        let wait = async {
            loop {
                let row = self.store.dataset(&id.to_string()).await.unwrap();
                if wanted(&row) {
                    return row;
                }
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("the dataset stayed as it is")
    }

    /// A finished model whose files are not there.
    pub async fn model(&self) -> Model {
        let dataset = self.dataset("trained-on").await;
        let job = self.submit(&dataset, json!({"name": "insects"})).await;
        let free = vec!["cpu".to_owned()];
        let claimed = self.store.claim_job(free, false).await.unwrap().unwrap();
        assert_eq!(claimed.id, job);
        let new = NewModel {
            name: Name::parse("insects").unwrap(),
            card: card(claimed.spec.training().unwrap(), &dataset),
            sha256: digest::of_bytes(b"weights"),
            bytes: 7,
            card_blob: digest::of_bytes(b"card"),
            evaluation_blob: None,
        };
        let completed = self.store.complete_job(job, 1, new, StopReason::Completed).await;
        let id = completed.unwrap().unwrap();
        self.store.model(&id.to_string()).await.unwrap()
    }
}

/// The holder of a key that nobody made.
pub fn holder(name: &str) -> Holder {
    Holder {
        id: crate::domain::id::KeyId::new(),
        name: Name::parse(name).unwrap(),
    }
}

/// Waits for something that must happen soon.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it did not happen")
}

/// The reading end of a pipe that a stand-in and everything it starts hold open: `exec 9> "$here/lifeline"; echo >&9`.
pub struct Lifeline(pipe::Receiver);

impl Lifeline {
    /// Waits for the line that says that somebody holds it.
    pub async fn begun(&mut self) {
        assert_eq!(soon(self.0.read(&mut [0; 1])).await.unwrap(), 1);
    }

    /// Waits until nobody lives any more who held it.
    pub async fn ended(mut self) {
        let mut rest = Vec::new();
        soon(self.0.read_to_end(&mut rest)).await.unwrap();
    }
}

pub fn card(spec: &JobSpec, dataset: &Dataset) -> ModelCard {
    ModelCard {
        format: ModelCard::FORMAT,
        architecture: spec.backbone.architecture,
        head: crate::domain::architecture::Head::Linear,
        classes: dataset.classes.iter().map(|class| class.name.clone()).collect(),
        task: spec.task,
        thresholds: Vec::new(),
        tasks: Vec::new(),
        preprocessing: spec.preprocessing(),
        spec: Some(spec.clone()),
        pretraining: None,
        adapter: None,
        metrics: Some(ModelMetrics {
            epoch: 2,
            train_loss: 0.5,
            train_accuracy: 0.75,
            val_loss: Some(0.25),
            val_accuracy: Some(0.875),
            val_map: None,
            train_images: 16,
            val_images: 4,
            test_images: 0,
        }),
        dataset: Some(DatasetLineage {
            id: dataset.id,
            name: dataset.name.clone(),
            version: dataset.version,
            sha256: dataset.sha256.clone(),
            content_sha256: dataset.content_sha256.clone(),
        }),
        base_weights: "none".to_owned(),
        base_weights_sha256: None,
        base_weights_guessed: false,
        program: "a stand-in".to_owned(),
        libtorch: "none".to_owned(),
        temperature: 1.0,
    }
}

fn bulk_file(name: &str) -> BulkFile {
    BulkFile {
        file: name.to_owned(),
        bytes: name.len() as u64,
    }
}

fn artifact(name: &str) -> Artifact {
    Artifact {
        file: name.to_owned(),
        sha256: digest::of_bytes(name.as_bytes()),
        bytes: name.len() as u64,
    }
}
