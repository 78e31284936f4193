//! What a request is about.

use axum::{
    RequestExt,
    extract::{RawPathParams, Request},
    http::{HeaderMap, header},
};

use crate::{domain::access::AuditRecord, http::App};

/// The parts of addresses that name things, the one that says most first.
const PARTS: [&str; 7] = ["dataset", "job", "model", "alias", "upload", "key", "webhook"];

/// What the address names and as what, as the caller wrote it.
pub async fn named(request: &mut Request) -> Option<(&'static str, String)> {
    let params = request.extract_parts::<RawPathParams>().await.ok()?;
    PARTS.into_iter().find_map(|part| {
        let (_, value) = params.iter().find(|(name, _)| *name == part)?;
        Some((part, value.to_owned()))
    })
}

/// The id of what the address names, while it is there: afterwards it may have been deleted, or the name may be another one's. Only for
/// callers who were let in.
pub async fn id_of(app: &App, request: &mut Request) -> Option<String> {
    let (part, name) = named(request).await?;
    let store = app.store();
    let id = match part {
        "dataset" => store
            .dataset(&name)
            .await
            .ok()
            .map(|dataset| dataset.id.to_string()),
        "job" => store.job(&name).await.ok().map(|job| job.id.to_string()),
        "model" => store.model(&name).await.ok().map(|model| model.id.to_string()),
        "key" => store.key(&name).await.ok().map(|key| key.id.to_string()),
        // An upload and a webhook have no other name, and an alias no id.
        _ => None,
    };
    Some(id.unwrap_or_else(|| AuditRecord::name_of_thing(&name)))
}

/// What a response says that it has made: `/v1/jobs/{id}`.
pub fn made(headers: &HeaderMap) -> Option<String> {
    let location = headers.get(header::LOCATION)?.to_str().ok()?;
    let thing = location.split('/').nth(3)?;
    (!thing.is_empty()).then(|| AuditRecord::name_of_thing(thing))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_location_says_what_was_made() {
        let made = |location: &'static str| {
            let headers = HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static(location))]);
            made(&headers)
        };
        assert_eq!(made("/v1/jobs/job_1").as_deref(), Some("job_1"));
        assert_eq!(made("/v1/datasets/ds_1/versions/3").as_deref(), Some("ds_1"));
        assert_eq!(made("/v1/"), None);
    }
}
