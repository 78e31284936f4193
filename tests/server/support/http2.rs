//! A client of HTTP/2 that decides itself when it sends, reads and makes room; and frames that no client sends.

use std::{future::poll_fn, time::Duration};

use axum::http::{HeaderMap, Method, Request, Response};
use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_rustls::client::TlsStream;

use super::{
    Api,
    certificate::Certificate,
    tls::{HTTP_2, Tls},
};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Http2 {
    pub requests: SendRequest<Bytes>,
    running: JoinHandle<Result<(), h2::Error>>,
}

/// What came back.
pub struct Http2Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Http2 {
    pub async fn open(api: &Api, certificate: &Certificate) -> Self {
        Self::with(api, certificate, &Builder::new()).await
    }

    /// A client with settings of its own.
    pub async fn with(api: &Api, certificate: &Certificate, settings: &Builder) -> Self {
        Self::over(Tls::open(api, certificate, &[HTTP_2]).await.stream, settings).await
    }

    pub async fn over(stream: TlsStream<TcpStream>, settings: &Builder) -> Self {
        let (requests, connection) = settings.handshake::<_, Bytes>(stream).await.unwrap();
        Self {
            requests,
            running: tokio::spawn(connection),
        }
    }

    /// Begins a request. Without a `body` it is complete.
    pub async fn begin(
        &mut self,
        method: Method,
        path: &str,
        has_body: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"))
            .body(())
            .unwrap();
        self.send(request, has_body).await
    }

    pub async fn send(
        &mut self,
        request: Request<()>,
        has_body: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let ready = timeout(PATIENCE, self.requests.clone().ready()).await;
        self.requests = ready.expect("no room for a request").unwrap();
        self.requests.send_request(request, !has_body).unwrap()
    }

    pub async fn get(&mut self, path: &str) -> Http2Answer {
        let (response, _) = self.begin(Method::GET, path, false).await;
        answer(response).await
    }

    /// Sends a body as the server makes room for it.
    pub async fn put(&mut self, path: &str, body: Vec<u8>) -> Http2Answer {
        let (response, mut stream) = self.begin(Method::PUT, path, true).await;
        let mut body = Bytes::from(body);
        while !body.is_empty() {
            stream.reserve_capacity(body.len());
            let room = timeout(PATIENCE, poll_fn(|context| stream.poll_capacity(context))).await;
            let room = room.expect("no room").unwrap().unwrap();
            let piece = body.split_to(room.min(body.len()));
            stream.send_data(piece, body.is_empty()).unwrap();
        }
        answer(response).await
    }

    /// Waits until the server has ended the connection.
    pub async fn ended(self) {
        drop(self.requests);
        let ended = timeout(PATIENCE, self.running).await;
        let _ = ended.expect("the connection stays open");
    }

    /// Disappears, whatever was asked.
    pub fn break_off(self) {
        self.running.abort();
    }
}

impl Http2Answer {
    #[track_caller]
    pub fn problem(&self, status: u16, slug: &str) {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        assert!(
            text.contains(&format!("urn:finetuned:problem:{slug}\"")),
            "{text}"
        );
    }
}

/// The whole response.
pub async fn answer(response: ResponseFuture) -> Http2Answer {
    let response = head(response).await;
    let (parts, body) = response.into_parts();
    let (body, fault) = read(body).await;
    assert!(fault.is_none(), "{fault:?}");
    Http2Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    }
}

pub async fn head(response: ResponseFuture) -> Response<RecvStream> {
    let response = timeout(PATIENCE, response).await;
    response.expect("no response").unwrap()
}

/// What comes of a body, and how it ends.
pub async fn read(mut body: RecvStream) -> (Vec<u8>, Option<h2::Error>) {
    let mut all = Vec::new();
    loop {
        match timeout(PATIENCE, body.data()).await.expect("a body without end") {
            None => return (all, None),
            Some(Err(error)) => return (all, Some(error)),
            Some(Ok(piece)) => {
                body.flow_control().release_capacity(piece.len()).unwrap();
                all.extend(piece);
            }
        }
    }
}

/// What begins a connection: the preface and empty settings.
pub fn beginning() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat()
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A request that is complete, by numbers of HPACK's static table where it has them (RFC 7541, appendix A).
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    let literal = |name: u8, value: &str| [&[name, value.len() as u8], value.as_bytes()].concat();
    let block = [
        &[0x82, 0x87][..],
        &literal(0x04, path),
        &literal(0x01, "localhost"),
    ]
    .concat();
    frame(1, 5, stream, &block)
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &8_u32.to_be_bytes())
}
