//! A client that speaks TLS, from an address of its choice, and says on it what a test wants.

use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Api, certificate::Certificate, raw::host};

const PATIENCE: Duration = Duration::from_secs(30);

pub const HTTP_1: &[u8] = b"http/1.1";
pub const HTTP_2: &[u8] = b"h2";

/// Trusts the test's own authority, and offers these protocols.
pub fn config(certificate: &Certificate, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(certificate.authority()).unwrap() {
        roots.add(root.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

pub struct Tls {
    pub stream: TlsStream<TcpStream>,
}

impl Tls {
    pub async fn open(api: &Api, certificate: &Certificate, protocols: &[&[u8]]) -> Self {
        Self::from(api, certificate, protocols, "127.0.0.1").await
    }

    pub async fn from(api: &Api, certificate: &Certificate, protocols: &[&[u8]], address: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
        let stream = socket.connect(host(api).parse().unwrap()).await.unwrap();
        let connector = TlsConnector::from(config(certificate, protocols));
        let name = ServerName::try_from("localhost").unwrap();
        let shaken = timeout(PATIENCE, connector.connect(name, stream)).await;
        Self {
            stream: shaken.expect("no handshake").unwrap(),
        }
    }

    /// The protocol that the server has chosen.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }

    /// The server's certificate.
    pub fn certificate(&self) -> Vec<u8> {
        self.stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Everything until the server ends the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let read = async {
            loop {
                match self.stream.read_buf(&mut all).await {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) => {
                        let ended = [
                            ErrorKind::UnexpectedEof,
                            ErrorKind::ConnectionReset,
                            ErrorKind::BrokenPipe,
                        ];
                        assert!(ended.contains(&error.kind()), "{error:?}");
                        return;
                    }
                }
            }
        };
        timeout(PATIENCE, read).await.expect("the connection stays open");
        all
    }
}

/// The first message of a client that shakes hands.
pub fn client_hello(certificate: &Certificate) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(config(certificate, &[HTTP_2, HTTP_1]), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}
