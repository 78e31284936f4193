//! Uploads a large file by tus 1.0: when the connection breaks, asks the server for its offset and sends the rest.

use std::{
    io::{self, SeekFrom},
    path::Path,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::TryStreamExt;
use indicatif::ProgressBar;
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url, header};
use tokio::{fs::File, io::AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{
    api::{Api, Failure},
    text::printable,
};
use crate::domain::datasets::reading::ReadOptions;

const VERSION: &str = "1.0.0";
const CHUNK: usize = 256 << 10;
/// Consecutive tries without progress before the upload is aborted: some four minutes, with the delays between them.
const TRIES: u32 = 12;
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The file to upload.
pub struct Sending<'a> {
    pub api: &'a Api,
    pub path: &'a Path,
    pub bytes: u64,
    /// Key and value of the metadata that name the dataset: a chosen `name`, or the `filename`.
    pub naming: &'a (&'static str, String),
    pub sha256: &'a str,
    /// How to read the archive.
    pub options: Option<&'a ReadOptions>,
    pub bar: &'a ProgressBar,
}

impl Sending<'_> {
    /// Uploads the file; returns the id of the dataset created from it.
    pub async fn send(&self) -> Result<String, Failure> {
        let upload = self.begin().await?;
        let mut offset = 0;
        let mut tries = 0;
        loop {
            let answer = match self.send_from(&upload, offset).await {
                Ok(answer) => Some(answer),
                Err(failure) if tries >= TRIES || !passes(&failure) => return Err(failure),
                Err(failure) => {
                    self.wait(&failure, tries).await;
                    self.ask(&upload).await?
                }
            };
            tries += 1;
            let Some(answer) = answer else { continue };
            if let Some(dataset) = text(&answer, "upload-dataset") {
                return Ok(dataset.to_owned());
            }
            let stands = number(&answer, "upload-offset")?;
            if stands > offset {
                tries = 0;
            }
            offset = stands;
            self.bar.set_position(offset);
        }
    }

    async fn begin(&self) -> Result<Url, Failure> {
        let options = self
            .options
            .and_then(|options| serde_json::to_string(options).ok());
        let options = options.as_deref().map(|options| ("options", options));
        let pairs = [(self.naming.0, self.naming.1.as_str()), ("sha256", self.sha256)];
        let pairs: Vec<String> = pairs
            .into_iter()
            .chain(options)
            .map(|(key, value)| format!("{key} {}", STANDARD.encode(value)))
            .collect();
        let request = self
            .request(Method::POST, self.api.url(&["uploads"]))
            .header("upload-length", self.bytes)
            .header("upload-metadata", pairs.join(","));
        let answer = self.api.send(request).await?;
        let id = text(&answer, "location").and_then(|location| location.rsplit('/').next());
        let id = id.ok_or_else(|| {
            Failure::Unexpected("the response to a new upload has no `location`".to_owned())
        })?;
        Ok(self.api.url(&["uploads", id]))
    }

    async fn send_from(&self, upload: &Url, offset: u64) -> Result<Response, Failure> {
        let mut file = File::open(self.path)
            .await
            .map_err(|fault| self.unreadable(fault))?;
        file.seek(SeekFrom::Start(offset))
            .await
            .map_err(|fault| self.unreadable(fault))?;
        let bar = self.bar.clone();
        bar.set_position(offset);
        let chunks =
            ReaderStream::with_capacity(file, CHUNK).inspect_ok(move |chunk| bar.inc(chunk.len() as u64));
        let request = self
            .request(Method::PATCH, upload.clone())
            .header("upload-offset", offset)
            .header(header::CONTENT_TYPE, "application/offset+octet-stream")
            .header(header::CONTENT_LENGTH, self.bytes.saturating_sub(offset))
            .body(Body::wrap_stream(chunks));
        self.api.send(request).await
    }

    /// The server's offset; `None` if it is not known yet.
    async fn ask(&self, upload: &Url) -> Result<Option<Response>, Failure> {
        let request = self.request(Method::HEAD, upload.clone()).timeout(LONGEST_WAIT);
        match self.api.send(request).await {
            Ok(answer) => Ok(Some(answer)),
            Err(failure) if passes(&failure) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn wait(&self, failure: &Failure, tries: u32) {
        let wait = Duration::from_secs(1 << tries.min(5)).min(LONGEST_WAIT);
        let line = format!(
            "{}; retrying in {} s",
            printable(&failure.to_string()),
            wait.as_secs()
        );
        self.bar.suspend(|| eprintln!("{line}"));
        tokio::time::sleep(wait).await;
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.api.request(method, url).header("tus-resumable", VERSION)
    }

    fn unreadable(&self, source: io::Error) -> Failure {
        Failure::File {
            path: printable(&self.path.display().to_string()),
            source,
        }
    }
}

/// Whether the failure may be temporary: no response, an overloaded server, or an earlier request that still holds the upload.
fn passes(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable { .. } => true,
        Failure::Refused(problem) => {
            let status = problem.status;
            let again = [
                StatusCode::REQUEST_TIMEOUT,
                StatusCode::LOCKED,
                StatusCode::TOO_MANY_REQUESTS,
            ];
            status.is_server_error() || again.contains(&status) || problem.is("offset-mismatch")
        }
        _ => false,
    }
}

fn text<'r>(answer: &'r Response, name: &str) -> Option<&'r str> {
    answer.headers().get(name)?.to_str().ok()
}

fn number(answer: &Response, name: &str) -> Result<u64, Failure> {
    let number = text(answer, name).and_then(|text| text.parse().ok());
    number.ok_or_else(|| Failure::Unexpected(format!("the response about an upload has no `{name}`")))
}
