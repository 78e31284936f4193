//! `finetuned predict`: classifies image files with a model, one line of output each.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use reqwest::{Body, Method, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::fs::File;

use super::{
    ServerArgs,
    api::{self, Api, Failure},
    key,
    output::Output,
    text::{percent, printable},
};
use crate::domain::models::prediction::{ClassProbability, PredictionTiming};

const TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Name, name@version, alias or id of the model
    pub model: String,
    /// Image files
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
    /// Number of classes to print per image
    #[arg(long, short = 'k', default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub top_k: u32,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Prediction {
    predictions: Vec<ClassProbability>,
    timing_ms: PredictionTiming,
}

/// Classifies the images one by one; a failure does not affect the others. Returns false if any image failed.
pub async fn run(args: &PredictArgs, output: &mut Output) -> Result<bool, Failure> {
    let api = key::connect(&args.server)?;
    let mut all = true;
    for image in &args.images {
        let answer = classify(&api, args, image).await;
        match answer {
            Ok(answer) if args.server.json => output.line(&with_file(answer, image).to_string())?,
            Ok(answer) => {
                let prediction: Prediction = api::read(&answer)?;
                output.line(&prediction_line(image, &prediction))?;
            }
            Err(failure @ (Failure::Refused(_) | Failure::File { .. })) => {
                all = false;
                refuse(args, image, &failure, output)?;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(all)
}

async fn classify(api: &Api, args: &PredictArgs, image: &Path) -> Result<Value, Failure> {
    let failed = |source| Failure::File {
        path: printable(&image.display().to_string()),
        source,
    };
    let file = File::open(image).await.map_err(failed)?;
    let length = file.metadata().await.map_err(failed)?.len();
    let mut url = api.url(&["models", &args.model, "predict"]);
    url.query_pairs_mut()
        .append_pair("top_k", &args.top_k.to_string());
    let request = api
        .request(Method::PUT, url)
        .timeout(TIMEOUT)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, length)
        .body(Body::from(file));
    api.json(request).await
}

/// The server's object does not contain our file name.
fn with_file(mut answer: Value, image: &Path) -> Value {
    if let Value::Object(object) = &mut answer {
        object.insert("file".into(), image.display().to_string().into());
    }
    answer
}

fn refuse(args: &PredictArgs, image: &Path, failure: &Failure, output: &mut Output) -> Result<(), Failure> {
    if !args.server.json {
        let text = match failure {
            Failure::Refused(problem) => {
                format!("{}: {}", printable(&image.display().to_string()), problem)
            }
            other => other.to_string(),
        };
        eprintln!("finetuned: {text}");
        return Ok(());
    }
    let error = match failure {
        Failure::Refused(problem) => problem.raw.clone(),
        other => json!({"detail": other.to_string()}),
    };
    output.line(&json!({"file": image.display().to_string(), "error": error}).to_string())
}

fn prediction_line(image: &Path, prediction: &Prediction) -> String {
    let classes: Vec<_> = prediction
        .predictions
        .iter()
        .map(|class| format!("{} {}", printable(&class.label), percent(class.probability)))
        .collect();
    let PredictionTiming {
        queue,
        decode,
        forward,
    } = prediction.timing_ms;
    format!(
        "{}: {}  ({:.0} ms)",
        printable(&image.display().to_string()),
        classes.join(", "),
        queue + decode + forward
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_is_one_line_whatever_the_class_is_called() {
        let answer = json!({
            "object": "prediction", "model": "mdl_x",
            "predictions": [{"label": "bees\n\u{1b}]0;x\u{7}", "index": 1, "probability": 0.931}, {"label": "ants", "index": 0, "probability": 0.069}],
            "timing_ms": {"queue": 0.4, "decode": 1.6, "forward": 12.1}
        });
        let line = prediction_line(Path::new("a b.jpg"), &api::read(&answer).unwrap());
        assert_eq!(
            line,
            "a b.jpg: bees\u{fffd}\u{fffd}]0;x\u{fffd} 93.1 %, ants 6.9 %  (14 ms)"
        );
        assert_eq!(with_file(answer, Path::new("a.jpg"))["file"], "a.jpg");
    }
}
