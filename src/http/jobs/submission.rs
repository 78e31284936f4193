//! From a caller's JSON to a job that can run as far as anyone can tell now: the spec itself, and everything that it names.

use crate::{
    domain::{
        datasets::dataset::{Dataset, DatasetStatus},
        models::model::Model,
        name::Name,
        spec::{Backbone, Circumstances, JobSpec, Spec, Weights},
    },
    error::{Error, FieldError, Kind, Result},
    http::{App, access::Allowed},
};

/// What a caller asked for, checked.
pub struct Submission {
    pub spec: Spec,
    pub name: Name,
    pub dataset: Dataset,
}

/// # Errors
/// Every fault of the spec at once, `key-limited` if it names what the caller's key may not use, or what keeps the database from being asked.
pub async fn check(app: &App, allowed: &Allowed, document: &serde_json::Value) -> Result<Submission> {
    let circumstances = circumstances(app, allowed, document).await?;
    let mut spec = match Spec::parse_in(document, circumstances.as_ref()) {
        Ok(spec) => spec,
        Err(mut faults) => {
            // A dataset that is not there is named together with everything else.
            if let Some(name) = document.get("dataset").and_then(|name| name.as_str()) {
                faults.extend(find_dataset(app, allowed, name).await?.err());
            }
            return Err(refusal(faults));
        }
    };
    let mut faults = Vec::new();
    let found = find_dataset(app, allowed, spec.dataset()).await?;
    let model = match spec.fields_mut().model_mut() {
        Some(reference) => pinned_model(app, allowed, "/model", reference, &mut faults).await?,
        None => None,
    };
    for (pointer, backbone) in spec.fields_mut().backbones_mut() {
        pin_base_weights(app, allowed, &pointer, backbone, &mut faults).await?;
    }
    let training = spec.fields_mut().training_mut();
    if let Some((pointer, reference)) = training.and_then(JobSpec::unlabelled_dataset_mut) {
        pin_unlabelled_dataset(app, allowed, pointer, reference, found.as_ref().ok(), &mut faults).await?;
    }
    let mut teachers = Vec::new();
    for (pointer, reference) in spec.fields_mut().teachers_mut() {
        teachers.push((
            pinned_model(app, allowed, &pointer, reference, &mut faults).await?,
            pointer,
        ));
    }
    if let (Some(training), Ok(dataset)) = (spec.training(), &found) {
        let each = teachers
            .iter()
            .filter_map(|(teacher, pointer)| training.fault_of_teacher(teacher.as_ref()?, dataset, pointer));
        faults.extend(each);
    }
    if let Ok(dataset) = &found {
        faults.extend(spec.fields().dataset_faults(dataset, model.as_ref()));
    }
    let name = match (spec.fields().name(), &found) {
        (None, Ok(dataset)) => match spec.fields().model_name(&dataset.name) {
            Some(name) => Some(app.store().name_beside_aliases(name).await?),
            None => model.map(|model| model.name),
        },
        (None, Err(_)) => model.map(|model| model.name),
        (Some(name), _) => Some(name.clone()),
    };
    if let Some(name) = &name {
        allowed.check_model(name.as_str())?;
    }
    if let (true, Some(name)) = (spec.kind().makes_model(), &name) {
        app.store().check_model_name(name).await?;
    }
    match (name, found) {
        (Some(name), Ok(dataset)) if faults.is_empty() => Ok(Submission { spec, name, dataset }),
        (_, found) => {
            faults.extend(found.err());
            Err(refusal(faults))
        }
    }
}

/// A model to begin with is pinned: a newer one of its name changes nothing for this job.
async fn pin_base_weights(
    app: &App,
    allowed: &Allowed,
    pointer: &str,
    backbone: &mut Backbone,
    faults: &mut Vec<FieldError>,
) -> Result<()> {
    if let Weights::Model(reference) = &backbone.weights {
        let fault = |code, message| FieldError::new(format!("{pointer}/weights"), code, message);
        match find_model(app, allowed, reference).await? {
            Some(model) if model.card.architecture == backbone.architecture => {
                backbone.weights = Weights::Model(model.id.to_string());
            }
            Some(model) => {
                let other = model.card.architecture;
                let message = format!("this model is a {other}; ask for that architecture");
                faults.push(fault("conflict", message));
            }
            None => {
                let message = format!(
                    "there is no model `{reference}`, and no file is read under this name: a file in the server's weights folder ends in \
                     {}; otherwise use a model's id or name, `none` or `imagenet`",
                    Weights::FILE_ENDINGS
                        .map(|ending| format!("`{ending}`"))
                        .join(", ")
                );
                faults.push(fault("not_found", message));
            }
        }
    }
    Ok(())
}

/// The dataset whose images go along with those of a training, pinned at its version.
async fn pin_unlabelled_dataset(
    app: &App,
    allowed: &Allowed,
    pointer: &str,
    reference: &mut String,
    source: Option<&Dataset>,
    faults: &mut Vec<FieldError>,
) -> Result<()> {
    match find_dataset(app, allowed, reference).await? {
        Ok(second) => {
            *reference = format!("{}@{}", second.id, second.version);
            let by_class = pointer.starts_with("/domain_adaptation");
            faults.extend(source.and_then(|source| second.faults_beside(source, pointer, by_class)));
        }
        Err(missing) => faults.push(FieldError::new(pointer, &missing.code, missing.message)),
    }
    Ok(())
}

/// The model that a job uses, pinned in its spec.
async fn pinned_model(
    app: &App,
    allowed: &Allowed,
    pointer: &str,
    reference: &mut String,
    faults: &mut Vec<FieldError>,
) -> Result<Option<Model>> {
    let model = find_model(app, allowed, reference).await?;
    match &model {
        Some(model) => *reference = model.id.to_string(),
        None => {
            let message = "there is no model of this id or name; GET /v1/models lists them";
            faults.push(FieldError::new(pointer, "not_found", message));
        }
    }
    Ok(model)
}

/// What the preset `auto` depends on.
async fn circumstances(
    app: &App,
    allowed: &Allowed,
    document: &serde_json::Value,
) -> Result<Option<Circumstances>> {
    if document.get("preset").is_none() {
        return Ok(None);
    }
    let dataset = match document.get("dataset").and_then(|name| name.as_str()) {
        Some(name) => find_dataset(app, allowed, name).await?.ok(),
        None => None,
    };
    let devices = app.jobs().devices();
    Ok(Some(Circumstances {
        train_images: dataset
            .filter(|dataset| dataset.status == DatasetStatus::Ready)
            .map(|dataset| dataset.splits.train),
        has_gpu: devices.iter().any(|state| state.device.name.starts_with("cuda")),
    }))
}

fn refusal(faults: Vec<FieldError>) -> Error {
    let count = faults.len();
    let plural = if count == 1 { "" } else { "s" };
    Error::fields(format!("the job spec has {count} wrong field{plural}"), faults)
}

async fn find_model(app: &App, allowed: &Allowed, reference: &str) -> Result<Option<Model>> {
    // By the name of an alias, too, whatever model that names.
    let by_name = allowed.check_model(reference);
    match app.store().model(reference).await {
        Ok(model) => {
            by_name.or_else(|_| allowed.check_model(model.name.as_str()))?;
            Ok(Some(model))
        }
        Err(error) if error.kind() == Kind::NotFound => by_name.map(|()| None),
        Err(error) => Err(error),
    }
}

async fn find_dataset(app: &App, allowed: &Allowed, reference: &str) -> Result<Result<Dataset, FieldError>> {
    match app.store().dataset(reference).await {
        Ok(dataset) => {
            allowed.check_dataset(dataset.name.as_str())?;
            Ok(Ok(dataset))
        }
        Err(error) if error.kind() == Kind::NotFound => {
            allowed.check_dataset(reference)?;
            Ok(Err(FieldError::new(
                "/dataset",
                "not_found",
                "there is no dataset of this id or name; upload it first",
            )))
        }
        Err(error) => Err(error),
    }
}
