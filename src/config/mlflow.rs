//! Settings of MLflow: which tracking server is told of jobs.

use anyhow::bail;
use clap::Args;
use reqwest::Url;

/// Where runs are logged.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "MLflow")]
pub struct MlflowConfig {
    /// Address of an MLflow tracking server, such as `http://mlflow.example.org:5000`; each job that ends is logged there as a run
    #[arg(long, env = "FINETUNED_MLFLOW_URL")]
    pub mlflow_url: Option<Url>,
    /// Experiment for the runs; made if it is not there
    #[arg(long, env = "FINETUNED_MLFLOW_EXPERIMENT", default_value = MlflowConfig::EXPERIMENT)]
    pub mlflow_experiment: String,
    /// Bearer token for the tracking server, if it requires one
    #[arg(long, env = "FINETUNED_MLFLOW_TOKEN", hide_env_values = true)]
    pub mlflow_token: Option<String>,
}

impl MlflowConfig {
    const EXPERIMENT: &str = "finetuned";

    /// # Errors
    /// An address that is none.
    pub fn check(&self) -> anyhow::Result<()> {
        match &self.mlflow_url {
            Some(url) if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() => {
                bail!("--mlflow-url must start with https:// or http://")
            }
            _ => Ok(()),
        }
    }
}

impl Default for MlflowConfig {
    fn default() -> Self {
        Self {
            mlflow_url: None,
            mlflow_experiment: Self::EXPERIMENT.to_owned(),
            mlflow_token: None,
        }
    }
}
