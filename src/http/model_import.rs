//! `POST /v1/models`: a model from elsewhere, as a bundle or as weights with a description.

use std::time::Duration;

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Multipart, Request, State, multipart::Field},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt, TryStreamExt};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use super::{App, extract::Query, problem::Problems};
use crate::{
    blobs::Spooled,
    domain::{
        alias,
        model::Model,
        model_import::{DescriptionFields, ENOUGH, ImportFormat, ImportedFile},
        name::Name,
    },
    error::{Error, FieldError, Kind, Result},
    jobs::Import,
    protocol::ImportContents,
    store::ImportedModel,
    uploads::too_slow,
};

/// Longest file name that is kept, in characters.
const LONGEST_FILE_NAME: usize = 255;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// Name of the model, where it is not in the form; by default the file's.
    #[param(value_type = Option<Name>)]
    name: Option<String>,
}

/// A model from elsewhere, as a form.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct ImportForm {
    /// A bundle (an archive of `model.safetensors` and `model.json`), or weights in safetensors with torchvision's names.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// By default the file's name, without its ending. Models of one name are versions.
    name: Option<Name>,
    /// Names of the classes in the order of the network's outputs: a JSON array, or a line for each. For weights, not for a bundle; so
    /// are all others.
    labels: Option<String>,
    /// By default told from the tensors.
    architecture: Option<String>,
    /// Side of the square that the network sees, 32 to 1024 pixels; by default what the architecture is made for.
    image_size: Option<u32>,
    /// `shortest_crop` (by default), `squash` or `letterbox`.
    resize: Option<String>,
    /// Length of the shorter side before the middle is cut out, up to 2048 pixels; by default as torchvision has it, 256 for 224.
    resize_to: Option<u32>,
    /// Of red, green and blue on the scale 0–1: `[0.485, 0.456, 0.406]` by default.
    mean: Option<String>,
    /// The same: `[0.229, 0.224, 0.225]` by default.
    std: Option<String>,
}

/// Import a model
///
/// A bundle, as an export makes it, as the body or as the field `file` of a form; or a form with weights in safetensors, in torchvision's
/// names, and `labels`. Everything is checked before the answer comes: names, shapes and kinds of the tensors, that all numbers are
/// finite, that each output has its class. The model is served at once. Sending the same again under the same name makes no second
/// one: 200.
#[utoipa::path(
    post, path = "/v1/models", tag = "models", params(ImportQuery),
    request_body(content((ImportForm = "multipart/form-data"), ("application/octet-stream"))),
    responses((status = 201, body = Model, headers(("location" = String))), (status = 200, description = "It is there already", body = Model), Problems)
)]
pub async fn import_post(app: State<App>, query: Query<ImportQuery>, request: Request) -> Result<Response> {
    import(app, query, request).await
}

/// Import a bundle, as `curl -T` sends it
#[utoipa::path(
    put, path = "/v1/models", tag = "models", params(ImportQuery),
    request_body(content(("application/octet-stream"))),
    responses((status = 201, body = Model, headers(("location" = String))), (status = 200, description = "It is there already", body = Model), Problems)
)]
pub async fn import_put(app: State<App>, query: Query<ImportQuery>, request: Request) -> Result<Response> {
    import(app, query, request).await
}

async fn import(
    State(app): State<App>,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<Response> {
    let named = query.name.as_deref().map(parse_name).transpose()?;
    let _place = app.begin_receiving()?;
    check_announced_size(&app, request.headers())?;
    let sent = receive(&app, request).await?;
    let name = match (named, sent.name.as_deref().map(parse_name).transpose()?) {
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => name_of_file(sent.file.file_name.as_deref())?,
    };
    let contents = contents(&app, sent.file.format, &sent.fields)?;
    app.store().check_model_name(&name).await?;
    let import = Import {
        file: sent.file.spooled.path(),
        name,
        contents,
        from: ImportedFile {
            format: sent.file.format,
            sha256: sent.file.spooled.sha256.clone(),
            bytes: sent.file.spooled.bytes,
            file_name: sent.file.file_name.clone(),
        },
    };
    let imported = app.jobs().import_model(import).await?;
    let (ImportedModel::Created(id) | ImportedModel::Existing(id)) = imported;
    let model = app.store().model(&id.to_string()).await?;
    Ok(match imported {
        ImportedModel::Created(_) => {
            let location = [(header::LOCATION, format!("/v1/models/{id}"))];
            (StatusCode::CREATED, location, Json(model)).into_response()
        }
        ImportedModel::Existing(_) => Json(model).into_response(),
    })
}

/// What has to be told of the file, checked as far as that goes without it.
fn contents(app: &App, format: ImportFormat, fields: &DescriptionFields) -> Result<ImportContents> {
    let wrong = |faults| Error::fields("the description of the model is wrong", faults);
    match format {
        ImportFormat::Safetensors => {
            let described = fields.check(app.limits().ingest.max_classes);
            Ok(ImportContents::Safetensors(described.map_err(wrong)?))
        }
        ImportFormat::Bundle => {
            let given = fields.given().into_iter();
            let faults: Vec<_> = given
                .map(|field| {
                    FieldError::new(
                        format!("/{field}"),
                        "conflict",
                        "a bundle says this itself; leave it out",
                    )
                })
                .collect();
            match faults.is_empty() {
                true => Ok(ImportContents::Bundle),
                false => Err(wrong(faults)),
            }
        }
    }
}

/// What a request brought.
struct Sent {
    file: SentFile,
    name: Option<String>,
    fields: DescriptionFields,
}

struct SentFile {
    spooled: Spooled,
    format: ImportFormat,
    file_name: Option<String>,
}

async fn receive(app: &App, request: Request) -> Result<Sent> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or("");
    if kind.to_ascii_lowercase().starts_with("multipart/form-data") {
        return receive_form(app, request).await;
    }
    let chunks = request.into_body().into_data_stream().map_err(|_| cut_short());
    let (spooled, format) = receive_file(app, chunks).await?;
    Ok(Sent {
        file: SentFile {
            spooled,
            format,
            file_name: None,
        },
        name: None,
        fields: DescriptionFields::default(),
    })
}

async fn receive_form(app: &App, request: Request) -> Result<Sent> {
    let idle = Duration::from_secs(app.limits().upload_idle_seconds);
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|_| malformed("the form cannot be read"))?;
    let mut file = None;
    let mut name = None;
    let mut fields = DescriptionFields::default();
    let mut room = app.limits().max_json_bytes;
    loop {
        let next = timeout(idle, form.next_field())
            .await
            .map_err(|_| too_slow(idle))?;
        let Some(field) = next.map_err(|_| malformed("the form cannot be read"))? else {
            break;
        };
        let called = field.name().unwrap_or("").to_owned();
        if called == "file" {
            if file.is_some() {
                return Err(malformed("the form has two fields `file`"));
            }
            let file_name = field.file_name().map(harmless_file_name);
            let (spooled, format) = receive_file(app, field.map_err(|_| cut_short())).await?;
            file = Some(SentFile {
                spooled,
                format,
                file_name,
            });
            continue;
        }
        let place = match called.as_str() {
            "name" => &mut name,
            "labels" => &mut fields.labels,
            "architecture" => &mut fields.architecture,
            "image_size" => &mut fields.image_size,
            "resize" => &mut fields.resize,
            "resize_to" => &mut fields.resize_to,
            "mean" => &mut fields.mean,
            "std" => &mut fields.std,
            _ => {
                return Err(malformed(
                    "a field of the form is not known; there are file, name, labels, architecture, image_size, resize, resize_to, mean, std",
                ));
            }
        };
        let text = receive_text(field, idle, &mut room).await?;
        if place.replace(text).is_some() {
            return Err(malformed("a field of the form is there twice"));
        }
    }
    let file = file.ok_or_else(|| malformed("the form has no field named `file`"))?;
    Ok(Sent { file, name, fields })
}

/// A field of the form that is no file; all of them together have `room` bytes.
async fn receive_text(mut field: Field<'_>, idle: Duration, room: &mut usize) -> Result<String> {
    let mut text = Vec::new();
    loop {
        let next = timeout(idle, field.chunk()).await.map_err(|_| too_slow(idle))?;
        let Some(chunk) = next.map_err(|_| cut_short())? else {
            break;
        };
        *room = room.checked_sub(chunk.len()).ok_or_else(|| {
            Error::new(
                Kind::TooLarge,
                "too-large",
                "the fields of the form besides `file` are too large",
            )
        })?;
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text).map_err(|_| malformed("a field of the form is no text in UTF-8"))
}

/// Spools the file. What it cannot be by its first bytes is refused before the rest comes.
async fn receive_file(
    app: &App,
    chunks: impl Stream<Item = Result<Bytes>>,
) -> Result<(Spooled, ImportFormat)> {
    let idle = Duration::from_secs(app.limits().upload_idle_seconds);
    let limit = app.limits().max_model_bytes;
    let mut writer = app.blobs().spool();
    let mut head = Vec::new();
    let mut bytes = 0;
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = timeout(idle, chunks.next()).await.map_err(|_| too_slow(idle))? {
        let chunk = chunk?;
        bytes += chunk.len() as u64;
        if bytes > limit {
            return Err(too_large(limit));
        }
        if head.len() < ENOUGH {
            let wanted = ENOUGH - head.len();
            head.extend_from_slice(&chunk[..chunk.len().min(wanted)]);
            if head.len() >= ENOUGH {
                told(&head)?;
            }
        }
        writer.write(chunk).await?;
    }
    let format = told(&head)?;
    Ok((writer.finish().await?, format))
}

fn told(head: &[u8]) -> Result<ImportFormat> {
    ImportFormat::of(head).map_err(|why| Error::new(Kind::UnsupportedMedia, "model-unsupported", why))
}

/// Refuses before a byte is read what cannot end well.
fn check_announced_size(app: &App, headers: &HeaderMap) -> Result<()> {
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    let limit = app.limits().max_model_bytes;
    // A form is a little more than its file.
    if announced
        > limit
            .saturating_add(app.limits().max_json_bytes as u64)
            .saturating_add(1 << 16)
    {
        return Err(too_large(limit));
    }
    // What is uploaded, and what is made of it.
    app.check_disk(announced.saturating_mul(2))
}

/// What stands behind the last slash, without what could harm a terminal.
fn harmless_file_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    name.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_FILE_NAME)
        .collect()
}

fn name_of_file(file: Option<&str>) -> Result<Name> {
    let file = file.unwrap_or("");
    let stem = [".safetensors", ".tar.gz", ".tgz", ".tar", ".zip"]
        .iter()
        .find_map(|ending| file.strip_suffix(ending));
    let stem = stem.unwrap_or(file);
    let kept = Name::from_any(stem, "model");
    match stem.is_empty() {
        true => Err(name_fault(
            "missing",
            "name the model: add ?name=insects to the address, or a field `name`",
        )),
        false => parse_name(kept.as_str()),
    }
}

fn parse_name(text: &str) -> Result<Name> {
    alias::parse_name(text).map_err(|rule| name_fault("range", &rule))
}

fn name_fault(code: &str, message: &str) -> Error {
    Error::fields(
        "the model's name is wrong",
        vec![FieldError::new("/name", code, message)],
    )
}

fn malformed(detail: &str) -> Error {
    Error::new(Kind::Malformed, "form-invalid", detail)
}

fn cut_short() -> Error {
    let detail = "the model ended before it was complete; send it again";
    Error::new(Kind::Malformed, "body-incomplete", detail)
}

fn too_large(limit: u64) -> Error {
    let detail = format!("a model may have {limit} bytes, and this one is larger");
    Error::new(Kind::TooLarge, "too-large", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_model() {
        let name = |file: &str| name_of_file(Some(file)).map(|name| name.to_string());
        assert_eq!(name("resnet18-flowers.safetensors").unwrap(), "resnet18-flowers");
        assert_eq!(name("my model.tar.gz").unwrap(), "my-model");
        assert!(name("").is_err() && name_of_file(None).is_err());
        assert_eq!(
            harmless_file_name("C:\\weights\\a\u{1b}[31m.safetensors"),
            "a[31m.safetensors"
        );
    }
}
