//! `/docs`: Swagger UI over the API description, embedded in the program, so that it works where no other host can be reached.

use std::{io::Read, sync::Arc};

use axum::{
    extract::{OriginalUri, Path},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::read::GzDecoder;
use utoipa_swagger_ui::Config;

use crate::{error::Error, http::responses::problem::Problems};

/// The API reference, for browsers
#[utoipa::path(
    get, path = "/docs", tag = "dashboard",
    responses((status = 303, description = "To its first page", headers(("location" = String))), Problems)
)]
pub async fn start(OriginalUri(asked): OriginalUri) -> Response {
    // Relative: there may be a path in front of this one that nobody has told the server.
    let page = match asked.path().ends_with('/') {
        true => "index.html",
        false => "docs/index.html",
    };
    (StatusCode::SEE_OTHER, [(header::LOCATION, page)]).into_response()
}

/// A file of the API reference
#[utoipa::path(
    get, path = "/docs/{file}", tag = "dashboard", params(("file" = String, Path)),
    responses(
        (status = 200, content((String = "text/html"), (String = "text/css"), (String = "text/javascript"), (Vec<u8> = "image/png"))),
        Problems
    )
)]
pub async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Error> {
    // Relative to the page, too: the server may have a path in front of its own.
    let config = Config::new(["../openapi.json"])
        .try_it_out_enabled(true)
        .display_request_duration(true)
        .persist_authorization(false)
        .use_base_layout();
    let found = utoipa_swagger_ui::serve(&name, Arc::new(config)).map_err(|error| {
        // It cannot leave this thread.
        Error::internal(anyhow::anyhow!("the API reference: {error}"))
    })?;
    let found = found.ok_or_else(|| Error::not_found("page", &name))?;
    let content_type = HeaderValue::from_str(&found.content_type).map_err(Error::internal)?;
    // What the program makes itself is text.
    let is_gzip = found.bytes.starts_with(&[0x1f, 0x8b]);
    let accepted = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok());
    let mut response = match is_gzip && !accepted.is_some_and(|accepted| accepted.contains("gzip")) {
        true => {
            let mut plain = Vec::new();
            GzDecoder::new(&*found.bytes)
                .read_to_end(&mut plain)
                .map_err(Error::internal)?;
            plain.into_response()
        }
        false => found.bytes.into_owned().into_response(),
    };
    let own = response.headers_mut();
    if is_gzip && accepted.is_some_and(|accepted| accepted.contains("gzip")) {
        own.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    own.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    own.insert(header::CONTENT_TYPE, content_type);
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
