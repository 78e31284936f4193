//! TLS: the certificate and key of the server, read again when their files change, and the handshakes of its clients.

mod certificate;
mod current;
mod handshake;
mod reload;
mod stamp;

pub use self::current::Tls;
