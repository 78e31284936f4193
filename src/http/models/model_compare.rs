//! `/v1/models/{model}/compare/{other}`: two models on the same images, by the rows of batch predictions that were made before.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path as FilePath,
};

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    domain::{
        datasets::dataset::Dataset,
        jobs::{
            job::{Job, JobStatus},
            predictions::PredictionRow,
        },
        models::{
            comparison::{Answers, ModelComparison},
            model::Model,
        },
        page::{Order, PageRequest},
        spec::{EvaluatedSplit, Spec},
    },
    error::{Error, FieldError, Kind, Result},
    http::{App, requests::extract::Query, responses::problem::Problems},
    store::JobFilter,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ComparisonQuery {
    /// Id or name of a labelled dataset, or `name@version`; by default its newest version.
    dataset: String,
    /// Only images of this split; by default all.
    #[param(inline)]
    split: Option<EvaluatedSplit>,
}

/// Compare two models
///
/// On the same images: by how much the second is more accurate, with an interval, McNemar's exact test, and the images that they classify
/// differently. Nothing is computed anew: each model needs a job of kind `batch-predict` over this version of the dataset that has succeeded,
/// and the newest one counts. 404 `no-predictions` where one has none. Images that a model was trained on flatter it: compare on others, such as
/// `?split=val`.
#[utoipa::path(
    get, path = "/v1/models/{model}/compare/{other}", tag = "models",
    params(
        ("model" = String, Path, description = "Id, alias, name (the newest) or name@version"),
        ("other" = String, Path, description = "Likewise"), ComparisonQuery
    ),
    responses((status = 200, body = ModelComparison), Problems)
)]
pub async fn compare(
    State(app): State<App>,
    Path((first, second)): Path<(String, String)>,
    Query(query): Query<ComparisonQuery>,
) -> Result<Json<ModelComparison>> {
    let models = [
        app.store().model(&first).await?,
        app.store().model(&second).await?,
    ];
    for (model, pointer) in models.iter().zip(["/model", "/other"]) {
        if !model.card.task.is_single() {
            let message = "tells several labels of an image, and models are compared by their one class: evaluate both with jobs of kind \
                           `evaluate`";
            let fault = FieldError::new(pointer, "conflict", message);
            return Err(Error::fields(format!("`{}` {message}", model.name), vec![fault]));
        }
    }
    let dataset = app.store().dataset(&query.dataset).await?;
    let wanted = query.split.unwrap_or(EvaluatedSplit::All);
    let jobs = predicted(&app, &dataset, wanted, &models).await?;
    let [first, second] = models;
    let [of_first, of_second] = jobs;
    let first = answers(&app, first, &of_first, wanted).await?;
    let second = answers(&app, second, &of_second, wanted).await?;
    let compared = ModelComparison::of(dataset.id, dataset.version, first, second);
    compared.map(Json).ok_or_else(|| {
        let message = "the two models have not classified a single labelled image in common";
        Error::fields(message, vec![FieldError::new("/dataset", "empty_split", message)])
    })
}

/// The newest batch prediction of each model over this version.
async fn predicted(
    app: &App,
    dataset: &Dataset,
    wanted: EvaluatedSplit,
    models: &[Model; 2],
) -> Result<[Job; 2]> {
    let filter = JobFilter {
        status: Some(JobStatus::Succeeded),
        dataset: Some(dataset.id),
        name: None,
        owner: None,
    };
    let mut found = [None, None];
    let mut page = PageRequest {
        limit: PageRequest::MAX_LIMIT,
        after: None,
        order: Order::Desc,
    };
    loop {
        let jobs = app.store().jobs(&filter, &page).await?;
        for job in &jobs.data {
            for (found, model) in found.iter_mut().zip(models) {
                if found.is_none() && is_of(job, dataset, wanted, model) {
                    *found = Some(job.clone());
                }
            }
        }
        page.after = jobs.data.last().map(|job| job.id.to_string());
        if !jobs.has_more || found.iter().all(Option::is_some) {
            break;
        }
    }
    match found {
        [Some(first), Some(second)] => Ok([first, second]),
        [first, _] => {
            let model = &models[usize::from(first.is_some())];
            let detail = format!(
                "there are no predictions of the model `{}@{}` for version {} of the dataset `{}`; a job makes them: {{\"kind\": \"batch-predict\", \
                 \"model\": \"{}\", \"dataset\": \"{}@{}\"}}",
                model.name,
                model.version,
                dataset.version,
                dataset.name,
                model.id,
                dataset.name,
                dataset.version
            );
            Err(Error::new(Kind::NotFound, "no-predictions", detail))
        }
    }
}

fn is_of(job: &Job, dataset: &Dataset, wanted: EvaluatedSplit, model: &Model) -> bool {
    let Spec::BatchPredict(spec) = &job.spec else {
        return false;
    };
    job.dataset.version == dataset.version
        && job.predictions.is_some()
        && spec.model == model.id.to_string()
        && (spec.split == EvaluatedSplit::All || spec.split == wanted)
}

/// The rows of these splits.
async fn answers(app: &App, model: Model, job: &Job, wanted: EvaluatedSplit) -> Result<Answers> {
    let file = job.predictions.as_ref().map(|predictions| &predictions.jsonl);
    let file = file.ok_or_else(|| Error::internal(anyhow::anyhow!("a batch prediction has no rows")))?;
    let what = || format!("the predictions of the job `{}`", job.id);
    let path = app.blobs().sound_lately(&file.sha256, what).await?;
    let rows = tokio::task::spawn_blocking(move || rows(&path, wanted)).await;
    Ok(Answers {
        id: model.id,
        name: model.name,
        version: model.version,
        job: job.id,
        rows: rows.map_err(Error::internal)??,
    })
}

fn rows(path: &FilePath, wanted: EvaluatedSplit) -> Result<Vec<PredictionRow>> {
    let mut rows = Vec::new();
    for line in BufReader::new(File::open(path)?).lines() {
        let mut row: PredictionRow = serde_json::from_str(&line?).map_err(Error::internal)?;
        // Only the likeliest class counts.
        if let Some(predictions) = &mut row.predictions {
            predictions.truncate(1);
        }
        if wanted.includes(row.split) {
            rows.push(row);
        }
    }
    Ok(rows)
}
