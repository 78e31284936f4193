//! `GET /v1/models/{model}/export`: a model in a format of other programs, as a resumable download.

use std::{io, ops::Range, os::unix::fs::FileExt};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    domain::models::{
        export::{ExportFormat, ExportSpec},
        model::Model,
    },
    error::{Error, Result},
    files::checksum,
    http::{
        App,
        connections::Caller,
        requests::{extract::Query, precondition::is_known},
        responses::{
            download::{CHUNK, Out},
            problem::Problems,
            range::Asked,
        },
        uploads::digests::REPR_DIGEST,
    },
    jobs::Exported,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    #[param(inline)]
    format: ExportFormat,
    /// `onnx` only: the graph takes red, green and blue on the scale 0–1 and normalises them itself.
    #[serde(default)]
    #[param(default = false)]
    normalize: bool,
    /// `onnx` only: the graph outputs `probabilities`, with the model's temperature applied, instead of `logits`.
    #[serde(default)]
    #[param(default = false)]
    softmax: bool,
}

/// Export a model
///
/// - `safetensors`: weights with torchvision's parameter names, for a strict `load_state_dict`. The metadata contain `labels`,
///   `architecture`, `preprocessing` and `temperature`.
/// - `bundle`: a zip of the model's own files, `model.json` (its card) and `model.safetensors`.
/// - `timm`: a zip of a folder for `timm.create_model("local-dir:…", pretrained=True)`: `config.json`, `model.safetensors` and a model
///   card, `README.md`, with timm's parameter names. Only for networks that timm has.
/// - `torchscript`: a module for `torch.jit.load`, with torchvision's parameter names, for any batch size. The extra file
///   `model.json` is the card.
/// - `onnx`: a graph of opset 17 with the input `input` `[N, 3, side, side]`, normalised as `preprocessing` says, and the output
///   `logits` `[N, classes]`. The metadata are those of `safetensors`.
///
/// The same model and format always give the same bytes, so an interrupted download can be resumed with `Range` and `If-Range`.
#[utoipa::path(
    get, path = "/v1/models/{model}/export", tag = "models",
    params(
        ("model" = String, Path, description = "Id, name (the newest) or name@version"), ExportQuery,
        ("if-none-match" = Option<String>, Header), ("range" = Option<String>, Header, description = "One range of bytes"),
        ("if-range" = Option<String>, Header, description = "Send the whole file if this is not its ETag")
    ),
    responses(
        (
            status = 200, description = "The file", content(([u8] = "application/octet-stream"), ([u8] = "application/zip")),
            headers(("etag" = String), ("content-disposition" = String), ("accept-ranges" = String), ("repr-digest" = String))
        ),
        (
            status = 206, description = "Partial content",
            content(([u8] = "application/octet-stream"), ([u8] = "application/zip")), headers(("etag" = String), ("content-range" = String))
        ),
        (status = 304, description = "Not modified"),
        Problems
    )
)]
pub async fn export(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<ExportQuery>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response> {
    let model = app.store().model(&reference).await?;
    let spec = check(&query, &model)?;
    let permit = app.download_permit(caller)?;
    let made = app.jobs().export(&model, spec).await?;
    let tag = format!("\"{}\"", made.sha256);
    // A name may refer to another model next time.
    let about = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    let whole = 0..made.bytes;
    let (status, part) = match Asked::of(&headers, &tag, made.bytes) {
        Asked::Whole => (StatusCode::OK, whole),
        Asked::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Asked::Beyond => return Ok(Asked::refusal(made.bytes)),
    };
    let name = spec.file_name(&model.name, model.version);
    let file = [
        (header::CONTENT_TYPE, spec.format.media_type().to_owned()),
        (header::CONTENT_LENGTH, (part.end - part.start).to_string()),
        // A model's name needs no escaping.
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (REPR_DIGEST, checksum::digest_field(&made.sha256)),
    ];
    let range = (status == StatusCode::PARTIAL_CONTENT).then(|| {
        let (first, last) = (part.start, part.end - 1);
        let text = format!("bytes {first}-{last}/{}", made.bytes);
        [(header::CONTENT_RANGE, text)]
    });
    let body = app.download(permit, move |out| send(&made, part, out));
    let mut response = (status, about, file, body).into_response();
    for (name, text) in range.into_iter().flatten() {
        response
            .headers_mut()
            .insert(name, text.try_into().map_err(Error::internal)?);
    }
    Ok(response)
}

fn check(query: &ExportQuery, model: &Model) -> Result<ExportSpec> {
    let architecture = model.card.architecture;
    let spec = ExportSpec::check(
        query.format,
        query.normalize,
        query.softmax,
        architecture,
        model.card.head,
        model.card.preprocessing.crop,
    );
    spec.map_err(|faults| {
        let detail = faults
            .first()
            .map_or_else(String::new, |fault| fault.message.clone());
        Error::fields(detail, faults)
    })
}

fn send(made: &Exported, part: Range<u64>, out: &Out) -> io::Result<()> {
    let mut at = part.start;
    while at < part.end {
        let mut piece = vec![0; (part.end - at).min(CHUNK as u64) as usize];
        made.file.read_exact_at(&mut piece, at)?;
        at += piece.len() as u64;
        out.put(Ok(piece.into()))?;
    }
    Ok(())
}
