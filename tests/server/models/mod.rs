//! Models: trained here or brought from elsewhere, under names and aliases, taken away again.

use serde_json::{Value, json};

use crate::support::Api;

mod architectures;
mod compared;
mod exports;
mod imports;
mod registry;
mod trained;

/// The model that a job of this spec leaves.
pub async fn train(api: &Api, spec: Value) -> Value {
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    api.get(&format!("/v1/models/{}", job["model"].as_str().unwrap()))
        .await
        .expect(200)
        .json()
}

/// A spec that runs in seconds.
pub fn quick() -> Value {
    json!({
        "dataset": "things", "name": "thing", "backbone": {"weights": "none"}, "image": {"size": 32}, "epochs": 1, "batch_size": 8
    })
}
