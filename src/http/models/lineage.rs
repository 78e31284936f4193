//! `/v1/models/{model}/lineage`: the job, dataset version and base weights of a model, and of the models it is based on.

use axum::{
    Json,
    extract::{Path, State},
};

use crate::{
    domain::models::{
        lineage::{BaseWeights, Lineage, LineageDataset, LineageJob, LineageStep, MOST_STEPS},
        model::Model,
    },
    error::{Error, Kind, Result},
    http::{App, responses::problem::Problems},
};

/// Get a model's lineage
///
/// The job that trained the model, the dataset version it was trained on, with digests, and its base weights with the digest of their file;
/// the same for the model it is based on, and so on. For an imported model: the file, and what its bundle says about its training.
#[utoipa::path(
    get, path = "/v1/models/{model}/lineage", tag = "models",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version")),
    responses((status = 200, body = Lineage), Problems)
)]
pub async fn lineage(State(app): State<App>, Path(reference): Path<String>) -> Result<Json<Lineage>> {
    let mut models = Vec::new();
    let mut next = Some(app.store().model(&reference).await?);
    while let Some(model) = next.take() {
        let step = step(&app, &model).await?;
        if let Some(base) = step
            .base_weights
            .model()
            .filter(|_| models.len() + 1 < MOST_STEPS)
        {
            next = there(app.store().model(&base.to_string()).await)?;
        }
        models.push(step);
    }
    Ok(Json(Lineage {
        object: "lineage".to_owned(),
        models,
    }))
}

async fn step(app: &App, model: &Model) -> Result<LineageStep> {
    let job = match model.job {
        None => None,
        Some(id) => {
            let deleted = there(app.store().job(&id.to_string()).await)?.is_none();
            Some(LineageJob { id, deleted })
        }
    };
    let dataset = match &model.card.dataset {
        None => None,
        Some(version) => {
            let id = version.id.to_string();
            let found = app.store().dataset_at(&id, Some(version.version)).await;
            Some(LineageDataset {
                deleted: there(found)?.is_none(),
                version: version.clone(),
            })
        }
    };
    Ok(LineageStep {
        model: model.id,
        name: model.name.clone(),
        version: model.version,
        sha256: model.sha256.clone(),
        created_at: model.created_at,
        source: model.source,
        imported_from: model.imported_from.clone(),
        job,
        dataset,
        base_weights: BaseWeights::of(model),
    })
}

fn there<T>(found: Result<T, Error>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
