//! Bytes that come in pieces, as a pipe or a socket hands them out: nothing may depend on where they are cut.

use std::{
    future::Future,
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{
    io::{AsyncRead, ReadBuf},
    runtime::{Builder, Runtime},
};

/// A reader whose pieces have `size` bytes, and the last one the rest.
pub struct Pieces {
    rest: Bytes,
    size: usize,
}

impl Pieces {
    pub fn of(bytes: &[u8], size: usize) -> Self {
        Self {
            rest: Bytes::copy_from_slice(bytes),
            size: size.max(1),
        }
    }

    fn next(&mut self, room: usize) -> Bytes {
        let size = self.size.min(room).min(self.rest.len());
        self.rest.split_to(size)
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.next(buffer.len());
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = self.next(buffer.remaining());
        buffer.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

/// The same as the body of a request.
pub fn stream(bytes: &[u8], size: usize) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let pieces: Vec<_> = bytes
        .chunks(size.max(1))
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    stream::iter(pieces)
}

/// Does the work on this thread, with a clock for those who wait no longer than so long.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("there is a clock");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}
