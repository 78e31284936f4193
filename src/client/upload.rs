//! `finetuned upload`: streams an archive to the server, then prints the report.

use std::{
    io::{self, IsTerminal, stderr},
    path::PathBuf,
};

use clap::Args;
use futures_util::TryStreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::{Body, Method, header};
use serde_json::Value;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use super::{
    ServerArgs,
    api::{self, Api, Failure},
    key,
    output::Output,
    resume::Sending,
    text::printable,
};
use crate::{
    domain::datasets::{
        dataset::{Dataset, DatasetStatus},
        reading::ReadOptions,
    },
    files::digest,
};

/// The server holds each request this long until the archive has been read.
const WAIT_SECONDS: u64 = 60;
const CHUNK: usize = 256 << 10;

#[derive(Debug, Args)]
pub struct UploadArgs {
    /// zip or tar file with one folder of images per class
    pub archive: PathBuf,
    /// Name of the dataset; by default derived from the file name
    #[arg(long, short)]
    pub name: Option<String>,
    /// How to read the archive, as JSON: `{"classes": "folders", "level": 2}` (see docs/DATASETS.md)
    #[arg(long, value_name = "JSON")]
    pub options: Option<ReadOptions>,
    /// Size in bytes from which the upload is resumable after a broken connection
    #[arg(long, default_value_t = 16 << 20)]
    pub resume_from: u64,
    /// Return without waiting until the archive has been read
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Returns false if the dataset failed.
pub async fn run(args: &UploadArgs, output: &mut Output) -> Result<bool, Failure> {
    let api = key::connect(&args.server)?;
    let mut answer = send(&api, args).await?;
    let mut dataset: Dataset = api::read(&answer)?;
    while dataset.status == DatasetStatus::Processing && !args.no_wait {
        let id = dataset.id.to_string();
        answer = api.get(&["datasets", &id], Some(WAIT_SECONDS)).await?;
        dataset = api::read(&answer)?;
    }
    if args.server.json {
        output.line(&answer.to_string())?;
    } else {
        for line in dataset_lines(&dataset) {
            output.line(&line)?;
        }
        if dataset.status != DatasetStatus::Failed {
            eprintln!(
                "  train on it:  finetuned submit --dataset {} --watch",
                dataset.name
            );
        }
    }
    Ok(dataset.status != DatasetStatus::Failed)
}

async fn send(api: &Api, args: &UploadArgs) -> Result<Value, Failure> {
    let failed = |source| Failure::File {
        path: printable(&args.archive.display().to_string()),
        source,
    };
    let file = File::open(&args.archive).await.map_err(failed)?;
    let metadata = file.metadata().await.map_err(failed)?;
    if metadata.is_dir() {
        let shown = printable(&args.archive.display().to_string());
        let advice = format!("{shown} is a directory; pack it first: tar czf images.tar.gz -C {shown} .");
        return Err(Failure::Usage(advice));
    }
    let naming = naming(args);
    let bar = upload_bar(metadata.len());
    if metadata.len() >= args.resume_from {
        let dataset = send_resumably(api, args, metadata.len(), &naming, &bar).await;
        bar.finish_and_clear();
        return api.get(&["datasets", &dataset?], None).await;
    }
    let mut url = api.url(&["datasets"]);
    url.query_pairs_mut().append_pair(naming.0, &naming.1);
    if let Some(options) = &args.options {
        for (option, text) in in_query(options) {
            url.query_pairs_mut().append_pair(&option, &text);
        }
    }
    let counter = bar.clone();
    let body =
        ReaderStream::with_capacity(file, CHUNK).inspect_ok(move |chunk| counter.inc(chunk.len() as u64));
    let request = api
        .request(Method::PUT, url)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, metadata.len())
        .body(Body::wrap_stream(body));
    let answer = api.json(request).await;
    bar.finish_and_clear();
    answer
}

/// The digest is sent first: it tells the server whether it already has the file under this name, and lets it verify the file at the end.
async fn send_resumably(
    api: &Api,
    args: &UploadArgs,
    bytes: u64,
    naming: &(&'static str, String),
    bar: &ProgressBar,
) -> Result<String, Failure> {
    let path = args.archive.clone();
    let hashed = tokio::task::spawn_blocking(move || digest::of_file(&path)).await;
    let hashed = hashed.map_err(io::Error::other).flatten();
    let (sha256, _) = hashed.map_err(|source| Failure::File {
        path: printable(&args.archive.display().to_string()),
        source,
    })?;
    let sending = Sending {
        api,
        path: &args.archive,
        bytes,
        naming,
        sha256: &sha256,
        options: args.options.as_ref(),
        bar,
    };
    sending.send().await
}

/// Options as an upload's query has them.
fn in_query(options: &ReadOptions) -> Vec<(String, String)> {
    let Ok(Value::Object(options)) = serde_json::to_value(options) else {
        return Vec::new();
    };
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Object(splits) => {
            let pairs = splits
                .iter()
                .map(|(folder, role)| format!("{folder}:{}", role.as_str().unwrap_or_default()));
            pairs.collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    };
    options
        .into_iter()
        .map(|(option, value)| (option, text(value)))
        .collect()
}

fn upload_bar(bytes: u64) -> ProgressBar {
    let target = if stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let template = "{bar:30} {decimal_bytes} of {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(bytes), target).with_style(style.progress_chars("=> "))
}

/// How the dataset is to be called: by a name that the user chose, or by one that the server derives from the file's.
fn naming(args: &UploadArgs) -> (&'static str, String) {
    match &args.name {
        Some(name) => ("name", name.clone()),
        None => {
            let file = args.archive.file_name().unwrap_or_default();
            ("filename", file.to_string_lossy().into_owned())
        }
    }
}

fn dataset_lines(dataset: &Dataset) -> Vec<String> {
    let head = format!("{}  {}", dataset.id, dataset.name);
    match (&dataset.error, dataset.status) {
        (Some(error), _) => {
            return vec![format!(
                "{head}: failed ({}): {}",
                printable(&error.code),
                printable(&error.message)
            )];
        }
        (None, DatasetStatus::Processing) => {
            return vec![format!("{head}: uploaded; it is being processed")];
        }
        _ => {}
    }
    let mut lines = vec![format!(
        "{head}: {} images in {} classes",
        dataset.images,
        dataset.classes.len()
    )];
    if let Some(report) = &dataset.report {
        if report.skipped > 0 {
            lines.push(format!(
                "  {} files could not be read as images and were skipped",
                report.skipped
            ));
        }
        for warning in &report.warnings {
            lines.push(format!("  warning: {}", printable(&warning.message)));
        }
    }
    lines
}
