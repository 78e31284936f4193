//! Keys that are limited to named datasets and models: whether a request stays within the limit.
//!
//! References are resolved as the handlers do it, so ids, versions and aliases of permitted names work. What is not permitted and what is not
//! there are answered alike.

use axum::{
    RequestExt,
    extract::{RawPathParams, Request},
};

use super::{
    allowed::{Allowed, limited},
    rules::Reach,
};
use crate::{
    domain::{access::Key, jobs::job::Job},
    error::{Error, Kind, Result},
    http::App,
};

/// # Errors
/// `key-limited`
pub async fn check(app: &App, key: &Key, reach: Reach, request: &mut Request) -> Result<()> {
    if !key.is_limited() {
        return Ok(());
    }
    let (datasets, models) = (key.datasets.is_some(), key.models.is_some());
    let is_within = match reach {
        Reach::Nothing | Reach::Named => true,
        Reach::Datasets => !datasets,
        Reach::Models => !models,
        Reach::Everything => false,
        Reach::Dataset => !datasets || may_use_dataset(app, key, &named("dataset", request).await?).await?,
        Reach::Model => !models || may_use_model(app, key, &named("model", request).await?).await?,
        Reach::Alias => !models || key.may_use_model(&named("alias", request).await?),
        Reach::Job => match found(app.store().job(&named("job", request).await?).await)? {
            Some(job) => may_use_job(app, key, &job).await?,
            None => false,
        },
    };
    match is_within {
        true => Ok(()),
        false => Err(limited()),
    }
}

/// For a job that a caller refers to in another way than by its address.
///
/// # Errors
/// `key-limited`
pub async fn check_job(app: &App, allowed: &Allowed, job: &Job) -> Result<()> {
    match allowed.key() {
        Some(key) if !may_use_job(app, key, job).await? => Err(limited()),
        _ => Ok(()),
    }
}

/// Whether a job's dataset and the model that it makes or uses are permitted.
async fn may_use_job(app: &App, key: &Key, job: &Job) -> Result<bool> {
    let its_dataset =
        key.datasets.is_none() || may_use_dataset(app, key, &job.dataset.id.to_string()).await?;
    Ok(its_dataset && key.may_use_model(job.name.as_str()))
}

async fn may_use_dataset(app: &App, key: &Key, reference: &str) -> Result<bool> {
    let dataset = found(app.store().dataset(reference).await)?;
    Ok(dataset.is_some_and(|dataset| key.may_use_dataset(dataset.name.as_str())))
}

async fn may_use_model(app: &App, key: &Key, reference: &str) -> Result<bool> {
    // Where the address ends in a verb, `insects:predict`.
    let reference = reference.split_once(':').map_or(reference, |(model, _)| model);
    if key.may_use_model(reference) {
        return Ok(true);
    }
    let model = found(app.store().model(reference).await)?;
    Ok(model.is_some_and(|model| key.may_use_model(model.name.as_str())))
}

/// A part of the address.
async fn named(name: &str, request: &mut Request) -> Result<String> {
    let parts = request.extract_parts::<RawPathParams>().await;
    let parts = parts.map_err(|_| Error::new(Kind::Malformed, "path-invalid", "the path is not UTF-8"))?;
    let part = parts.iter().find(|(part, _)| *part == name);
    Ok(part.map(|(_, value)| value.to_owned()).unwrap_or_default())
}

/// What is there; none where it is not.
fn found<T>(looked: Result<T>) -> Result<Option<T>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
