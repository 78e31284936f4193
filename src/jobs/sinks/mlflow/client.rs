//! The calls of MLflow's REST API 2.0 that logging a run needs (<https://mlflow.org/docs/latest/rest-api.html>).
//!
//! Failures are texts for the server's log. None has the address, which may have a password in it.

use std::{error::Error as StdError, time::Duration};

use reqwest::{Method, RequestBuilder, Url};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::config::MlflowConfig;

const PATIENCE: Duration = Duration::from_secs(60);
/// Largest answer that is read: a run with all of its tags.
const LARGEST_ANSWER: usize = 4 << 20;
const ALREADY_THERE: &str = "RESOURCE_ALREADY_EXISTS";
const NOT_THERE: &str = "RESOURCE_DOES_NOT_EXIST";

pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    experiment: String,
}

/// A parameter or a tag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub key: String,
    #[serde(default)]
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metric {
    pub key: &'static str,
    pub value: f64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub step: u64,
}

/// One call of `runs/log-batch`: at most 1000 metrics, 100 parameters and 100 tags.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Batch {
    pub metrics: Vec<Metric>,
    pub params: Vec<Entry>,
    pub tags: Vec<Entry>,
}

/// A run as it is there.
#[derive(Clone, Debug, Deserialize)]
pub struct Run {
    pub info: RunInfo,
    #[serde(default)]
    pub data: RunData,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RunInfo {
    pub run_id: String,
    pub status: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct RunData {
    #[serde(default)]
    pub tags: Vec<Entry>,
}

/// Why a call came to nothing.
pub struct Failure {
    /// MLflow's word for it.
    code: Option<String>,
    text: String,
}

impl Client {
    /// # Errors
    /// The system's certificates cannot be read.
    pub fn new(base: Url, settings: &MlflowConfig) -> reqwest::Result<Self> {
        // A second one is refused, and that is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            http: reqwest::Client::builder().timeout(PATIENCE).build()?,
            base,
            token: settings.mlflow_token.clone(),
            experiment: settings.mlflow_experiment.clone(),
        })
    }

    /// The id of the experiment, made if it is not there.
    pub async fn experiment(&self) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Found {
            experiment: Made,
        }
        #[derive(Deserialize)]
        struct Made {
            experiment_id: String,
        }
        let find = async || {
            let request = self.request(Method::GET, "experiments/get-by-name");
            let request = request.query(&[("experiment_name", &self.experiment)]);
            self.call::<Found>(request).await
        };
        match find().await {
            Ok(found) => return Ok(found.experiment.experiment_id),
            Err(failure) if failure.is(NOT_THERE) => {}
            Err(failure) => return Err(failure),
        }
        match self
            .post::<Made>("experiments/create", json!({"name": self.experiment}))
            .await
        {
            Ok(made) => Ok(made.experiment_id),
            // Somebody else was first.
            Err(failure) if failure.is(ALREADY_THERE) => Ok(find().await?.experiment.experiment_id),
            Err(failure) => Err(failure),
        }
    }

    /// The run with this tag, if there is one. `value` has no quotes in it.
    pub async fn find_run(&self, experiment: &str, tag: &str, value: &str) -> Result<Option<Run>, Failure> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(default)]
            runs: Vec<Run>,
        }
        let filter = format!("tags.`{tag}` = '{value}'");
        let search = json!({"experiment_ids": [experiment], "filter": filter, "max_results": 1});
        let found: Found = self.post("runs/search", search).await?;
        Ok(found.runs.into_iter().next())
    }

    pub async fn create_run(
        &self,
        experiment: &str,
        name: &str,
        start_time: i64,
        tags: &[Entry],
    ) -> Result<Run, Failure> {
        #[derive(Deserialize)]
        struct Made {
            run: Run,
        }
        let run =
            json!({"experiment_id": experiment, "run_name": name, "start_time": start_time, "tags": tags});
        Ok(self.post::<Made>("runs/create", run).await?.run)
    }

    pub async fn log(&self, run: &str, batch: &Batch) -> Result<(), Failure> {
        let mut body = json!(batch);
        body["run_id"] = json!(run);
        self.post::<Value>("runs/log-batch", body).await.map(drop)
    }

    /// `status`: `FINISHED`, `FAILED` or `KILLED`.
    pub async fn end_run(&self, run: &str, status: &str, end_time: i64) -> Result<(), Failure> {
        let end = json!({"run_id": run, "status": status, "end_time": end_time});
        self.post::<Value>("runs/update", end).await.map(drop)
    }

    async fn post<T: DeserializeOwned>(&self, call: &str, body: Value) -> Result<T, Failure> {
        self.call(self.request(Method::POST, call).json(&body)).await
    }

    fn request(&self, method: Method, call: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        let path = format!("{}/api/2.0/mlflow/{call}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let mut response = request.send().await.map_err(|error| Failure::of(&error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Failure::of(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_ANSWER {
                return Err(Failure::told("the answer is too long for MLflow's"));
            }
        }
        if !status.is_success() {
            return Err(Failure::answered(status.as_u16(), &body));
        }
        serde_json::from_slice(&body).map_err(|_| {
            Failure::told("the answer is none of MLflow's: is --mlflow-url the address of its server?")
        })
    }
}

impl Failure {
    fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    fn told(text: impl Into<String>) -> Self {
        Self {
            code: None,
            text: text.into(),
        }
    }

    fn of(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::told(format!("no answer within {} seconds", PATIENCE.as_secs()));
        }
        // The innermost cause says why: "Connection refused".
        let mut cause: &(dyn StdError + 'static) = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        match cause.downcast_ref::<reqwest::Error>() {
            Some(_) => Self::told("the request failed"),
            None => Self::told(cause.to_string()),
        }
    }

    fn answered(status: u16, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Told {
            error_code: Option<String>,
            #[serde(default)]
            message: String,
        }
        let told: Option<Told> = serde_json::from_slice(body).ok();
        let message = told.as_ref().map_or("", |told| told.message.as_str());
        let message: String = message.chars().filter(|c| !c.is_control()).take(300).collect();
        Self {
            text: format!("MLflow answers {status}: {message}"),
            code: told.and_then(|told| told.error_code),
        }
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        failure.text
    }
}
