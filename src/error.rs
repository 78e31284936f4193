//! The error type of the server side: a message for the caller and, separately, context that only the operator may see.
//!
//! It is independent of HTTP except for [`Error::kind`]; only `http/problem.rs` maps it to a status and a body. The caller's message never
//! contains a server path, SQL or a decoder's own message: those go into `context`, which is only logged.

use std::{fmt, time::Duration};

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{access::Secret, damage::Damaged};

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an error. Each variant exists because a caller would react to it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be parsed.
    Malformed,
    /// Nobody knows who the caller is.
    Unauthenticated,
    /// The caller is not allowed to do this.
    Forbidden,
    /// The object does not exist.
    NotFound,
    /// The object existed and is gone for good.
    Gone,
    /// It conflicts with the current state; check the state before trying again.
    Conflict,
    /// A precondition failed: the object has changed since the caller read it. Read it again.
    Precondition,
    /// Another request holds the lock; wait until it is done.
    Locked,
    /// The protocol version is not supported.
    UnspokenVersion,
    /// The received bytes do not match their checksum; send them again.
    ChecksumMismatch,
    /// The body was sent too slowly.
    TooSlow,
    /// Larger than the limit.
    TooLarge,
    /// Unsupported media type.
    UnsupportedMedia,
    /// The requested range is not satisfiable.
    BeyondEnd,
    /// The request was parsed and is invalid; `errors` names the fields, if any.
    Invalid,
    /// Too many at once; try again later.
    TooMany,
    /// Temporarily unavailable; try again later.
    Unavailable,
    /// It took longer than the deadline.
    Timeout,
    /// The disk is full.
    DiskFull,
    /// Stored data is damaged on the server's disk; trying again does not help.
    Damaged,
    /// A bug or failure of the server.
    Internal,
}

/// An invalid field of a request.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the field, such as `/optimizer/lr`.
    pub pointer: String,
    /// Stable code for programs: `range`, `type`, `unknown_field`, `not_supported`, `missing`, `not_found`, `conflict`.
    pub code: String,
    /// Human-readable description of what is expected.
    pub message: String,
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            code: code.into(),
            message: message.into(),
        }
    }
}

/// An error of the server side.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    slug: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    context: Option<anyhow::Error>,
}

impl Error {
    /// `slug` is the stable, machine-readable name (`urn:finetuned:problem:<slug>`), `detail` the sentence for the caller.
    pub fn new(kind: Kind, slug: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind,
            slug,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            context: None,
        }
    }

    /// The dataset, job or model does not exist: `what` is the kind of object, `which` the caller's reference.
    pub fn not_found(what: &str, which: &str) -> Self {
        let shown = Secret::hidden_in(which);
        let shown: String = shown.chars().filter(|c| !c.is_control()).take(80).collect();
        Self::new(
            Kind::NotFound,
            "not-found",
            format!("there is no {what} `{shown}`"),
        )
    }

    /// The thing is no longer as the caller has seen it (`If-Match`).
    pub fn changed() -> Self {
        let detail = "it is no longer as you have seen it; get it again, and decide whether the change is still wanted";
        Self::new(Kind::Precondition, "changed", detail)
    }

    /// The dataset has another version than the caller wants to change (`If-Match`, `@2`).
    pub fn newer_version() -> Self {
        let detail = "the dataset has a newer version than the one this change is for; get it and try again";
        Self::new(Kind::Precondition, "version-changed", detail)
    }

    /// A request that was parsed but has invalid fields.
    pub fn fields(detail: impl Into<String>, errors: Vec<FieldError>) -> Self {
        let only_unsupported = !errors.is_empty() && errors.iter().all(|error| error.code == "not_supported");
        let slug = if only_unsupported {
            "not-supported"
        } else {
            "invalid"
        };
        Self {
            errors,
            ..Self::new(Kind::Invalid, slug, detail)
        }
    }

    /// A failure of the server. The caller learns only that it happened.
    pub fn internal(context: impl Into<anyhow::Error>) -> Self {
        let detail = "an internal error occurred; the server's log has the details under this request id";
        Self {
            context: Some(context.into()),
            ..Self::new(Kind::Internal, "internal", detail)
        }
    }

    /// Adds context that only the operator's log may show.
    pub fn with_context(mut self, context: impl Into<anyhow::Error>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// Sets the `Retry-After` for the caller.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn slug(&self) -> &'static str {
        self.slug
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    pub fn retry_delay(&self) -> Option<Duration> {
        self.retry_after
    }

    /// For the log only.
    pub fn context(&self) -> Option<&anyhow::Error> {
        self.context.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.slug, self.detail)?;
        match &self.context {
            Some(context) => write!(out, " ({context:#})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<Damaged> for Error {
    fn from(damaged: Damaged) -> Self {
        Error::new(Kind::Damaged, Damaged::SLUG, damaged.to_string())
    }
}

impl From<std::io::Error> for Error {
    /// The caller can do something about a full disk; every other I/O error is internal.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull
            || error.kind() == std::io::ErrorKind::QuotaExceeded
        {
            let detail = "the server's disk is full; delete datasets or models that are no longer needed and try again";
            return Error::new(Kind::DiskFull, "insufficient-storage", detail).with_context(error);
        }
        Error::internal(error)
    }
}
