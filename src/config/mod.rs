//! Every setting of `finetuned serve`: a flag and a `FINETUNED_*` variable each. The environment is read here and nowhere else.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use self::network::Network;
use crate::limits::Limits;

/// Settings of the server.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "FINETUNED_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Folder for the database, datasets and models; on a local disk
    #[arg(long, env = "FINETUNED_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// The worker program; by default the `finetuned-worker` beside this one
    #[arg(long, env = "FINETUNED_WORKER")]
    pub worker: Option<PathBuf>,
    /// Listen on an address that other machines reach although this version has no API keys
    #[arg(long, env = "FINETUNED_ALLOW_UNAUTHENTICATED")]
    pub allow_unauthenticated: bool,
    /// Host names, besides addresses and `localhost`, that requests may be made to (several: separated by commas)
    #[arg(long = "allowed-host", env = "FINETUNED_ALLOWED_HOSTS", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,
    /// Addresses, or ranges such as 10.0.0.0/8, of proxies that stand for many clients (several: separated by commas): they are held to no
    /// share of one address, and `X-Forwarded-For` of theirs says who asks
    #[arg(
        long = "trusted-proxy",
        env = "FINETUNED_TRUSTED_PROXIES",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<Network>,
    /// Another address that answers /healthz and /readyz, and nothing else, however busy the first one is
    #[arg(long, env = "FINETUNED_HEALTH_LISTEN")]
    pub health_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub weights: WeightsConfig,
    /// Threads of arithmetic for training on the CPU; 0 means all cores
    #[arg(long, env = "FINETUNED_TRAIN_THREADS", default_value_t = 0)]
    pub train_threads: u32,
    /// Threads of arithmetic for predictions on the CPU; 0 means all cores
    #[arg(long, env = "FINETUNED_PREDICT_THREADS", default_value_t = 0)]
    pub predict_threads: u32,
    /// Threads that read an uploaded archive; 0 means all cores
    #[arg(long, env = "FINETUNED_INGEST_THREADS", default_value_t = 0)]
    pub ingest_threads: u32,
    /// How log lines are written, to stderr
    #[arg(long, env = "FINETUNED_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Which log lines are written, such as `info` or `finetuned=debug`
    #[arg(long, env = "FINETUNED_LOG", default_value = "info")]
    pub log: String,
    #[command(flatten)]
    pub limits: Limits,
}

/// Where pretrained weights come from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Pretrained weights")]
pub struct WeightsConfig {
    /// Hub in the manner of Hugging Face: weights are at ENDPOINT/REPOSITORY/resolve/REVISION/model.safetensors
    #[arg(
        long,
        env = "FINETUNED_HUB_ENDPOINT",
        default_value = "https://huggingface.co"
    )]
    pub hub_endpoint: String,
    /// Revision of the hub's repositories
    #[arg(long, env = "FINETUNED_HUB_REVISION", default_value = "main")]
    pub hub_revision: String,
    /// Bearer token for the hub, where it asks for one
    #[arg(long, env = "FINETUNED_HUB_TOKEN", hide_env_values = true)]
    pub hub_token: Option<String>,
    /// Never fetch: use weights that are in the cache or in --weights-dir
    #[arg(long, env = "FINETUNED_OFFLINE")]
    pub offline: bool,
    /// Folder of your own weights: `resnet18.safetensors` there stands for `imagenet`, any other file for its name
    #[arg(long, env = "FINETUNED_WEIGHTS_DIR")]
    pub weights_dir: Option<PathBuf>,
    /// Folder that fetched weights are kept in; by default `weights` in the data folder
    #[arg(long, env = "FINETUNED_WEIGHTS_CACHE")]
    pub weights_cache: Option<PathBuf>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Settings for a data directory, everything else as it is by default and nothing taken from the environment: for tests.
    pub fn for_data_dir(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: data_dir.into(),
            worker: None,
            allow_unauthenticated: false,
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            health_listen: None,
            weights: WeightsConfig {
                hub_endpoint: "https://huggingface.co".to_owned(),
                hub_revision: "main".to_owned(),
                hub_token: None,
                offline: true,
                weights_dir: None,
                weights_cache: None,
            },
            train_threads: 0,
            predict_threads: 0,
            ingest_threads: 0,
            log_format: LogFormat::Text,
            log: "info".to_owned(),
            limits: Limits::DEFAULT,
        }
    }

    /// Refuses settings that would be unsafe or cannot work, with what to do instead.
    pub fn check(&self) -> anyhow::Result<()> {
        if !self.listen.ip().is_loopback() && !self.allow_unauthenticated {
            bail!(
                "{} can be reached from other machines and this version has no API keys: listen on 127.0.0.1 behind a proxy that \
                checks who calls, or pass --allow-unauthenticated where the network itself is trusted",
                self.listen
            );
        }
        let endpoint = self.weights.hub_endpoint.as_str();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            bail!("--hub-endpoint must begin with https:// or http://, not `{endpoint}`");
        }
        if let Some(folder) = &self.weights.weights_dir
            && !folder.is_dir()
        {
            bail!("--weights-dir {} is not a folder", folder.display());
        }
        Ok(())
    }

    /// The worker program, which must be there.
    pub fn worker_program(&self) -> anyhow::Result<PathBuf> {
        let program = match &self.worker {
            Some(program) => program.clone(),
            None => beside_this_program()?,
        };
        let program = program.canonicalize().with_context(|| {
            format!(
                "the worker program {} is not there: build it (make build) or name it with --worker",
                program.display()
            )
        })?;
        Ok(program)
    }

    /// Folder that fetched weights are kept in.
    pub fn weights_cache(&self) -> PathBuf {
        self.weights
            .weights_cache
            .clone()
            .unwrap_or_else(|| self.data_dir.join("weights"))
    }
}

fn beside_this_program() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(this.parent().unwrap_or(Path::new(".")).join("finetuned-worker"))
}
pub mod network;
