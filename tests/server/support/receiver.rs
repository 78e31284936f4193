//! A target of webhooks on this machine: it answers as the test wants and hands over what came.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
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
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::certificate::Certificate;

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
    /// `http://127.0.0.1:PORT`, or `https:`
    pub base: String,
    answers: Arc<Mutex<VecDeque<u16>>>,
    came: mpsc::UnboundedReceiver<Message>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        Self::on(listener, base)
    }

    /// One that speaks TLS.
    pub async fn with_tls(certificate: &Certificate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("https://{}", listener.local_addr().unwrap());
        let chain = CertificateDer::pem_file_iter(certificate.file()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                chain.map(Result::unwrap).collect(),
                PrivateKeyDer::from_pem_file(certificate.key()).unwrap(),
            );
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        Self::on(TlsListener { listener, acceptor }, base)
    }

    fn on<L: axum::serve::Listener<Addr = SocketAddr>>(listener: L, base: String) -> Self {
        let (came_to, came) = mpsc::unbounded_channel();
        let desk = Desk {
            answers: Arc::default(),
            came: came_to,
        };
        let answers = desk.answers.clone();
        let router = Router::new().fallback(receive).with_state(desk);
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

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    /// The next client that trusts the certificate.
    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
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
