//! What the child of a claimed job is to do, by the kind of the job: everything that the job names, looked up and checked again.

use super::{activations, bases, packs, verdict::Verdict, weights};
use crate::{
    domain::{
        datasets::dataset::Dataset,
        jobs::job::{FailureCode, JobError},
        models::model::{DatasetLineage, Model},
        spec::{JobSpec, KindSpec, Spec},
    },
    error::{Error, FieldError, Kind, Result},
    jobs::{
        children::{failure, paths::absolute},
        context::Context,
    },
    process,
    protocol::{
        CompareRun, CrossValidateRun, DatasetInput, JobRun, LabelCheckRun, LrFindRun, ModelRun, PretrainRun,
        RunSpec, Segment, TeacherFiles, TrainRun, frames::ModelFiles,
    },
    store::{ClaimedJob, StoredSegment, VersionFiles},
};

/// The run file of this attempt, or what becomes of the job where there can be none.
pub async fn prepare(context: &Context, job: &ClaimedJob) -> Result<RunSpec, Verdict> {
    let pinned = &job.dataset;
    let dataset = context
        .store
        .dataset_at(&pinned.id.to_string(), Some(pinned.version))
        .await;
    let dataset = match dataset {
        Err(error) if error.kind() == Kind::NotFound => {
            return Err(invalid("the job's dataset was deleted"));
        }
        dataset => dataset.map_err(|error| unreadable(job, &error))?,
    };
    Ok(match &job.spec {
        Spec::Train(spec) => RunSpec::Train(Box::new(training(context, job, spec, dataset).await?)),
        Spec::LrFind(spec) => RunSpec::LrFind(Box::new(LrFindRun {
            train: training(context, job, &spec.train, dataset).await?,
            lr_find: spec.lr_find.clone(),
        })),
        Spec::Evaluate(spec) => {
            RunSpec::Evaluate(with_model(context, job, spec.as_ref(), &spec.model, dataset).await?)
        }
        Spec::BatchPredict(spec) => {
            RunSpec::BatchPredict(with_model(context, job, spec.as_ref(), &spec.model, dataset).await?)
        }
        Spec::Compare(spec) => {
            let mut trainings = Vec::new();
            for training_spec in spec.trainings().map_err(|faults| refusal(&faults))? {
                trainings.push(training(context, job, &training_spec, dataset.clone()).await?);
            }
            RunSpec::Compare(Box::new(CompareRun {
                trainings,
                max_seconds: spec.max_seconds,
            }))
        }
        Spec::LabelCheck(spec) => {
            let train = spec.quick_training().map_err(|faults| refusal(&faults))?;
            RunSpec::LabelCheck(Box::new(LabelCheckRun {
                train: training(context, job, &train, dataset).await?,
                spec: spec.as_ref().clone(),
            }))
        }
        Spec::Pretrain(spec) => {
            let train = spec.training().map_err(|faults| refusal(&faults))?;
            RunSpec::Pretrain(Box::new(PretrainRun {
                train: training(context, job, &train, dataset).await?,
                spec: spec.as_ref().clone(),
            }))
        }
        Spec::CrossValidate(spec) => {
            let train = spec.quick_training().map_err(|faults| refusal(&faults))?;
            RunSpec::CrossValidate(Box::new(CrossValidateRun {
                train: training(context, job, &train, dataset).await?,
                spec: spec.as_ref().clone(),
            }))
        }
    })
}

async fn training(
    context: &Context,
    job: &ClaimedJob,
    spec: &JobSpec,
    dataset: Dataset,
) -> Result<TrainRun, Verdict> {
    refuse(job.spec.fields().dataset_faults(&dataset, None))?;
    let unlabelled = unlabelled_dataset(context, job, spec, &dataset).await?;
    let teachers = teachers(context, job, spec, &dataset).await?;
    let dataset = dataset_input(context, job, dataset).await?;
    let version = dataset.lineage.version_of();
    let weights = weights::resolve(context, &spec.backbone).await;
    let paths = context.paths.clone();
    let (id, attempt) = (job.id, job.attempt);
    let checkpoints = tokio::task::spawn_blocking(move || paths.checkpoints(id, attempt)).await;
    Ok(TrainRun {
        common: common(context, job, dataset),
        spec: spec.clone(),
        unlabelled,
        teachers,
        pretraining: match &job.spec {
            Spec::Pretrain(spec) => Some(spec.method),
            _ => None,
        },
        weights: weights.map_err(|error| unreadable(job, &error))?,
        checkpoints: checkpoints.unwrap_or_default(),
        activations: activations::known(context, version.id).await,
        max_activation_bytes: context.config.limits.max_activation_bytes,
        bases: bases::known(context, spec.backbone.architecture).await,
    })
}

/// The files of the dataset whose images go along with those of `dataset`.
async fn unlabelled_dataset(
    context: &Context,
    job: &ClaimedJob,
    spec: &JobSpec,
    dataset: &Dataset,
) -> Result<Option<DatasetInput>, Verdict> {
    let mut spec = spec.clone();
    let Some((pointer, reference)) = spec.unlabelled_dataset_mut() else {
        return Ok(None);
    };
    let second = match context.store.dataset(reference).await {
        Err(error) if error.kind() == Kind::NotFound => {
            return Err(invalid(&format!(
                "the dataset that `{pointer}` names was deleted"
            )));
        }
        second => second.map_err(|error| unreadable(job, &error))?,
    };
    let by_class = spec.domain_adaptation.is_some();
    refuse(
        second
            .faults_beside(dataset, pointer, by_class)
            .into_iter()
            .collect(),
    )?;
    dataset_input(context, job, second).await.map(Some)
}

/// The models that a training learns from.
async fn teachers(
    context: &Context,
    job: &ClaimedJob,
    spec: &JobSpec,
    dataset: &Dataset,
) -> Result<Vec<TeacherFiles>, Verdict> {
    let mut teachers = Vec::new();
    for reference in spec.distill.iter().flat_map(|distill| &distill.teacher) {
        let model = match context.store.model(reference).await {
            Err(error) if error.kind() == Kind::NotFound => {
                return Err(invalid("a model that the job learns from was deleted"));
            }
            model => model.map_err(|error| unreadable(job, &error))?,
        };
        refuse(
            spec.fault_of_teacher(&model, dataset, "/distill/teacher")
                .into_iter()
                .collect(),
        )?;
        teachers.push(TeacherFiles {
            model: model.id,
            files: model_files(context, job, model).await?,
        });
    }
    Ok(teachers)
}

/// A run that needs nothing but the dataset and a model.
async fn with_model<S: KindSpec + Clone>(
    context: &Context,
    job: &ClaimedJob,
    spec: &S,
    model: &str,
    dataset: Dataset,
) -> Result<Box<ModelRun<S>>, Verdict> {
    let model = find_model(context, job, model).await?;
    refuse(spec.dataset_faults(&dataset, Some(&model)))?;
    Ok(Box::new(ModelRun {
        common: common(context, job, dataset_input(context, job, dataset).await?),
        spec: spec.clone(),
        model: model_files(context, job, model).await?,
    }))
}

async fn find_model(context: &Context, job: &ClaimedJob, reference: &str) -> Result<Model, Verdict> {
    match context.store.model(reference).await {
        Err(error) if error.kind() == Kind::NotFound => Err(invalid("the job's model was deleted")),
        model => model.map_err(|error| unreadable(job, &error)),
    }
}

async fn model_files(context: &Context, job: &ClaimedJob, model: Model) -> Result<ModelFiles, Verdict> {
    let blobs = context.store.model_blobs(model.id).await;
    let blobs = blobs.map_err(|error| unreadable(job, &error))?;
    let path = |digest: &str| absolute(&context.blobs.path(digest));
    Ok(ModelFiles::of(
        &blobs.weights,
        &blobs.card,
        blobs.base.as_deref(),
        path,
    ))
}

async fn dataset_input(
    context: &Context,
    job: &ClaimedJob,
    dataset: Dataset,
) -> Result<DatasetInput, Verdict> {
    let files = context.store.version_files(dataset.id, dataset.version).await;
    let files = files.map_err(|error| unreadable(job, &error))?;
    let Some(files) = files else {
        let unready = failure::internal("the dataset is not ready");
        return Err(Verdict::Died(unready));
    };
    Ok(as_files(context, dataset, files).await)
}

/// The files of the version that `dataset` shows, for a child.
pub async fn as_files(context: &Context, dataset: Dataset, files: VersionFiles) -> DatasetInput {
    let segment = |files: &StoredSegment| segment_as_files(context, files);
    DatasetInput {
        packs: packs::known(context, dataset.id).await,
        lineage: DatasetLineage {
            id: dataset.id,
            name: dataset.name,
            version: dataset.version,
            sha256: dataset.sha256,
            content_sha256: dataset.content_sha256,
        },
        classes: dataset.classes.into_iter().map(|class| class.name).collect(),
        manifest: absolute(&context.blobs.path(&files.manifest)),
        manifest_sha256: files.manifest,
        segments: files.segments.iter().map(segment).collect(),
    }
}

/// A segment's files, for a child.
pub fn segment_as_files(context: &Context, files: &StoredSegment) -> Segment {
    let blob = |digest: &str| absolute(&context.blobs.path(digest));
    Segment {
        number: files.files.number,
        images: blob(&files.files.images),
        pack: blob(&files.files.pack),
        pack_sha256: files.files.pack.clone(),
        pack_side: files.files.pack_side,
    }
}

fn common(context: &Context, job: &ClaimedJob, dataset: DatasetInput) -> JobRun {
    JobRun {
        job: job.id,
        attempt: job.attempt,
        dataset,
        device: job.device.clone(),
        threads: process::threads(context.config.train_threads),
        seconds_used: job.milliseconds_used as f64 / 1000.0,
    }
}

fn refuse(faults: Vec<FieldError>) -> Result<(), Verdict> {
    if faults.is_empty() {
        return Ok(());
    }
    Err(refusal(&faults))
}

fn refusal(faults: &[FieldError]) -> Verdict {
    let messages: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
    invalid(&messages.join("; "))
}

fn invalid(message: &str) -> Verdict {
    Verdict::Failed(JobError::new(FailureCode::InvalidData, message))
}

fn unreadable(job: &ClaimedJob, error: &Error) -> Verdict {
    tracing::error!(job = %job.id, %error, "cannot prepare a job");
    Verdict::Died(failure::internal("the server could not prepare the job"))
}
