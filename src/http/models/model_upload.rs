//! Receives a model, in a form or as the body: detected by its first bytes, counted, hashed, and never in memory as a whole.

use axum::{body::Bytes, extract::Request, http::HeaderMap};
use futures_util::{Stream, TryStreamExt};

use crate::{
    blobs::Spooled,
    domain::models::model_import::{DescriptionFields, ENOUGH, ImportFormat},
    error::{Error, Kind, Result},
    http::{
        App,
        requests::form::{self, Form},
        uploads::spooling::Intake,
    },
    store::Room,
};

/// Longest file name that is kept, in characters.
const LONGEST_FILE_NAME: usize = 255;

/// Fields of the form that are not the model.
const DESCRIPTION: [&str; 9] = [
    "name",
    "labels",
    "architecture",
    "image_size",
    "resize",
    "resize_to",
    "interpolation",
    "mean",
    "std",
];

/// What a request contained.
pub struct Sent {
    pub file: SentFile,
    /// Name of the model, if the form has one.
    pub name: Option<String>,
    pub fields: DescriptionFields,
}

pub struct SentFile {
    pub spooled: Spooled,
    pub format: ImportFormat,
    /// File name in the form, if it was a form.
    pub file_name: Option<String>,
}

/// Receives the model of a request.
///
/// # Errors
/// `model-unsupported` (415) if the first bytes show that it is not a model, `too-large` (413), `insufficient-storage` (507),
/// `body-too-slow` (408), `form-invalid` and `body-incomplete` (400), `quota-bytes` (429).
pub async fn receive(app: &App, request: Request, room: Room) -> Result<Sent> {
    check_announced_size(app, request.headers(), &room)?;
    if form::is_announced(request.headers()) {
        return receive_form(app, request, room).await;
    }
    let chunks = request.into_body().into_data_stream().map_err(|_| cut_short());
    let (spooled, format) = receive_file(app, chunks, room).await?;
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

async fn receive_form(app: &App, request: Request, room: Room) -> Result<Sent> {
    let mut form = Form::of(request, app.limits().upload_idle()).await?;
    let mut file: Option<(String, SentFile)> = None;
    let mut name = None;
    let mut fields = DescriptionFields::default();
    let mut text_room = app.limits().max_json_bytes;
    let mut texts = Vec::new();
    while let Some(field) = form.next().await? {
        let called = field.name().unwrap_or("").to_owned();
        let shown = field.shown();
        // The description may come as files too: `-F labels=@classes.txt`. Any other file is the model, whatever its field is called.
        if field.is_file() && !DESCRIPTION.contains(&called.as_str()) {
            if let Some((first, _)) = &file {
                return Err(form::second_file(first, &shown));
            }
            let file_name = field.file_name().map(harmless_file_name);
            let chunks = field.into_chunks(cut_short);
            let (spooled, format) = receive_file(app, chunks, room.clone()).await?;
            let sent = SentFile {
                spooled,
                format,
                file_name,
            };
            file = Some((shown, sent));
            continue;
        }
        let place = match called.as_str() {
            "name" => &mut name,
            "labels" => &mut fields.labels,
            "architecture" => &mut fields.architecture,
            "image_size" => &mut fields.image_size,
            "resize" => &mut fields.resize,
            "resize_to" => &mut fields.resize_to,
            "interpolation" => &mut fields.interpolation,
            "mean" => &mut fields.mean,
            "std" => &mut fields.std,
            _ => {
                return Err(form::invalid(format!(
                    "the form has an unknown field {shown}; the known ones are file, {}",
                    DESCRIPTION.join(", ")
                )));
            }
        };
        let text = field.text(&mut text_room).await?;
        if place.replace(text).is_some() {
            return Err(form::invalid(format!(
                "the field {shown} of the form occurs twice"
            )));
        }
        texts.push(shown);
    }
    let (_, file) = file.ok_or_else(|| {
        form::without_file(
            &texts,
            "`curl -F file=@resnet18.safetensors -F labels=@classes.txt`",
        )
    })?;
    Ok(Sent { file, name, fields })
}

/// Spools the file. A file that is not a model by its first bytes is refused before the rest is received.
async fn receive_file(
    app: &App,
    chunks: impl Stream<Item = Result<Bytes>>,
    room: Room,
) -> Result<(Spooled, ImportFormat)> {
    let intake = Intake {
        blobs: app.blobs(),
        idle: app.limits().upload_idle(),
        limit: app.limits().max_model_bytes,
        too_large,
        room,
    };
    let mut head = Vec::new();
    let look = |chunk: &[u8]| {
        let wanted = ENOUGH.saturating_sub(head.len());
        if wanted == 0 {
            return Ok(());
        }
        head.extend_from_slice(&chunk[..chunk.len().min(wanted)]);
        if head.len() < ENOUGH {
            return Ok(());
        }
        told(&head).map(drop)
    };
    let spooled = intake.take(chunks, look).await?;
    let format = told(&head)?;
    Ok((spooled, format))
}

fn told(head: &[u8]) -> Result<ImportFormat> {
    ImportFormat::of(head).map_err(|why| Error::new(Kind::UnsupportedMedia, "model-unsupported", why))
}

/// Refuses, before a byte is read, what cannot succeed.
fn check_announced_size(app: &App, headers: &HeaderMap, room: &Room) -> Result<()> {
    let announced = form::announced_bytes(headers);
    let limit = app.limits().max_model_bytes;
    let texts = app.limits().max_json_bytes as u64;
    if announced > limit.saturating_add(texts).saturating_add(form::FRAMING_BYTES) {
        return Err(too_large(limit));
    }
    // Of a form, its other texts may be as large as that.
    let texts = if form::is_announced(headers) { texts } else { 0 };
    room.check(form::announced_file_bytes(headers).saturating_sub(texts))?;
    // Space for the upload and for the files made from it.
    app.check_disk(announced.saturating_mul(2))
}

/// The part after the last slash, without characters that could harm a terminal.
fn harmless_file_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    name.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_FILE_NAME)
        .collect()
}

fn cut_short() -> Error {
    let detail = "the request body ended before the model was complete; send it again";
    Error::new(Kind::Malformed, "body-incomplete", detail)
}

fn too_large(limit: u64) -> Error {
    let detail = format!("the model is larger than the limit of {limit} bytes");
    Error::new(Kind::TooLarge, "too-large", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_is_kept_without_its_folders_and_what_is_not_text() {
        assert_eq!(
            harmless_file_name("C:\\weights\\a\u{1b}[31m.safetensors"),
            "a[31m.safetensors"
        );
    }
}
