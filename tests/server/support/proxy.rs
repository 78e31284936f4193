//! A reverse proxy as people put it in front of the server: it serves the server below a path, which it cuts off, and drops the port from
//! `Host`.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::Api;

pub struct Proxy {
    /// Address of the proxy with the path.
    pub base: String,
    running: JoinHandle<()>,
}

#[derive(Clone)]
struct To {
    server: String,
    prefix: &'static str,
    http: reqwest::Client,
}

impl Proxy {
    /// In front of a server, below `prefix`.
    pub async fn before(api: &Api, prefix: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}{prefix}", listener.local_addr().unwrap());
        let to = To {
            server: api.base.clone(),
            prefix,
            http: reqwest::Client::builder()
                .no_proxy()
                // As real ones do: that is for the browser.
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
        };
        let router = Router::new().fallback(forward).with_state(to);
        let running = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base, running }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn forward(State(to): State<To>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().unwrap().as_str();
    // Everything else on this host belongs to somebody else.
    let Some(path) = path.strip_prefix(to.prefix).filter(|path| path.starts_with('/')) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let host = parts.headers[header::HOST].to_str().unwrap();
    let without_port = host.split(':').next().unwrap().parse().unwrap();
    parts.headers.insert(header::HOST, without_port);
    parts
        .headers
        .insert("x-forwarded-prefix", to.prefix.parse().unwrap());
    let answer = to
        .http
        .request(parts.method, format!("{}{path}", to.server))
        .headers(parts.headers)
        .body(reqwest::Body::wrap_stream(body.into_data_stream()))
        .send()
        .await;
    let Ok(answer) = answer else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(Body::from_stream(answer.bytes_stream()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().remove(header::TRANSFER_ENCODING);
    response
}
