//! What is spoken on a connection: HTTP/1.1 without TLS; with it, HTTP/1.1 or HTTP/2, whichever the client prefers.

use std::{error::Error as StdError, sync::Arc};

use axum::{Router, middleware};
use hyper::server::conn::{http1, http2};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::Watcher,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::tls::Tls;
use crate::{
    error::{Error, Kind},
    http::{
        connections::{Connection, Permits, Plaintext, Protocol, Served, Streams, Watched},
        requests::{admission, guard, lingering},
        responses::problem,
    },
};

/// The first byte of a TLS handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// Requests at the same time on a connection of HTTP/2, as many as its specification wants at least. All of a client's together have the limit of
/// connections.
const MOST_STREAMS: u32 = 100;
/// Most bytes of bodies that wait to be read, on a request and on a connection of HTTP/2: the more, the less often an upload waits for a window.
const WINDOW: u32 = 1 << 20;
/// Most bytes of a response that wait for a client's window.
const UNSENT: usize = 64 << 10;
/// Largest headers of a request in HTTP/2, uncompressed.
const MOST_HEADERS: u32 = 16 << 10;

/// How the connections of a listener are served.
pub struct Speaking {
    service: Router,
    /// Answers requests without TLS where it is needed.
    refusal: Router,
    tls: Option<Arc<Tls>>,
    places: Permits,
    http1: http1::Builder,
}

type BoxError = Box<dyn StdError + Send + Sync>;

impl Speaking {
    pub fn new(service: Router, tls: Option<Arc<Tls>>, places: Permits) -> Self {
        let mut http1 = http1::Builder::new();
        // hyper's own header timeout would restart with every response, and cannot tell a new connection from an idle one.
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(64 << 10)
            .keep_alive(true);
        Self {
            service,
            refusal: refusal(),
            tls,
            places,
            http1,
        }
    }

    /// Serves a connection until it is over.
    pub async fn serve(self: Arc<Self>, watched: Watched, watcher: Watcher) {
        if watched.begins().await.is_err() {
            return;
        }
        // Boxed, so that an idle connection uses little memory.
        if let Err(error) = Box::pin(self.speak(watched, watcher)).await {
            debug!(%error, "a connection was closed early");
        }
    }

    async fn speak(&self, watched: Watched, watcher: Watcher) -> Result<(), BoxError> {
        let connection = watched.connection().clone();
        let Some(tls) = &self.tls else {
            return self.http1(watched, connection, watcher, &self.service).await;
        };
        match watched.first_byte().await? {
            None => Ok(()),
            Some(TLS_HANDSHAKE) => {
                let stream = tls.handshake(watched).await?;
                match connection.protocol() {
                    Protocol::Http1 => self.http1(stream, connection, watcher, &self.service).await,
                    Protocol::Http2 => self.http2(stream, connection, watcher).await,
                }
            }
            Some(_) => {
                connection.close_after_answer();
                self.http1(watched, connection, watcher, &self.refusal).await
            }
        }
    }

    async fn http1<S>(
        &self,
        stream: S,
        connection: Arc<Connection>,
        watcher: Watcher,
        router: &Router,
    ) -> Result<(), BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let served = self.served(connection.clone(), router);
        let stream = TokioIo::new(Plaintext::new(stream, connection));
        Ok(watcher.watch(self.http1.serve_connection(stream, served)).await?)
    }

    async fn http2<S>(&self, stream: S, connection: Arc<Connection>, watcher: Watcher) -> Result<(), BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let served = self.served(connection.clone(), &self.service);
        let mut http2 = http2::Builder::new(Streams(connection.clone()));
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MOST_STREAMS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buf_size(UNSENT)
            .max_header_list_size(MOST_HEADERS);
        let stream = TokioIo::new(Plaintext::new(stream, connection));
        Ok(watcher.watch(http2.serve_connection(stream, served)).await?)
    }

    fn served(&self, connection: Arc<Connection>, router: &Router) -> Served {
        Served {
            router: router.clone(),
            connection,
            places: self.places.clone(),
        }
    }
}

/// Says that a port speaks TLS only. What is asked for is not looked at: it went over the network in the clear.
fn refusal() -> Router {
    Router::new()
        .fallback(async || {
            let detail = "this port speaks TLS only: write the address with https:// in the place of http://";
            Error::new(Kind::Malformed, "tls-needed", detail)
        })
        .layer(middleware::from_fn(admission::admit))
        .layer(middleware::from_fn(problem::finish))
        .layer(middleware::from_fn(guard::headers))
        .layer(middleware::from_fn(lingering::body))
}
