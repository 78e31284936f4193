//! The certificate and key that new connections are served with.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tracing::warn;

use super::{certificate, stamp::Stamp};
use crate::config::TlsFiles;

/// Shared by all connections of a listener.
pub struct Tls {
    pub(super) files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
    /// Handshakes that compute at the same time.
    pub(super) computing: Semaphore,
    pub(super) seen_at_start: Stamp,
}

impl Tls {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// Why they cannot be used, in one line that says what to do.
    pub fn open(files: &TlsFiles) -> anyhow::Result<Arc<Self>> {
        let seen_at_start = Stamp::of(files);
        let loaded = certificate::load(files)?;
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        // Half of the threads: a flood of handshakes leaves the others to requests.
        let threads = tokio::runtime::Handle::current().metrics().num_workers();
        Ok(Arc::new(Self {
            files: files.clone(),
            current: RwLock::new(Arc::new(loaded.config)),
            computing: Semaphore::new((threads / 2).max(1)),
            seen_at_start,
        }))
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn replace(&self, config: ServerConfig) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}
