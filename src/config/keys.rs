//! The command line of `finetuned keys`, and the key of a client in its environment.

use std::{env, path::PathBuf};

use clap::{Args, Subcommand};

use crate::{
    domain::{
        access::{NewKey, Quotas, Scope},
        name::Name,
        time::Timestamp,
    },
    error::FieldError,
};

const KEY: &str = "FINETUNED_KEY";
const MILLISECONDS_A_DAY: i64 = 24 * 3600 * 1000;

/// The text in `FINETUNED_KEY`, for the client commands. There is no flag for it: other users see flags in the list of processes.
pub fn key_in_environment() -> Option<String> {
    env::var(KEY).ok().filter(|text| !text.is_empty())
}

/// Keys of callers, also while the server runs.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it; it cannot be shown again
    Create(Box<CreateKey>),
    /// List all keys, newest first, without what they open with
    List {
        #[command(flatten)]
        data: DataArgs,
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key: from then on, and at most a second later, it is refused
    Revoke {
        /// Name or id of the key
        key: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Args)]
pub struct DataArgs {
    /// Data directory
    #[arg(long, env = "FINETUNED_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct CreateKey {
    /// Whose key it is, such as `camera-7`
    #[arg(value_parser = parse_name)]
    name: Name,
    /// What it may do, as often as needed: `read`, `predict`, `write` (which includes both) or `admin` (which includes all)
    #[arg(long = "scope", required = true)]
    scopes: Vec<Scope>,
    /// Name of a dataset, as often as needed: the only ones that it may use
    #[arg(long = "dataset", value_parser = parse_name)]
    datasets: Vec<Name>,
    /// Name of a model or an alias, as often as needed: the only ones that it may use
    #[arg(long = "model", value_parser = parse_name)]
    models: Vec<Name>,
    /// Days after which it is refused; by default it has no end
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
    /// Most bytes of the datasets, models and unfinished uploads that it owns; by default as many as the server takes
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=Quotas::MOST_BYTES))]
    max_bytes: Option<u64>,
    /// Most of its jobs in the queue
    #[arg(long, value_parser = small())]
    max_queued_jobs: Option<u32>,
    /// Most of its jobs that run at the same time; others wait in the queue
    #[arg(long, value_parser = small())]
    max_running_jobs: Option<u32>,
    /// Most of its requests in a second
    #[arg(long, value_parser = small())]
    max_requests_per_second: Option<u32>,
    #[command(flatten)]
    pub data: DataArgs,
}

impl CreateKey {
    /// The key that is to be made.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn checked(&self, now: Timestamp) -> Result<NewKey, Vec<FieldError>> {
        let only = |names: &[Name]| (!names.is_empty()).then(|| names.to_vec());
        let end = |days: u32| Timestamp(now.0.saturating_add(i64::from(days) * MILLISECONDS_A_DAY));
        let key = NewKey {
            name: self.name.clone(),
            scopes: self.scopes.clone(),
            datasets: only(&self.datasets),
            models: only(&self.models),
            quotas: Quotas {
                max_bytes: self.max_bytes,
                max_queued_jobs: self.max_queued_jobs,
                max_running_jobs: self.max_running_jobs,
                max_requests_per_second: self.max_requests_per_second,
            },
            expires_at: self.days.map(end),
        };
        key.checked(now)
    }
}

fn small() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(Quotas::MOST))
}

fn parse_name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(subcommand)]
        command: KeysCommand,
    }

    fn created(line: &str) -> Result<Box<CreateKey>, clap::Error> {
        match Program::try_parse_from(line.split_whitespace())?.command {
            KeysCommand::Create(create) => Ok(create),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_described_by_flags() {
        let line = "keys create camera --scope predict --model insects --model bees --days 2";
        let key = created(line).unwrap().checked(Timestamp(1000)).unwrap();
        assert_eq!(key.quotas, Quotas::default());
        assert_eq!((key.scopes, key.datasets), (vec![Scope::Predict], None));
        assert_eq!(key.models.unwrap().len(), 2);
        assert_eq!(key.expires_at, Some(Timestamp(1000 + 2 * MILLISECONDS_A_DAY)));
    }

    #[test]
    fn quotas_are_flags() {
        let line = "keys create team --scope write --max-bytes 9000000000 --max-queued-jobs 5 --max-requests-per-second 20";
        let key = created(line).unwrap().checked(Timestamp(1000)).unwrap();
        let expected = Quotas {
            max_bytes: Some(9_000_000_000),
            max_queued_jobs: Some(5),
            max_running_jobs: None,
            max_requests_per_second: Some(20),
        };
        assert_eq!(key.quotas, expected);
    }

    #[test]
    fn what_makes_no_key_is_refused() {
        for line in [
            "keys create camera",
            "keys create --scope read",
            "keys create a/b --scope read",
            "keys create camera --scope root",
            "keys create camera --scope read --days 0",
            "keys create camera --scope read --max-bytes 0",
            "keys create camera --scope read --max-running-jobs 2000000",
        ] {
            assert!(created(line).is_err(), "{line}");
        }
        let limited = created("keys create boss --scope admin --dataset flowers").unwrap();
        assert!(limited.checked(Timestamp(0)).is_err());
    }
}
