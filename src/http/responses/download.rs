//! Files on their way to a client, sent as they are read. Memory does not grow with them, and a client that reads slowly keeps one thread and
//! one of a bounded number of places, not more.

use std::{io, time::Duration};

use axum::body::{Body, Bytes};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};

use crate::{
    error::{Error, Kind, Result},
    http::{
        App,
        connections::{Caller, Place},
    },
};

/// Bytes that are read at once.
pub const CHUNK: usize = 256 << 10;
/// Chunks that wait for the client.
const CHUNKS_IN_FLIGHT: usize = 4;

impl App {
    /// A place for a download.
    ///
    /// # Errors
    /// `downloads-busy`
    pub(in crate::http) fn download_place(&self, caller: Caller) -> Result<Place> {
        self.downloads().take(caller.0).map_err(|_| {
            let detail = "as many downloads as the server allows, in all or from one address, are going on; try again in a moment";
            Error::new(Kind::TooMany, "downloads-busy", detail).retry_after(Duration::from_secs(5))
        })
    }

    /// A body that `send` writes, on a thread of its own, while the client reads. Where it fails the client sees less than was announced.
    pub(in crate::http) fn download(
        &self,
        place: Place,
        send: impl FnOnce(&Out) -> io::Result<()> + Send + 'static,
    ) -> Body {
        let (sender, mut receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let out = Out {
            sender,
            patience: Duration::from_secs(self.limits().upload_idle_seconds),
            runtime: Handle::current(),
            _place: place,
        };
        tokio::task::spawn_blocking(move || {
            match send(&out) {
                Ok(()) => {}
                // Nobody reads: the client has left, or wanted nothing but the headers.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) => {
                    tracing::warn!(%error, "a download broke off");
                    let _ = out.put(Err(error));
                }
            }
        });
        Body::from_stream(futures_util::stream::poll_fn(move |context| {
            receiver.poll_recv(context)
        }))
    }
}

/// The way to the client.
pub struct Out {
    sender: mpsc::Sender<io::Result<Bytes>>,
    /// How long a client may take nothing.
    patience: Duration,
    runtime: Handle,
    _place: Place,
}

impl Out {
    /// Hands a chunk over; it waits while the client has enough to read.
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
