//! Everything that can go wrong with a command, in words for whoever typed it.

use std::{fmt, io};

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::text::printable;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Invalid arguments.
    #[error("{0}")]
    Usage(String),
    /// The server refused the request.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The server did not respond.
    #[error(
        "the server at {server} cannot be reached: {reason}. Is `finetuned serve` running there? Set another address with --server or FINETUNED_SERVER"
    )]
    Unreachable { server: String, reason: String },
    /// The server's certificate is not one that is trusted here.
    #[error("the server at {server} does not prove who it is: {reason}. {remedy}")]
    Untrusted {
        server: String,
        reason: String,
        remedy: &'static str,
    },
    /// The response could not be parsed.
    #[error(
        "the server sent an unexpected response ({0}); is it another version, or not a finetuned server?"
    )]
    Unexpected(String),
    /// A local file cannot be read.
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    /// The reader of standard output has closed it.
    #[error("standard output is closed")]
    OutputClosed,
}

/// An error of the server (RFC 9457).
#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    /// Seconds to wait before the next try, if the server says so (`Retry-After`).
    pub retry_after: Option<u64>,
    /// The body as it was received.
    pub raw: Value,
    known: KnownProblem,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KnownProblem {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    detail: String,
    request_id: Option<String>,
    errors: Vec<KnownFault>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KnownFault {
    pointer: String,
    message: String,
}

impl Problem {
    pub fn new(status: StatusCode, retry_after: Option<u64>, body: &[u8]) -> Self {
        let raw = serde_json::from_slice(body).unwrap_or(Value::Null);
        let known = KnownProblem::deserialize(&raw).unwrap_or_default();
        Self {
            status,
            retry_after,
            raw,
            known,
        }
    }

    /// Whether the problem's type ends with this slug.
    pub fn is(&self, slug: &str) -> bool {
        self.known.kind.rsplit(':').next() == Some(slug)
    }

    /// The problem in one sentence.
    pub fn sentence(&self) -> String {
        let text = [&self.known.detail, &self.known.title]
            .into_iter()
            .find(|text| !text.is_empty());
        match text {
            Some(text) => printable(text),
            None => format!("the server responded with {}", self.status),
        }
    }
}

impl fmt::Display for Problem {
    /// The sentence, then a line for each invalid field, with the pointers aligned.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.sentence(), self.status.as_u16())?;
        let errors = &self.known.errors;
        let width = errors.iter().map(|error| error.pointer.chars().count()).max();
        for error in errors {
            let width = width.unwrap_or(0).min(40);
            write!(
                out,
                "\n  {:width$}  {}",
                printable(&error.pointer),
                printable(&error.message)
            )?;
        }
        match &self.known.request_id {
            Some(id) if self.status.is_server_error() => write!(out, "\n  request {}", printable(id)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_every_field() {
        let body = br#"{"title":"Invalid","detail":"2 fields are wrong","request_id":"r",
            "errors":[{"pointer":"/epochs","code":"range","message":"must be \u001b[31m > 0"},{"pointer":"/optimizer/lr","code":"type","message":"must be a number"}]}"#;
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, None, body);
        let expected = "2 fields are wrong (422)\n  /epochs        must be \u{fffd}[31m > 0\n  /optimizer/lr  must be a number";
        assert_eq!(problem.to_string(), expected);
    }

    #[test]
    fn an_answer_that_is_no_problem_is_told_by_its_status() {
        let problem = Problem::new(StatusCode::BAD_GATEWAY, None, b"<html>");
        assert_eq!(
            problem.to_string(),
            "the server responded with 502 Bad Gateway (502)"
        );
    }
}
