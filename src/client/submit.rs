//! `finetuned submit`: a job spec from a file, from standard input or from flags, sent to the server.

use std::{io::Read, path::PathBuf};

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value};

use super::{
    ServerArgs,
    api::{self, Api, Failure},
    key,
    output::Output,
    settings::{Setting, parse_setting},
    text::printable,
    watch,
};
use crate::domain::jobs::job::Job;

#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// JSON file with the job spec, or `-` for standard input; without it the flags are the whole spec
    pub spec: Option<PathBuf>,
    /// Id or name of the dataset
    #[arg(long, short)]
    pub dataset: Option<String>,
    /// Name of the model that the job makes
    #[arg(long, short)]
    pub name: Option<String>,
    /// Any field of the spec, as often as needed: `--set optimizer.lr=0.01 --set backbone.weights=none`
    #[arg(long, short, value_name = "FIELD=VALUE", value_parser = parse_setting)]
    pub set: Vec<Setting>,
    /// Follow the job to its end
    #[arg(long, short)]
    pub watch: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Submits, and follows with `--watch`. False where the job that was followed did not succeed.
pub async fn run(args: &SubmitArgs, output: &mut Output) -> Result<bool, Failure> {
    let spec = assemble(args)?;
    let api = key::connect(&args.server)?;
    let request = api.request(Method::POST, api.url(&["jobs"])).json(&spec);
    let answer = api.json(request).await?;
    let job: Job = api::read(&answer)?;
    if args.server.json {
        output.line(&answer.to_string())?;
    } else {
        output.line(&job.id.to_string())?;
        eprintln!("{}", hints(&api, &job, args.watch));
    }
    if !args.watch {
        return Ok(true);
    }
    watch::follow(&api, &job, args.server.json, output).await
}

fn assemble(args: &SubmitArgs) -> Result<Value, Failure> {
    let mut spec = match &args.spec {
        Some(path) => read_spec(path)?,
        None => Map::new(),
    };
    if let Some(dataset) = &args.dataset {
        spec.insert("dataset".into(), dataset.as_str().into());
    }
    if let Some(name) = &args.name {
        spec.insert("name".into(), name.as_str().into());
    }
    for setting in &args.set {
        setting.apply(&mut spec);
    }
    Ok(Value::Object(spec))
}

fn read_spec(path: &PathBuf) -> Result<Map<String, Value>, Failure> {
    let shown = path.display();
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(path).map(|content| text = content)
    };
    read.map_err(|error| Failure::Usage(format!("the spec {shown} cannot be read: {error}")))?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(spec)) => Ok(spec),
        Ok(_) => Err(Failure::Usage(format!("the spec {shown} is not a JSON object"))),
        Err(error) => Err(Failure::Usage(format!("the spec {shown} is not JSON: {error}"))),
    }
}

fn hints(api: &Api, job: &Job, watching: bool) -> String {
    let waiting = match job.queue_position {
        Some(0) | None => String::new(),
        Some(before) => format!(", {before} before it"),
    };
    let mut lines = vec![format!(
        "{}{waiting}; it {} {}",
        job.status.as_str(),
        job.kind.action(),
        printable(job.name.as_str())
    )];
    if !watching {
        lines.push(format!("  follow it:  finetuned watch {}", job.id));
    }
    lines.push(format!("  in a page:  {}", api.page("jobs", &job.id.to_string())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn args(spec: Option<PathBuf>) -> SubmitArgs {
        SubmitArgs {
            spec,
            dataset: Some("flowers".into()),
            name: None,
            set: vec![parse_setting("epochs=3").unwrap()],
            watch: false,
            server: ServerArgs {
                server: "http://127.0.0.1:1".parse().unwrap(),
                key_file: None,
                ca_cert: None,
                json: false,
            },
        }
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            r#"{"dataset": "other", "epochs": 9, "batch_size": 4}"#,
        )
        .unwrap();
        let spec = assemble(&args(Some(file.path().into()))).unwrap();
        assert_eq!(spec, json!({"dataset": "flowers", "epochs": 3, "batch_size": 4}));
    }

    #[test]
    fn a_spec_that_cannot_be_read_is_a_wrong_call() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for content in ["[1]", "{", "epochs: 3"] {
            std::fs::write(file.path(), content).unwrap();
            let failure = assemble(&args(Some(file.path().into()))).unwrap_err();
            assert!(matches!(failure, Failure::Usage(_)), "{content}: {failure}");
        }
        let missing = assemble(&args(Some("/nonexistent/spec.json".into()))).unwrap_err();
        assert!(matches!(missing, Failure::Usage(_)));
    }
}
