//! A target of webhooks on this machine: it answers as the test wants and hands over what came.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

/// How long anything is waited for: longer than the first repetition takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Message {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Message {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone)]
struct Desk {
    answers: Arc<Mutex<VecDeque<u16>>>,
    came: mpsc::UnboundedSender<Message>,
}

pub struct Receiver {
    /// `http://127.0.0.1:PORT`
    pub base: String,
    answers: Arc<Mutex<VecDeque<u16>>>,
    came: mpsc::UnboundedReceiver<Message>,
}

impl Receiver {
    pub async fn start() -> Self {
        let (came_to, came) = mpsc::unbounded_channel();
        let desk = Desk {
            answers: Arc::default(),
            came: came_to,
        };
        let answers = desk.answers.clone();
        let router = Router::new().fallback(receive).with_state(desk);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, answers, came }
    }

    /// The statuses of the next answers; after them it is 204.
    pub fn answer(&self, statuses: &[u16]) {
        self.answers.lock().unwrap().extend(statuses);
    }

    /// The next message.
    pub async fn next(&mut self) -> Message {
        timeout(PATIENCE, self.came.recv())
            .await
            .expect("no message came")
            .unwrap()
    }

    /// Whether one has come that nobody has asked for.
    pub fn has_more(&mut self) -> bool {
        !self.came.is_empty()
    }
}

async fn receive(State(desk): State<Desk>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let status = desk.answers.lock().unwrap().pop_front().unwrap_or(204);
    let message = Message {
        path: uri.path().to_owned(),
        headers,
        body,
    };
    let _ = desk.came.send(message);
    let status = StatusCode::from_u16(status).unwrap();
    // Where it is a redirect, somebody who followed it would be seen here.
    (status, [(header::LOCATION, "/elsewhere")], "thanks").into_response()
}
