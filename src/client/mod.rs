//! The client commands of `finetuned`: upload a dataset, submit a job, watch its curve and classify an image, without curl.
//!
//! Called by `bin/finetuned.rs`. They talk to a server over HTTP like any other client: nothing here uses the database, the blobs or the
//! server's configuration. In output for people, control characters are replaced, because class and file names come from untrusted
//! archives. `--json` passes the server's own objects on.

mod api;
mod curve;
pub mod doctor;
mod events;
mod failure;
mod key;
mod output;
mod predict;
mod progress;
mod resume;
mod settings;
mod submit;
mod text;
mod trust;
mod upload;
mod watch;
pub mod weights;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use reqwest::{StatusCode, Url};

use api::Failure;
use output::Output;

/// The commands that talk to a running server.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Upload an archive of images as a dataset and wait until it is ready
    Upload(Box<upload::UploadArgs>),
    /// Submit a training job
    Submit(submit::SubmitArgs),
    /// Follow a job: progress, loss, accuracy and outcome
    Watch(watch::WatchArgs),
    /// Classify images with a model
    Predict(predict::PredictArgs),
}

/// The server to use, and the output format.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// URL of the server, with its path if it has one
    #[arg(long, env = "FINETUNED_SERVER", default_value = "http://127.0.0.1:8080", value_parser = server_url)]
    pub server: Url,
    /// File with the key to send, alone in it; by default FINETUNED_KEY is the key itself. There is no flag for a key: other users see flags
    #[arg(long, env = "FINETUNED_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// File with the certificates, in PEM form, of those who may vouch for a server at https://; by default those that the system trusts
    #[arg(long, env = "FINETUNED_CA_CERT")]
    pub ca_cert: Option<PathBuf>,
    /// Print the server's JSON objects, one per line, for scripts
    #[arg(long)]
    pub json: bool,
}

impl ClientCommand {
    /// Runs the command. Exit status 0: success; 1: the server refused the request, could not be reached, or the command failed; 2: invalid
    /// arguments.
    pub async fn run(self) -> ExitCode {
        let json = self.server().json;
        let mut output = Output::stdout();
        let outcome = match &self {
            ClientCommand::Upload(args) => upload::run(args, &mut output).await,
            ClientCommand::Submit(args) => submit::run(args, &mut output).await,
            ClientCommand::Watch(args) => watch::run(args, &mut output).await,
            ClientCommand::Predict(args) => predict::run(args, &mut output).await,
        };
        match outcome {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(failure) => report(&failure, json, &mut output),
        }
    }

    fn server(&self) -> &ServerArgs {
        match self {
            ClientCommand::Upload(args) => &args.server,
            ClientCommand::Submit(args) => &args.server,
            ClientCommand::Watch(args) => &args.server,
            ClientCommand::Predict(args) => &args.server,
        }
    }
}

fn report(failure: &Failure, json: bool, output: &mut Output) -> ExitCode {
    match failure {
        // The reader of our output has closed it (`| head`): not an error.
        Failure::OutputClosed => {}
        Failure::Refused(problem) if json => {
            let _ = output.line(&problem.raw.to_string());
        }
        _ => eprintln!("finetuned: {failure}"),
    }
    if let Failure::Refused(problem) = failure
        && problem.status == StatusCode::UNAUTHORIZED
    {
        eprintln!("  set FINETUNED_KEY to a key, or name a file that has one with --key-file");
    }
    match failure {
        Failure::Usage(_) => ExitCode::from(2),
        _ => ExitCode::from(1),
    }
}

fn server_url(text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("{error}; write it as http://HOST:PORT or https://HOST"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("write it as http://HOST:PORT or https://HOST".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(subcommand)]
        command: ClientCommand,
    }

    fn parse(line: &str) -> Result<ClientCommand, clap::Error> {
        Program::try_parse_from(line.split_whitespace()).map(|program| program.command)
    }

    #[test]
    fn commands_are_read() {
        assert!(matches!(
            parse("finetuned upload flowers.zip --name flowers"),
            Ok(ClientCommand::Upload(_))
        ));
        assert!(matches!(
            parse("finetuned submit --dataset d --set epochs=3 --watch"),
            Ok(ClientCommand::Submit(_))
        ));
        assert!(matches!(
            parse("finetuned watch job_1 --json"),
            Ok(ClientCommand::Watch(_))
        ));
        assert!(matches!(
            parse("finetuned predict insects a.jpg b.jpg --top-k 2"),
            Ok(ClientCommand::Predict(_))
        ));
    }

    #[test]
    fn what_is_called_wrongly_is_refused() {
        for line in [
            "finetuned watch",
            "finetuned predict insects",
            "finetuned watch j --server ftp://host",
            "finetuned watch j --server localhost:8080",
            "finetuned submit --set epochs",
            "finetuned predict insects a.jpg --top-k 0",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
