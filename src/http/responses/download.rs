//! Streams files to clients. Memory use does not grow with the file, and a slow client occupies only one thread and one download permit.

use std::{io, time::Duration};

use axum::body::{Body, Bytes};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};

use crate::{
    error::{Error, Kind, Result},
    http::{
        App,
        connections::{Caller, Permit},
    },
};

/// Bytes per read.
pub const CHUNK: usize = 256 << 10;
/// Chunks buffered for the client.
const CHUNKS_IN_FLIGHT: usize = 4;

impl App {
    /// Acquires a download permit.
    ///
    /// # Errors
    /// `downloads-busy`
    pub(in crate::http) fn download_permit(&self, caller: Caller) -> Result<Permit> {
        self.downloads().take(caller.0).map_err(|_| {
            let detail =
                "too many downloads are in progress, in total or from this address; try again in a moment";
            Error::new(Kind::TooMany, "downloads-busy", detail).retry_after(Duration::from_secs(5))
        })
    }

    /// A body that `send` writes on its own thread while the client reads. If it fails, the client receives less than `Content-Length`.
    pub(in crate::http) fn download(
        &self,
        permit: Permit,
        send: impl FnOnce(&Out) -> io::Result<()> + Send + 'static,
    ) -> Body {
        let (sender, mut receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let out = Out {
            sender,
            patience: self.limits().upload_idle(),
            runtime: Handle::current(),
            _permit: permit,
        };
        tokio::task::spawn_blocking(move || {
            match send(&out) {
                Ok(()) => {}
                // The client has disconnected, or requested only the headers.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) => {
                    tracing::warn!(%error, "a download was aborted");
                    let _ = out.put(Err(error));
                }
            }
        });
        Body::from_stream(futures_util::stream::poll_fn(move |context| {
            receiver.poll_recv(context)
        }))
    }
}

/// Sends chunks to the client.
pub struct Out {
    sender: mpsc::Sender<io::Result<Bytes>>,
    /// How long the client may read nothing.
    patience: Duration,
    runtime: Handle,
    _permit: Permit,
}

impl Out {
    /// Sends a chunk; waits while the buffer is full.
    pub fn put(&self, chunk: io::Result<Bytes>) -> io::Result<()> {
        let sent = self
            .runtime
            .block_on(timeout(self.patience, self.sender.send(chunk)));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
