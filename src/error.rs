//! The one error type of the server side: what went wrong, in words for the caller, and apart from it what only the operator may see.
//!
//! It knows nothing of HTTP except through [`Error::kind`]; `http/problem.rs` alone turns it into a status and a body.
//! A caller's message never holds a path of the server, SQL or a decoder's raw text: those go into `context`, which is only logged.

use std::{fmt, time::Duration};

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::damage::Damaged;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller would do about an error; each variant exists because somebody acts differently on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be read at all.
    Malformed,
    /// The caller may not do this from here.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// There was such a thing, and it does not come back.
    Gone,
    /// It contradicts what is already there; look at the state first.
    Conflict,
    /// What the caller has seen of it is no longer so; look again.
    Precondition,
    /// Somebody else is at it; wait until they are done.
    Locked,
    /// The protocol's version is not spoken here.
    UnspokenVersion,
    /// What arrived is not what was sent; send it again.
    ChecksumMismatch,
    /// The body came too slowly.
    TooSlow,
    /// It is bigger than the limit.
    TooLarge,
    /// It is a kind of data that is not taken.
    UnsupportedMedia,
    /// The part of it that is asked for is not there.
    BeyondEnd,
    /// It was read and is wrong; `errors` names the fields where there are any.
    Invalid,
    /// Too many at once; come back later.
    TooMany,
    /// Not now; come back later.
    Unavailable,
    /// It took longer than allowed.
    Timeout,
    /// The disk is full.
    DiskFull,
    /// What it is about is damaged on the server's disk, and trying again does not help.
    Damaged,
    /// Our fault.
    Internal,
}

/// One wrong field of a request.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the field, such as `/optimizer/lr`.
    pub pointer: String,
    /// Stable word for programs: `range`, `type`, `unknown_field`, `not_supported`, `missing`, `not_found`, `conflict`.
    pub code: String,
    /// What is expected, for people.
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

    /// No such dataset, job or model: `what` is the kind of thing, `which` what the caller asked for.
    pub fn not_found(what: &str, which: &str) -> Self {
        let shown: String = which.chars().filter(|c| !c.is_control()).take(80).collect();
        Self::new(
            Kind::NotFound,
            "not-found",
            format!("there is no {what} `{shown}`"),
        )
    }

    /// A request that was understood and is wrong in these fields.
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

    /// A failure of ours; the caller learns only that it happened.
    pub fn internal(context: impl Into<anyhow::Error>) -> Self {
        let detail = "something went wrong on the server; its log has the details under this request id";
        Self {
            context: Some(context.into()),
            ..Self::new(Kind::Internal, "internal", detail)
        }
    }

    /// Adds what only the operator's log may show.
    pub fn with_context(mut self, context: impl Into<anyhow::Error>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// Tells the caller when to come back.
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
    /// A full disk is a state that the caller can do something about; every other failure of the disk is ours.
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
