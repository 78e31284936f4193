//! Predictions, asked for in our own words and in those of other servers.

use serde_json::json;

use crate::support::{Server, pictures};

mod dialects;
mod images;
mod protocols;

/// A server with a model of three drawn classes that it has learnt.
pub async fn with_model() -> Server {
    with_model_of(32).await
}

/// The same, of pictures of this size.
pub async fn with_model_of(size: u32) -> Server {
    let server = Server::start().await;
    server.api.upload("things", pictures::flat_archive(3, 24)).await;
    let spec = json!({
        "dataset": "things", "name": "thing", "backbone": {"weights": "none"}, "image": {"size": size}, "epochs": 8, "batch_size": 8,
        "optimizer": {"lr": 0.005}
    });
    let job = server.api.finished(&server.api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    assert!(job["best"]["val_accuracy"].as_f64().unwrap() >= 0.8, "{job:#}");
    server
}
