//! Makes sure that a response sent before the end of the request body reaches its client: the rest of the body is read for a while and
//! discarded.
//!
//! Most clients read no response before they have sent everything. If the server stopped reading when it refuses, the kernel would reset
//! the connection and the client would see that instead of the reason (RFC 9112, section 9.6). Data that has already arrived, as with most
//! bodies, is discarded at once and on the connection's own task: under overload there are many refusals, and each must be cheap.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Error,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::header,
    middleware::Next,
    response::Response,
};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::{runtime::Handle, sync::oneshot, task::yield_now, time::timeout};

/// Most bytes of an unwanted body that are read before the response is sent.
const AT_ONCE: u64 = 256 << 10;
/// Number of empty polls before the response is sent.
const LOOKS: u32 = 2;
/// How long to keep reading from a client that still sends after its response: about as long as a shutdown waits for connections.
const LONGEST: Duration = Duration::from_secs(8);
/// How long to wait for a client that sends nothing.
const QUIET: Duration = Duration::from_secs(2);

/// Allows handlers to leave a body unread.
pub async fn body(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let asked_first = request.headers().contains_key(header::EXPECT);
    let (leave, mut left) = oneshot::channel();
    let request = request.map(|body| {
        Body::new(Lingering {
            body,
            awaited: !asked_first,
            leave: Some(leave),
        })
    });
    let response = next.run(request).await;
    // Whatever still holds the body keeps it, and the response does not wait for that.
    left.close();
    if let Ok(mut body) = left.try_recv()
        && !is_here(&mut body).await
    {
        linger(body);
    }
    response
}

struct Lingering {
    body: Body,
    /// Whether the client sends without being asked: one that waits for `Expect: 100-continue` must not be told to send what is discarded.
    awaited: bool,
    /// Returns the body after the response; `None` if it has already been returned.
    leave: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.awaited = true;
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if !self.awaited || self.body.is_end_stream() {
            return;
        }
        let body = mem::take(&mut self.body);
        if let Some(Err(body)) = self.leave.take().map(|leave| leave.send(body)) {
            linger(body);
        }
    }
}

/// Reads what has arrived of a small body; true if that was all of it.
async fn is_here(body: &mut Body) -> bool {
    if body.size_hint().lower() > AT_ONCE {
        return false;
    }
    let (mut bytes, mut looks) = (0, 0);
    while bytes <= AT_ONCE && looks < LOOKS {
        tokio::select! {
            biased;
            frame = body.frame() => match frame {
                Some(Ok(frame)) => {
                    bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                    looks = 0;
                }
                _ => return true,
            },
            // The connection keeps reading while this waits to be scheduled.
            () = yield_now() => looks += 1,
        }
    }
    false
}

/// Reads and discards the rest of a body after the response.
fn linger(mut body: Body) {
    if let Ok(runtime) = Handle::try_current() {
        let rest = async move { while let Ok(Some(Ok(_))) = timeout(QUIET, body.frame()).await {} };
        runtime.spawn(timeout(LONGEST, rest));
    }
}
