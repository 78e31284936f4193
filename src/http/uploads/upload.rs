//! `/v1/uploads`: resumable uploads by tus 1.0. The last byte turns the upload into a dataset, by the same rules as `PUT /v1/datasets`.

use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::TryStreamExt;

use super::{
    body::cut_short,
    digests::{announced_digest, checksum},
    spoken::Spoken,
    tus::{self, Metadata, brings_bytes, needed, number},
};
use crate::{
    domain::{
        datasets::{reading::ReadOptions, upload::Upload},
        id::UploadId,
        name::GivenName,
        page::Page,
    },
    error::{Error, Kind, Result},
    files::checksum::Checksum,
    http::{
        App,
        access::Allowed,
        connections::Caller,
        datasets::{naming, reading},
        requests::{
            extract::{PageQuery, Query},
            json,
        },
        responses::problem::Problems,
    },
    uploads::{Announced, Incoming},
};

/// Supported tus version and extensions
///
/// Extensions: creation, creation-with-upload, checksum (sha1, sha256), expiration, termination.
#[utoipa::path(
    options, path = "/v1/uploads", tag = "uploads",
    responses((status = 204, headers(("tus-version" = String), ("tus-extension" = String), ("tus-max-size" = u64), ("tus-checksum-algorithm" = String))), Problems)
)]
pub async fn options(State(app): State<App>) -> impl IntoResponse {
    let headers = [
        (tus::TUS_VERSION, tus::VERSION.to_owned()),
        (tus::TUS_EXTENSION, tus::EXTENSIONS.to_owned()),
        (tus::TUS_MAX_SIZE, app.limits().max_archive_bytes.to_string()),
        (tus::TUS_CHECKSUM_ALGORITHM, Checksum::ALGORITHMS.to_owned()),
    ];
    (StatusCode::NO_CONTENT, headers)
}

/// Start a resumable upload (tus 1.0)
///
/// Send the bytes to the URL in `Location` with `PATCH`. Keys of `Upload-Metadata`: `name` (of the dataset), `filename` (gives a name that
/// is free if there is no `name`), `sha256` (hexadecimal; verified at the end). The body may contain the first bytes.
#[utoipa::path(
    post, path = "/v1/uploads", tag = "uploads",
    params(
        ("Tus-Resumable" = String, Header, description = "1.0.0"),
        ("Upload-Length" = u64, Header, description = "Size of the archive"),
        ("Upload-Metadata" = Option<String>, Header, description = "Comma-separated pairs of a key and a base64 value"),
        ("Upload-Checksum" = Option<String>, Header, description = "Checksum of the body"),
        ("Repr-Digest" = Option<String>, Header, description = "SHA-256 of the whole archive (RFC 9530)"),
    ),
    request_body(description = "The first bytes, or nothing", content_type = "application/offset+octet-stream"),
    responses((status = 201, description = "Begun", headers(("location" = String), ("upload-offset" = u64), ("upload-expires" = String), ("upload-dataset" = String))), Problems)
)]
pub async fn create(
    State(app): State<App>,
    _: Spoken,
    allowed: Allowed,
    request: Request,
) -> Result<Response> {
    let headers = request.headers();
    let bytes = tus::announced_bytes(headers)?;
    let metadata = Metadata::of(headers)?;
    let name = name(&metadata)?;
    let options = read_options(&metadata)?;
    let sha256 = announced_digest(headers, metadata.get("sha256"))?;
    app.check_disk(bytes)?;
    let caller = Caller::of(request.extensions());
    let incoming = match brings_bytes(headers) {
        true => Some((app.begin_receiving(caller)?, incoming(request, 0)?)),
        false => None,
    };
    let announced = Announced {
        name,
        bytes,
        metadata: metadata.raw,
        options,
        sha256,
        owner: allowed.owner(),
    };
    let mut upload = app.uploads().create(announced).await?;
    let location = format!("{}/{}", tus::ADDRESS, upload.id);
    let mut headers = vec![(header::LOCATION, location)];
    if let Some((_place, incoming)) = incoming {
        upload = app.uploads().receive(upload.id, incoming).await?;
        headers.push((tus::OFFSET, upload.received.to_string()));
    }
    Ok(answer(StatusCode::CREATED, &upload, headers))
}

/// The dataset's name, from the client's metadata.
fn name(metadata: &Metadata) -> Result<GivenName> {
    match (metadata.get("name"), metadata.get("filename")) {
        (Some(name), _) => naming::chosen(name),
        (None, Some(file)) => Ok(naming::derived(file)),
        (None, None) => Err(naming::fault_of_name(
            "missing",
            "the dataset needs a name: set `name` or `filename` in Upload-Metadata",
        )),
    }
}

/// How the archive is to be read, from the client's metadata: `options`, as JSON.
fn read_options(metadata: &Metadata) -> Result<ReadOptions> {
    let Some(text) = metadata.get("options") else {
        return Ok(ReadOptions::default());
    };
    reading::parse(&json::parse(text.as_bytes())?)
}

/// Get the offset of an upload
#[utoipa::path(
    head, path = "/v1/uploads/{upload}", tag = "uploads",
    params(("upload" = UploadId, Path), ("Tus-Resumable" = String, Header, description = "1.0.0")),
    responses((
        status = 200, description = "Continue at Upload-Offset",
        headers(("upload-offset" = u64), ("upload-length" = u64), ("upload-metadata" = String), ("upload-expires" = String), ("upload-dataset" = String))
    ), Problems)
)]
pub async fn head(State(app): State<App>, Path(id): Path<String>, _: Spoken) -> Result<Response> {
    let upload = app.uploads().existing(parse_id(&id)?).await?;
    let mut headers = vec![
        (tus::OFFSET, upload.received.to_string()),
        (tus::LENGTH, upload.bytes.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    if !upload.metadata.is_empty() {
        headers.push((tus::METADATA, upload.metadata.clone()));
    }
    Ok(answer(StatusCode::OK, &upload, headers))
}

/// Send bytes of an upload
///
/// They are durably stored when the response is sent. With the last byte the upload becomes a dataset, whose id is in `Upload-Dataset`.
#[utoipa::path(
    patch, path = "/v1/uploads/{upload}", tag = "uploads",
    params(
        ("upload" = UploadId, Path), ("Tus-Resumable" = String, Header, description = "1.0.0"),
        ("Upload-Offset" = u64, Header, description = "Offset of these bytes; must be the upload's current offset"),
        ("Upload-Checksum" = Option<String>, Header, description = "Checksum of these bytes: `sha1` or `sha256`, and the hash in base64"),
        ("Content-Digest" = Option<String>, Header, description = "Digest of these bytes (RFC 9530)"),
        ("Repr-Digest" = Option<String>, Header, description = "SHA-256 of the whole archive (RFC 9530)"),
    ),
    request_body(description = "The next bytes", content_type = "application/offset+octet-stream"),
    responses((status = 204, headers(("upload-offset" = u64), ("upload-expires" = String), ("upload-dataset" = String))), Problems)
)]
pub async fn patch(
    State(app): State<App>,
    Path(id): Path<String>,
    _: Spoken,
    request: Request,
) -> Result<Response> {
    let headers = request.headers();
    if !brings_bytes(headers) {
        let detail = format!("send the bytes with the header `content-type: {}`", tus::BYTES);
        return Err(Error::new(Kind::UnsupportedMedia, "bytes-expected", detail));
    }
    let offset = needed(number(headers, &tus::OFFSET)?, &tus::OFFSET)?;
    let caller = Caller::of(request.extensions());
    let incoming = incoming(request, offset)?;
    app.check_disk(incoming.length.unwrap_or(0))?;
    let _permit = app.begin_receiving(caller)?;
    let upload = app.uploads().receive(parse_id(&id)?, incoming).await?;
    let headers = vec![(tus::OFFSET, upload.received.to_string())];
    Ok(answer(StatusCode::NO_CONTENT, &upload, headers))
}

/// `PATCH` and `DELETE`, for clients that cannot send these methods
#[utoipa::path(
    post, path = "/v1/uploads/{upload}", tag = "uploads",
    params(
        ("upload" = UploadId, Path), ("Tus-Resumable" = String, Header, description = "1.0.0"),
        ("X-HTTP-Method-Override" = String, Header, description = "`PATCH` or `DELETE`"),
        ("Upload-Offset" = Option<u64>, Header, description = "Offset of these bytes, which `PATCH` needs"),
        ("Upload-Checksum" = Option<String>, Header, description = "Checksum of these bytes: `sha1` or `sha256`, and the hash in base64"),
        ("Content-Digest" = Option<String>, Header, description = "Digest of these bytes (RFC 9530)"),
        ("Repr-Digest" = Option<String>, Header, description = "SHA-256 of the whole archive (RFC 9530)"),
    ),
    request_body(description = "The next bytes", content_type = "application/offset+octet-stream"),
    responses((status = 204, headers(("upload-offset" = u64), ("upload-expires" = String), ("upload-dataset" = String))), Problems)
)]
pub async fn overridden(
    app: State<App>,
    id: Path<String>,
    spoken: Spoken,
    request: Request,
) -> Result<Response> {
    match tus::text(request.headers(), &tus::METHOD_OVERRIDE)? {
        Some("PATCH") => patch(app, id, spoken, request).await,
        Some("DELETE") => delete(app, id, request.headers().clone())
            .await
            .map(IntoResponse::into_response),
        _ => Err(tus::wrong(
            &tus::METHOD_OVERRIDE,
            "must be `PATCH` or `DELETE`; use `PATCH` to send bytes",
        )),
    }
}

/// Cancel an upload
///
/// Removes its bytes. If the upload has become a dataset, the dataset is kept.
#[utoipa::path(
    delete, path = "/v1/uploads/{upload}", tag = "uploads", params(("upload" = UploadId, Path)),
    responses((status = 204), Problems)
)]
pub async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    // curl users need not know tus, but a version that is sent must be the supported one.
    if headers.contains_key(tus::RESUMABLE) {
        tus::check_version(&headers)?;
    }
    app.uploads().terminate(parse_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get an upload and the dataset it has become
#[utoipa::path(
    get, path = "/v1/uploads/{upload}", tag = "uploads", params(("upload" = UploadId, Path)),
    responses((status = 200, body = Upload), Problems)
)]
pub async fn get(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Upload>> {
    Ok(Json(app.store().upload(parse_id(&id)?).await?))
}

/// List uploads
#[utoipa::path(get, path = "/v1/uploads", tag = "uploads", params(PageQuery), responses((status = 200, body = Page<Upload>), Problems))]
pub async fn list(State(app): State<App>, Query(page): Query<PageQuery>) -> Result<Json<Page<Upload>>> {
    Ok(Json(app.store().uploads(&page.check()).await?))
}

fn parse_id(id: &str) -> Result<UploadId> {
    id.parse().map_err(|_| Error::not_found("upload", id))
}

type Chunks = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<bytes::Bytes>> + Send>>;

fn incoming(request: Request, offset: u64) -> Result<Incoming<Chunks>> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    // For a creation, the digest of the whole file was stored with the upload; the checksum is that of the body.
    let sha256 = match parts.method {
        Method::POST if offset == 0 => None,
        _ => announced_digest(headers, None)?,
    };
    Ok(Incoming {
        offset,
        length: number(headers, &header::CONTENT_LENGTH)?,
        checksum: checksum(headers)?,
        sha256,
        chunks: chunks(body),
    })
}

fn chunks(body: Body) -> Chunks {
    Box::pin(body.into_data_stream().map_err(|_| cut_short()))
}

/// A response without a body: the given headers, and the expiry date of an incomplete upload or the dataset of a complete one.
fn answer(status: StatusCode, upload: &Upload, headers: Vec<(HeaderName, String)>) -> Response {
    let state = match upload.dataset {
        Some(dataset) => (tus::DATASET, dataset.to_string()),
        None => (tus::EXPIRES, upload.expires_at.to_http_date()),
    };
    let mut answer = status.into_response();
    for (name, value) in headers.into_iter().chain([state]) {
        // All values are ASCII: numbers, ids, dates, and metadata received in a header.
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}
