//! A hub in the manner of Hugging Face, on this machine: it serves one file of weights the way the real one does, with a redirect to
//! another address and the digest in the first answer.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use finetuned::files::digest;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Shelf {
    weights: Bytes,
    digest: String,
    downloads: Arc<AtomicUsize>,
}

pub struct Hub {
    pub endpoint: String,
    downloads: Arc<AtomicUsize>,
}

impl Hub {
    /// Serves `weights` as `{repository}/resolve/main/model.safetensors`.
    pub async fn serving(repository: &str, weights: Vec<u8>) -> Self {
        Self::describing(repository, weights, String::new()).await
    }

    /// The same, with `config.json` unless it is empty.
    pub async fn describing(repository: &str, weights: Vec<u8>, config: String) -> Self {
        let shelf = Shelf {
            digest: digest::of_bytes(&weights),
            weights: weights.into(),
            downloads: Arc::default(),
        };
        let downloads = shelf.downloads.clone();
        let router = Router::new()
            .route(
                &format!("/{repository}/resolve/main/model.safetensors"),
                get(resolve),
            )
            .route("/blobs/weights", get(blob))
            .route(
                &format!("/{repository}/resolve/main/config.json"),
                get(move || async move {
                    match config.is_empty() {
                        true => StatusCode::NOT_FOUND.into_response(),
                        false => config.into_response(),
                    }
                }),
            )
            .with_state(shelf);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, downloads }
    }

    /// How often the file itself was asked for.
    pub fn downloads(&self) -> usize {
        self.downloads.load(Ordering::SeqCst)
    }
}

async fn resolve(State(shelf): State<Shelf>) -> Response {
    let headers = [
        (header::LOCATION.as_str(), "/blobs/weights".to_owned()),
        ("x-linked-size", shelf.weights.len().to_string()),
        ("x-linked-etag", format!("\"{}\"", shelf.digest)),
    ];
    (StatusCode::FOUND, headers).into_response()
}

async fn blob(State(shelf): State<Shelf>) -> Response {
    shelf.downloads.fetch_add(1, Ordering::SeqCst);
    (
        [(header::CONTENT_TYPE, "application/octet-stream")],
        shelf.weights,
    )
        .into_response()
}
