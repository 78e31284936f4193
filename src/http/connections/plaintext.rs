//! What is read of a connection after TLS, if there is any: it is checked for what is ambiguous (HTTP/1.1) or a flood (HTTP/2).

use std::{
    io::{self, IoSlice},
    ops::Deref,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    connection::{Connection, Protocol},
    frames::Frames,
    framing::Framing,
};

pub struct Plaintext<S> {
    stream: S,
    connection: Arc<Connection>,
    check: Check,
}

enum Check {
    Framing(Framing),
    Frames(Frames),
}

impl<S> Plaintext<S> {
    pub fn new(stream: S, connection: Arc<Connection>) -> Self {
        let check = match connection.protocol() {
            Protocol::Http1 => Check::Framing(Framing::default()),
            Protocol::Http2 => Check::Frames(Frames::default()),
        };
        Self {
            stream,
            connection,
            check,
        }
    }

    fn check(&mut self, came: &[u8]) -> io::Result<()> {
        match &mut self.check {
            Check::Framing(framing) => {
                let fault = framing.read(came);
                self.connection.read(fault);
            }
            Check::Frames(frames) => {
                self.connection.read(None);
                if frames.read(came) {
                    self.connection.is_flooded();
                    return Err(io::Error::other("a flood of frames"));
                }
            }
        }
        Ok(())
    }

    /// Passes on what was written of these bytes.
    fn noted(
        &mut self,
        written: Poll<io::Result<usize>>,
        slices: &[impl Deref<Target = [u8]>],
    ) -> Poll<io::Result<usize>> {
        if let (Check::Frames(frames), Poll::Ready(Ok(bytes))) = (&mut self.check, &written) {
            let mut left = *bytes;
            for slice in slices {
                let taken = left.min(slice.len());
                frames.wrote(&slice[..taken]);
                left -= taken;
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Plaintext<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let came = &buffer.filled()[before..];
        if came.is_empty() {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.check(came))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Plaintext<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.noted(written, &[bytes])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.noted(written, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
