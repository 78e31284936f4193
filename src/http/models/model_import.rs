//! `POST /v1/models`: imports a model, as a bundle or as weights with a description.

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::model_upload;
use crate::{
    domain::{
        models::{
            alias,
            model::Model,
            model_import::{DescriptionFields, ImportFormat, ImportedFile},
        },
        name::Name,
    },
    error::{Error, FieldError, Result},
    http::{
        App, access::Allowed, connections::Caller, requests::extract::Query, responses::problem::Problems,
    },
    jobs::Import,
    protocol::ImportContents,
    store::ImportedModel,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// Name of the model, if the form does not contain it; by default the file name.
    #[param(value_type = Option<Name>)]
    name: Option<String>,
}

/// A model to import, as a form.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct ImportForm {
    /// A bundle (an archive of `model.safetensors` and `model.json`), or weights with torchvision's names, in safetensors or as
    /// `torch.save` writes them.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// By default the file name without its extension. Models with the same name are versions.
    name: Option<Name>,
    /// Class names in the order of the network's outputs: one per line, a JSON array, or an object such as `id2label`. This field
    /// and the following ones are valid with weights only, not with a bundle.
    labels: Option<String>,
    /// By default detected from the tensors.
    architecture: Option<String>,
    /// Side length of the square input, 32 to 1024 pixels; by default the architecture's own.
    image_size: Option<u32>,
    /// `shortest_crop` (the default), `squash` or `letterbox`.
    resize: Option<String>,
    /// Length that the shorter side is resized to before the centre crop, up to 2048 pixels; by default as in torchvision, 256 for 224.
    resize_to: Option<u32>,
    /// `bilinear` or `bicubic`; by default, like `mean` and `std`, that of the architecture's known weights.
    interpolation: Option<String>,
    /// Mean of red, green and blue on the scale 0–1; `[0.485, 0.456, 0.406]` by default.
    mean: Option<String>,
    /// Standard deviation in the same form; `[0.229, 0.224, 0.225]` by default.
    std: Option<String>,
}

/// Import a model
///
/// Send a bundle, as written by an export, as the body or as the file of a form; or a form with weights under torchvision's names
/// (safetensors, or a file of `torch.save`, of which nothing is executed), and `labels`. A common prefix of the names is taken off, and the
/// head may have another name; `imported_from.remarks` tells. Everything is checked before the response: names, shapes and types of the
/// tensors, that all numbers are finite, and that each output has a class. The model is served at once. Sending the same model again under
/// the same name does not create another one: 200.
#[utoipa::path(
    post, path = "/v1/models", tag = "models", params(ImportQuery),
    request_body(content((ImportForm = "multipart/form-data"), ("application/octet-stream"))),
    responses((status = 201, body = Model, headers(("location" = String))), (status = 200, description = "It already exists", body = Model), Problems)
)]
pub async fn import_post(
    app: State<App>,
    query: Query<ImportQuery>,
    allowed: Allowed,
    request: Request,
) -> Result<Response> {
    import(app, query, allowed, request).await
}

/// Import a bundle with `curl -T`
#[utoipa::path(
    put, path = "/v1/models", tag = "models", params(ImportQuery),
    request_body(content(("application/octet-stream"))),
    responses((status = 201, body = Model, headers(("location" = String))), (status = 200, description = "It already exists", body = Model), Problems)
)]
pub async fn import_put(
    app: State<App>,
    query: Query<ImportQuery>,
    allowed: Allowed,
    request: Request,
) -> Result<Response> {
    import(app, query, allowed, request).await
}

/// Import a model to its file name, as `curl -T insects.safetensors …/v1/models/` does
#[utoipa::path(
    put, path = "/v1/models/{model}", tag = "models",
    params(("model" = String, Path, description = "File name of the model, or a name"), ImportQuery),
    request_body(content(("application/octet-stream"))),
    responses((status = 201, body = Model, headers(("location" = String))), (status = 200, description = "It already exists", body = Model), Problems)
)]
pub async fn import_named(
    State(app): State<App>,
    Path(file): Path<String>,
    Query(query): Query<ImportQuery>,
    allowed: Allowed,
    request: Request,
) -> Result<Response> {
    import_from(&app, &query, Some(&file), &allowed, request).await
}

async fn import(
    State(app): State<App>,
    Query(query): Query<ImportQuery>,
    allowed: Allowed,
    request: Request,
) -> Result<Response> {
    import_from(&app, &query, None, &allowed, request).await
}

async fn import_from(
    app: &App,
    query: &ImportQuery,
    file_in_address: Option<&str>,
    allowed: &Allowed,
    request: Request,
) -> Result<Response> {
    let named = query.name.as_deref().map(parse_name).transpose()?;
    let _permit = app.begin_receiving(Caller::of(request.extensions()))?;
    let owner = allowed.owner();
    let room = app.store().room_of(owner.as_ref()).await?;
    let sent = model_upload::receive(app, request, room).await?;
    let name = match (named, sent.name.as_deref().map(parse_name).transpose()?) {
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => {
            let file = file_in_address.or(sent.file.file_name.as_deref());
            app.store().name_beside_aliases(name_of_file(file)?).await?
        }
    };
    let contents = contents(app, sent.file.format, &sent.fields)?;
    app.store().check_model_name(&name).await?;
    let import = Import {
        file: sent.file.spooled.path(),
        name,
        contents,
        owner,
        from: ImportedFile {
            format: sent.file.format,
            sha256: sent.file.spooled.sha256.clone(),
            bytes: sent.file.spooled.bytes,
            file_name: sent.file.file_name.clone(),
            remarks: Vec::new(),
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

/// The description of the model, validated as far as is possible without reading the file.
fn contents(app: &App, format: ImportFormat, fields: &DescriptionFields) -> Result<ImportContents> {
    let wrong = |faults| Error::fields("the description of the model is invalid", faults);
    match format {
        ImportFormat::Safetensors | ImportFormat::Torch => {
            let described = fields.check(app.limits().ingest.max_classes);
            Ok(ImportContents::Weights(described.map_err(wrong)?))
        }
        ImportFormat::Bundle => {
            let given = fields.given().into_iter();
            let faults: Vec<_> = given
                .map(|field| {
                    FieldError::new(
                        format!("/{field}"),
                        "conflict",
                        "not valid with a bundle, which contains it",
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

/// Endings of models' files, which are no part of a name; the longer ones first.
const ENDINGS: [&str; 13] = [
    ".safetensors",
    ".pth.tar",
    ".tar.gz",
    ".tar.bz2",
    ".tar.xz",
    ".tar.zst",
    ".tgz",
    ".tar",
    ".zip",
    ".pth",
    ".ckpt",
    ".bin",
    ".pt",
];

fn name_of_file(file: Option<&str>) -> Result<Name> {
    let file = file.unwrap_or("");
    let lower = file.to_ascii_lowercase();
    let ending = ENDINGS.iter().find(|ending| lower.ends_with(**ending));
    let stem = &file[..file.len() - ending.map_or(0, |ending| ending.len())];
    let message = "the model needs a name: add ?name=insects to the URL, or a field `name`";
    match stem.is_empty() {
        true => Err(name_fault("missing", message)),
        false => parse_name(Name::from_any(stem, "model").as_str()),
    }
}

fn parse_name(text: &str) -> Result<Name> {
    alias::parse_name(text).map_err(|rule| name_fault("range", &rule))
}

fn name_fault(code: &str, message: &str) -> Error {
    Error::fields(
        "the model name is invalid",
        vec![FieldError::new("/name", code, message)],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_model() {
        let name = |file: &str| name_of_file(Some(file)).map(|name| name.to_string());
        assert_eq!(name("resnet18-flowers.safetensors").unwrap(), "resnet18-flowers");
        assert_eq!(name("my model.tar.gz").unwrap(), "my-model");
        assert_eq!(name("R18.SafeTensors").unwrap(), "R18");
        assert_eq!(name("модель.safetensors").unwrap(), "model");
        assert_eq!(name("imagenet.safetensors").unwrap(), "model-imagenet");
        assert_eq!(name("best.pth.tar").unwrap(), "best");
        assert_eq!(name("best.pt").unwrap(), "best");
        assert!(name("").is_err() && name_of_file(None).is_err());
    }
}
