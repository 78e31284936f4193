//! The handshake of one connection.

use std::io;

use rustls::server::Acceptor;
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::current::Tls;
use crate::http::connections::{Protocol, Watched};

impl Tls {
    /// Shakes hands with a client, within the time that the connection gives it.
    ///
    /// The certificate is chosen when the client has said hello, so an unfinished handshake holds little. What the server then computes takes
    /// a while, and handshakes take turns at it: requests are served in between.
    ///
    /// # Errors
    /// The client does not speak TLS, or not in a way that we do, or has left.
    pub async fn handshake(&self, watched: Watched) -> io::Result<TlsStream<Watched>> {
        let connection = watched.connection().clone();
        connection.handshake_begins();
        let hello = LazyConfigAcceptor::new(Acceptor::default(), watched).await?;
        let accepting = {
            let _turn = self.computing.acquire().await.map_err(io::Error::other)?;
            hello.into_stream(self.current())
        };
        let stream = accepting.await?;
        let chosen = stream.get_ref().1.alpn_protocol();
        connection.speaks_over_tls(match chosen {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        });
        Ok(stream)
    }
}
