//! Any bytes as a form with files, in pieces of any size: the fields are those that the whole form has, wherever it is cut; a form that cannot be
//! read is refused in our own words; and a form that was written is read.
//!
//! The first byte is the size of the pieces, `3` for three bytes; the rest of the first line is the header
//! `content-type`, and what follows is the body.

#![no_main]

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, header},
};
use finetuned_fuzz::{
    error::{Error, Kind},
    http::requests::form::{self, Form},
    memory,
    pieces::{self, wait},
};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static MEMORY: memory::Counted = memory::Counted;

const IDLE: Duration = Duration::from_secs(60);
/// Bytes of all text fields together.
const ROOM: usize = 1 << 10;
const BOUNDARY: &str = "----ours-7MA4YWxkTrZu0gW";

fuzz_target!(|bytes: &[u8]| {
    let [size, rest @ ..] = bytes else { return };
    let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (kind, body) = (&rest[..line], rest.get(line + 1..).unwrap_or(&[]));
    let Ok(kind) = HeaderValue::from_bytes(kind) else {
        return;
    };
    let size = usize::from(size % 16);
    let (whole, most) = memory::most_during(|| read(&kind, body, body.len()));
    assert!(
        most <= (1 << 18) + 8 * body.len(),
        "{most} bytes for {}",
        body.len()
    );
    let cut = read(&kind, body, size);
    assert_eq!(whole, cut, "in pieces of {size}");
    sensible(&whole, body);
    written_is_read(body, size);
});

#[derive(Debug, PartialEq)]
struct Field {
    name: Option<String>,
    file_name: Option<String>,
    contents: Contents,
}

#[derive(Debug, PartialEq)]
enum Contents {
    File(Vec<u8>),
    Text(String),
}

/// The fields up to the end or to a fault, and the fault.
type Fields = (Vec<Field>, Option<(Kind, String)>);

fn read(kind: &HeaderValue, body: &[u8], size: usize) -> Fields {
    let mut request = Request::new(Body::from_stream(pieces::stream(body, size)));
    request.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    let mut fields = Vec::new();
    let fault = wait(all(request, &mut fields)).err();
    let told = fault.map(|fault| (fault.kind(), fault.detail().to_owned()));
    (fields, told)
}

/// Reads as the handlers do.
async fn all(request: Request, fields: &mut Vec<Field>) -> Result<(), Error> {
    let is_announced = form::is_announced(request.headers());
    let mut form = Form::of(request, IDLE).await?;
    assert!(is_announced, "a form that nobody would have read as one");
    let mut room = ROOM;
    while let Some(mut field) = form.next().await? {
        let shown = field.shown();
        assert!(
            !shown.contains(char::is_control) && shown.chars().count() <= 2 * 80 + 12,
            "{shown}"
        );
        let name = field.name().map(str::to_owned);
        let file_name = field.file_name().map(str::to_owned);
        let contents = match field.is_file() {
            true => {
                let mut file = Vec::new();
                while let Some(chunk) = field.chunk().await? {
                    file.extend_from_slice(&chunk);
                }
                Contents::File(file)
            }
            false => Contents::Text(field.text(&mut room).await?),
        };
        fields.push(Field {
            name,
            file_name,
            contents,
        });
    }
    Ok(())
}

fn sensible((fields, fault): &Fields, body: &[u8]) {
    let length = |field: &Field| match &field.contents {
        Contents::File(file) => file.len(),
        // UTF-16 has at least two bytes where UTF-8 has at most three.
        Contents::Text(text) => text.len() * 2 / 3,
    };
    assert!(fields.iter().map(length).sum::<usize>() <= body.len());
    if let Some((kind, detail)) = fault {
        assert!(matches!(kind, Kind::Malformed | Kind::TooLarge), "{kind:?}");
        assert!(!detail.contains(char::is_control), "{detail:?}");
    }
}

/// A form of two fields, as programs write it: whatever is in the file, short of the separator, comes back.
fn written_is_read(contents: &[u8], size: usize) {
    let separator = [b"--", BOUNDARY.as_bytes()].concat();
    if contents.windows(separator.len()).any(|bytes| bytes == separator) {
        return;
    }
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nflowers\r\n--{BOUNDARY}\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\nContent-Type: application/zip\r\n\r\n"
    );
    let tail = format!("\r\n--{BOUNDARY}--\r\n");
    let body = [head.as_bytes(), contents, tail.as_bytes()].concat();
    let kind = HeaderValue::from_str(&format!("multipart/form-data; boundary={BOUNDARY}"));
    let (fields, fault) = read(&kind.expect("it is a header"), &body, size);
    assert_eq!(fault, None);
    let text = Field {
        name: Some("name".to_owned()),
        file_name: None,
        contents: Contents::Text("flowers".to_owned()),
    };
    let file = Field {
        name: Some("file".to_owned()),
        file_name: Some("a.zip".to_owned()),
        contents: Contents::File(contents.to_vec()),
    };
    assert_eq!(fields, [text, file]);
}
