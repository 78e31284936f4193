//! All settings of `finetuned serve`, each with a flag and a `FINETUNED_*` environment variable. No other code reads the environment.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use self::{keep::KeepArgs, network::Network};
pub use self::{
    mlflow::MlflowConfig,
    public_url::{PublicUrl, Within},
    tls::{TlsConfig, TlsFiles},
    webhooks::{Target, WebhookConfig},
    weights::WeightsConfig,
};
use crate::{
    limits::Limits,
    process::sandbox::{Mode, Support},
};

/// Settings of the server.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Address to listen on; port 0 picks a free port
    #[arg(long, env = "FINETUNED_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Data directory, for the database, datasets and models; must be on a local disk
    #[arg(long, env = "FINETUNED_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// Path of the worker program; by default `finetuned-worker` in the same directory as this program
    #[arg(long, env = "FINETUNED_WORKER")]
    pub worker: Option<PathBuf>,
    /// How much of a sandbox the workers get: `auto`, as much as the kernel offers; `require`, all of it, or nothing starts; `off`, none
    #[arg(long, env = "FINETUNED_SANDBOX", default_value_t)]
    pub sandbox: Mode,
    /// Allow listening on a non-loopback address without a key
    #[arg(long, env = "FINETUNED_ALLOW_UNAUTHENTICATED")]
    pub allow_unauthenticated: bool,
    /// Host names that requests may use, besides IP addresses and `localhost` (comma-separated)
    #[arg(long = "allowed-host", env = "FINETUNED_ALLOWED_HOSTS", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,
    /// Addresses or ranges, such as 10.0.0.0/8, of trusted proxies (comma-separated): they are exempt from the per-address limit, and what their
    /// `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix`, or `Forwarded`, say about a request is believed
    #[arg(
        long = "trusted-proxy",
        env = "FINETUNED_TRUSTED_PROXIES",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<Network>,
    /// Address under which clients know the server, such as `https://models.example.org/finetuned`: its host is allowed, its pages may change
    /// something, and its path is the prefix of the server's own paths
    #[arg(long, env = "FINETUNED_PUBLIC_URL")]
    pub public_url: Option<PublicUrl>,
    /// Additional address that serves only /healthz and /readyz, with connections of its own, so that it answers even when the main one is
    /// at its limit
    #[arg(long, env = "FINETUNED_HEALTH_LISTEN")]
    pub health_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub tls: TlsConfig,
    #[command(flatten)]
    pub weights: WeightsConfig,
    /// CPU threads for training; 0 uses all cores
    #[arg(long, env = "FINETUNED_TRAIN_THREADS", default_value_t = 0)]
    pub train_threads: u32,
    /// CPU threads for predictions; 0 uses all cores
    #[arg(long, env = "FINETUNED_PREDICT_THREADS", default_value_t = 0)]
    pub predict_threads: u32,
    /// Threads for reading an uploaded archive; 0 uses all cores
    #[arg(long, env = "FINETUNED_INGEST_THREADS", default_value_t = 0)]
    pub ingest_threads: u32,
    /// File for the audit log, as lines of JSON besides the database; opened again after it was renamed, and on SIGHUP
    #[arg(long, env = "FINETUNED_AUDIT_LOG")]
    pub audit_log: Option<PathBuf>,
    /// Format of the log lines on stderr
    #[arg(long, env = "FINETUNED_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Log filter, such as `info` or `finetuned=debug`
    #[arg(long, env = "FINETUNED_LOG", default_value = "info")]
    pub log: String,
    #[command(flatten)]
    pub webhooks: WebhookConfig,
    #[command(flatten)]
    pub mlflow: MlflowConfig,
    #[command(flatten)]
    pub keep: KeepArgs,
    #[command(flatten)]
    pub limits: Limits,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Settings for a data directory, with defaults for everything else and nothing read from the environment. For tests.
    pub fn for_data_dir(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: data_dir.into(),
            worker: None,
            sandbox: Mode::Auto,
            allow_unauthenticated: false,
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            public_url: None,
            health_listen: None,
            tls: TlsConfig::default(),
            weights: WeightsConfig {
                hub_endpoint: "https://huggingface.co".to_owned(),
                hub_revision: "main".to_owned(),
                hub_token: None,
                offline: true,
                registry_index: None,
                registry: None,
                weights_dir: None,
                weights_cache: None,
            },
            train_threads: 0,
            predict_threads: 0,
            ingest_threads: 0,
            audit_log: None,
            log_format: LogFormat::Text,
            log: "info".to_owned(),
            webhooks: WebhookConfig::default(),
            mlflow: MlflowConfig::default(),
            keep: KeepArgs::DEFAULT,
            limits: Limits::DEFAULT,
        }
    }

    /// Refuses settings that are unsafe or cannot work; the error says what to do instead.
    pub fn check(&self) -> anyhow::Result<()> {
        self.weights.check()?;
        self.mlflow.check()?;
        self.check_sandbox(&Support::of_this_kernel())?;
        self.tls.files()?;
        if let Some(folder) = &self.weights.weights_dir
            && !folder.is_dir()
        {
            bail!("--weights-dir {} is not a directory", folder.display());
        }
        Ok(())
    }

    /// Refuses to go without a sandbox that must be.
    fn check_sandbox(&self, support: &Support) -> anyhow::Result<()> {
        match support.complete() {
            Err(missing) if self.sandbox == Mode::Require => bail!(
                "--sandbox require: {missing}. Use a kernel that offers it, or --sandbox auto, which does without what is missing"
            ),
            _ => Ok(()),
        }
    }

    /// Refuses an address that other machines reach where anybody could do anything. `has_key`: there is a key that is good.
    pub fn check_access(&self, has_key: bool) -> anyhow::Result<()> {
        if has_key || self.allow_unauthenticated || self.listen.ip().is_loopback() {
            return Ok(());
        }
        bail!(
            "{} can be reached from other machines and there is no key: make one with `finetuned keys create admin --scope admin \
            --data-dir {}`, or pass --allow-unauthenticated if the network itself is trusted",
            self.listen,
            shell_word(&self.data_dir.display().to_string())
        );
    }

    /// With what pip's own settings say about the registry of Python packages.
    pub fn with_pip_settings(mut self) -> Self {
        self.weights.read_pip_settings();
        self
    }

    /// Path of the worker program, which must exist.
    pub fn worker_program(&self) -> anyhow::Result<PathBuf> {
        let program = match &self.worker {
            Some(program) => program.clone(),
            None => beside_this_program()?,
        };
        let program = program.canonicalize().with_context(|| {
            format!(
                "the worker program {} does not exist: build it (make build) or set its path with --worker",
                program.display()
            )
        })?;
        Ok(program)
    }

    /// Cache directory for downloaded weights.
    pub fn weights_cache(&self) -> PathBuf {
        self.weights
            .weights_cache
            .clone()
            .unwrap_or_else(|| self.data_dir.join("weights"))
    }
}

/// A text as one word of a POSIX shell.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

fn beside_this_program() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find the path of this program")?;
    Ok(this.parent().unwrap_or(Path::new(".")).join("finetuned-worker"))
}
pub mod collector;
pub mod keep;
pub mod keys;
mod mlflow;
pub mod network;
pub mod pip;
mod public_url;
mod tls;
pub mod upkeep;
mod webhooks;
mod weights;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_that_must_be_complete_is_refused_where_the_kernel_lacks_something() {
        let lacking = Support {
            seccomp: true,
            landlock_abi: 0,
            missing: vec!["Landlock is not offered".to_owned()],
        };
        let complete = Support {
            missing: Vec::new(),
            ..lacking.clone()
        };
        let config = |sandbox| Config {
            sandbox,
            ..Config::for_data_dir("data")
        };
        let refused = config(Mode::Require)
            .check_sandbox(&lacking)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("Landlock") && refused.contains("--sandbox auto"),
            "{refused}"
        );
        config(Mode::Require).check_sandbox(&complete).unwrap();
        config(Mode::Auto).check_sandbox(&lacking).unwrap();
        config(Mode::Off).check_sandbox(&lacking).unwrap();
    }
}
