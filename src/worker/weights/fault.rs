//! What can go wrong between a hub and the cache, and what a person can do about it.

use std::io;

use crate::worker::files::state::StateFault;

/// Why a file of the hub is not in the cache. Texts contain no path and no URL with secrets in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum HubFault {
    #[error("the job was asked to stop")]
    Stopped,
    #[error("the server is offline (`--offline`) and its cache does not have them")]
    Offline,
    #[error("{0}")]
    Misnamed(String),
    #[error("it cannot be reached ({0})")]
    Unreachable(String),
    #[error("the transfer was interrupted, and retrying did not help ({0})")]
    Broken(String),
    #[error("it sends less than {least} bytes a second; the partial download is kept for the next attempt")]
    Slow { least: f64 },
    #[error(
        "it answers 401: {}",
        if *.has_token { "it does not accept the server's token" } else { "the repository is gated or private, or does not exist" }
    )]
    Unauthorized { has_token: bool },
    #[error(
        "it answers 403: the repository is gated, and the account of the server's token has no access to it"
    )]
    Forbidden,
    #[error("it answers {status}: there is no such repository, revision or file")]
    Missing { status: u16 },
    #[error("it answers {status}")]
    Refused { status: u16 },
    #[error("it redirects in a way that is not followed ({0})")]
    Redirect(String),
    #[error("the file in the server's cache is damaged: it is not what was downloaded")]
    Damaged,
    #[error("the file has the SHA-256 {found} instead of {expected}")]
    WrongHash { expected: String, found: String },
    #[error("the file has {found} bytes instead of {expected}")]
    WrongSize { expected: u64, found: u64 },
    #[error("the file is larger than {limit} bytes, the most that is downloaded")]
    TooLarge { limit: u64 },
    #[error("what it sent is not weights: {0}")]
    NotWeights(#[from] StateFault),
    #[error("what it sent is not a description of weights: {0}")]
    NotDescription(String),
    #[error("{0}")]
    NotWeightsOf(String),
    #[error("its page of the package does not name {0}")]
    NotListed(String),
    #[error("the server uses no registry of Python packages (pip's `no-index`)")]
    NoRegistry,
    #[error("the cache cannot be written: {0}")]
    Disk(#[from] io::Error),
}

impl HubFault {
    /// What to try first, as the start of a sentence that continues with what always helps.
    pub fn advice(&self) -> &'static str {
        match self {
            HubFault::Offline => "Start the server without `--offline`",
            HubFault::Damaged => {
                "Start the server without `--offline`, so that it is fetched again, or remove it from the server's folder of fetched weights"
            }
            HubFault::Misnamed(_) | HubFault::Missing { .. } => {
                "Check the server's `--hub-endpoint` and `--hub-revision`"
            }
            HubFault::Unauthorized { .. } => {
                "Check the name of the repository; ask for access to it and give the server a `--hub-token` that has it"
            }
            HubFault::Forbidden => {
                "Accept the repository's conditions on the hub with the account whose `--hub-token` the server has"
            }
            HubFault::Disk(_) if self.is_full_disk() => "Free some space on the server's disk and try again",
            HubFault::Disk(_) => "Check the server's cache folder",
            HubFault::WrongHash { .. }
            | HubFault::WrongSize { .. }
            | HubFault::NotWeights(_)
            | HubFault::NotDescription(_)
            | HubFault::NotWeightsOf(_)
            | HubFault::TooLarge { .. } => {
                "Check what is between the server and its `--hub-endpoint` (a proxy or a mirror)"
            }
            HubFault::NotListed(_) | HubFault::NoRegistry => "Check the server's `--registry-index`",
            HubFault::Unreachable(_)
            | HubFault::Stopped
            | HubFault::Broken(_)
            | HubFault::Slow { .. }
            | HubFault::Refused { .. }
            | HubFault::Redirect(_) => "Check the server's network and its `--hub-endpoint`",
        }
    }

    /// What to try first where a registry of Python packages was asked.
    pub fn advice_of_registry(&self) -> &'static str {
        match self {
            HubFault::Offline | HubFault::Damaged | HubFault::Disk(_) => self.advice(),
            HubFault::Unauthorized { .. } | HubFault::Forbidden => {
                "Give user name and password in the server's `--registry-index`, or in pip's `index-url`"
            }
            _ => "Check the server's `--registry-index`, or pip's `index-url`, `proxy` and `cert`",
        }
    }

    /// The same in the words of a registry of Python packages.
    pub fn of_registry(&self) -> String {
        match self {
            HubFault::Unauthorized { .. } => "it answers 401: it wants a user name and a password".to_owned(),
            HubFault::Forbidden => "it answers 403: it does not give this package".to_owned(),
            HubFault::Missing { status } => {
                format!("it answers {status}: it does not have this package or file")
            }
            other => other.to_string(),
        }
    }

    pub fn is_full_disk(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, HubFault::Disk(fault) if full.contains(&fault.kind()))
    }
}
