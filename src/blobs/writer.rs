//! A file that grows by chunks that come from the network: one thread hashes and writes them, a second one brings them to the disk
//! meanwhile, so that little is left to wait for at the end and the page cache does not fill up with what is not written yet.

use std::{
    fs::File,
    io::{self, Write},
    sync::mpsc as std_mpsc,
    thread,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{Error, Result};

/// Chunks that may wait for the writing thread; with chunks of at most a few hundred KiB this bounds an upload's memory.
const CHUNKS_IN_FLIGHT: usize = 16;
/// How much is written between two syncs.
const SYNC_EVERY: u64 = 16 << 20;

/// The sending end. Dropping it without [`Writer::finish`] says that the rest will not come.
pub struct Writer<T> {
    chunks: mpsc::Sender<Option<Bytes>>,
    /// None once it was taken out.
    outcome: Option<oneshot::Receiver<io::Result<T>>>,
    durable: watch::Receiver<u64>,
}

/// What the writing thread works with.
pub(super) struct Receiver {
    chunks: mpsc::Receiver<Option<Bytes>>,
    durable: watch::Sender<u64>,
}

impl<T: Send + 'static> Writer<T> {
    /// Starts the thread on `act`, which opens the file, passes it to [`Receiver::write_to`] and says what came of it.
    pub(super) fn start(act: impl FnOnce(Receiver) -> io::Result<T> + Send + 'static) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let (done, outcome) = oneshot::channel();
        let (durable_sender, durable) = watch::channel(0);
        let receiver = Receiver {
            chunks,
            durable: durable_sender,
        };
        tokio::task::spawn_blocking(move || {
            let _ = done.send(act(receiver));
        });
        Self {
            chunks: sender,
            outcome: Some(outcome),
            durable,
        }
    }

    /// Waits for room and hands the chunk over. An error of the disk comes back here or from [`Writer::finish`].
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        if self.chunks.send(Some(chunk)).await.is_ok() {
            return Ok(());
        }
        match self.outcome().await {
            Err(error) => Err(error),
            Ok(_) => Err(gone()),
        }
    }

    /// Waits until more of the file is on disk for certain; the length of its beginning that is.
    pub async fn more_durable(&mut self) -> u64 {
        if self.durable.changed().await.is_err() {
            // The thread has ended: whoever writes or finishes is told how.
            std::future::pending::<()>().await;
        }
        *self.durable.borrow_and_update()
    }

    /// Says that the rest will not come, as dropping does, and waits for what is made of that.
    pub async fn abandon(mut self) -> Result<T> {
        let outcome = self.outcome();
        drop(self.chunks);
        outcome.await
    }

    /// Waits until everything is on disk.
    pub async fn finish(self) -> Result<T> {
        // None means "that was all": a writer that is merely dropped does not say it.
        let _ = self.chunks.send(None).await;
        self.abandon().await
    }

    fn outcome(&mut self) -> impl Future<Output = Result<T>> + use<T> {
        let outcome = self.outcome.take();
        async move {
            match outcome.ok_or_else(gone)?.await {
                Ok(outcome) => Ok(outcome?),
                Err(_) => Err(gone()),
            }
        }
    }
}

impl Receiver {
    /// Appends chunks to a file that has `length` bytes, each shown to `look` first. True when the sender said that this was all,
    /// false when it is merely gone. Whoever calls this does the last sync.
    pub(super) fn write_to(self, file: &File, length: u64, look: impl FnMut(&[u8])) -> io::Result<bool> {
        let Self { chunks, durable } = self;
        thread::scope(|scope| {
            // One length that is being synced and one that waits: where the disk is slower than the network, the writer is held back
            // here, and not by the kernel, which would hold back everybody.
            let (ask, lengths) = std_mpsc::sync_channel(1);
            let syncing = thread::Builder::new()
                .name("sync".to_owned())
                .spawn_scoped(scope, move || bring_to_disk(file, &lengths, &durable))?;
            let written = append(file, length, chunks, look, &ask);
            drop(ask);
            // The kernel tells a failure to write back only once, and it may be this thread that was told.
            syncing
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the syncing thread has ended")))?;
            written
        })
    }
}

fn append(
    mut file: &File,
    mut length: u64,
    mut chunks: mpsc::Receiver<Option<Bytes>>,
    mut look: impl FnMut(&[u8]),
    ask: &std_mpsc::SyncSender<u64>,
) -> io::Result<bool> {
    let mut asked = length;
    while let Some(message) = chunks.blocking_recv() {
        let Some(chunk) = message else {
            return Ok(true);
        };
        look(&chunk);
        file.write_all(&chunk)?;
        length += chunk.len() as u64;
        if length - asked >= SYNC_EVERY {
            ask.send(length)
                .map_err(|_| io::Error::other("the file cannot be synced"))?;
            asked = length;
        }
    }
    Ok(false)
}

fn bring_to_disk(
    file: &File,
    lengths: &std_mpsc::Receiver<u64>,
    durable: &watch::Sender<u64>,
) -> io::Result<()> {
    while let Ok(length) = lengths.recv() {
        file.sync_data()?;
        durable.send_replace(length);
    }
    Ok(())
}

fn gone() -> Error {
    Error::internal(anyhow::anyhow!("the thread writing a file has ended"))
}
