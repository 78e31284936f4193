//! The dashboard: the files of `static/`, embedded in the program.

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::RustEmbed;

use super::responses::problem::Problems;
use crate::error::Error;

#[derive(RustEmbed)]
#[folder = "static/"]
struct Static;

/// The dashboard
#[utoipa::path(get, path = "/", tag = "dashboard", responses((status = 200, body = String, content_type = "text/html"), Problems))]
pub async fn index(headers: HeaderMap) -> Result<Response, Error> {
    file("index.html", &headers)
}

/// A file of the dashboard
#[utoipa::path(
    get, path = "/static/{path}", tag = "dashboard", params(("path" = String, Path)),
    responses((status = 200, body = String), (status = 304, description = "Not changed"), Problems)
)]
pub async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Result<Response, Error> {
    file(&path, &headers)
}

/// A file in a folder of the dashboard
#[utoipa::path(
    get, path = "/static/{folder}/{path}", tag = "dashboard", params(("folder" = String, Path), ("path" = String, Path)),
    responses((status = 200, body = String), (status = 304, description = "Not changed"), Problems)
)]
pub async fn asset_in_folder(
    Path((folder, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    file(&format!("{folder}/{path}"), &headers)
}

fn file(path: &str, headers: &HeaderMap) -> Result<Response, Error> {
    let file = Static::get(path).ok_or_else(|| Error::not_found("page", path))?;
    let hash: String = file.metadata.sha256_hash()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let tag = format!("\"{hash}\"");
    let seen = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let mut response = if seen.is_some_and(|seen| seen.contains(&tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        (
            [(header::CONTENT_TYPE, file.metadata.mimetype().to_owned())],
            file.data,
        )
            .into_response()
    };
    // The browser revalidates its copy each time, so that a new version is used at once.
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}
