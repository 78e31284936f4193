//! An answer that comes before the end of a request's body reaches its client: what is still on its way is taken for a while, and
//! thrown away.
//!
//! Most clients read no answer before they have sent everything. If the server stopped reading at its refusal, the kernel would reset
//! the connection and the client would see that instead of the reason (RFC 9112, section 9.6). What is here already, as most bodies
//! are, goes at once and on the connection's own task: under overload there are a great many refusals, and each must cost little.

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

/// Most bytes of a body that nobody wants which an answer waits for.
const AT_ONCE: u64 = 256 << 10;
/// How often it looks for more of them in vain before it goes out.
const LOOKS: u32 = 2;
/// How long a client that goes on sending after its answer is listened to: about as long as stopping waits for connections.
const LONGEST: Duration = Duration::from_secs(8);
/// How long one that sends nothing is waited for.
const QUIET: Duration = Duration::from_secs(2);

/// Lets the handlers leave any body unread.
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
    // Whatever still holds the body works on without an answer waiting for it.
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
    /// Whether the client sends without being told to: one that asks first (`Expect: 100-continue`) must not be told to send in vain.
    awaited: bool,
    /// To where the answer is given out; none once it was taken.
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

/// Takes what has come of a small body; whether that was all.
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
            // The connection reads on while this waits for its turn.
            () = yield_now() => looks += 1,
        }
    }
    false
}

/// Takes the rest of a body whose request is answered.
fn linger(mut body: Body) {
    if let Ok(runtime) = Handle::try_current() {
        let rest = async move { while let Ok(Some(Ok(_))) = timeout(QUIET, body.frame()).await {} };
        runtime.spawn(timeout(LONGEST, rest));
    }
}
