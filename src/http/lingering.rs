//! An answer that comes before the end of a request's body reaches its client: what is still on its way is taken for a while, and
//! thrown away.
//!
//! Most clients read no answer before they have sent everything. If the server stopped reading at its refusal, the kernel would reset
//! the connection and the client would see that instead of the reason (RFC 9112, section 9.6).

use std::{
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
use tokio::{runtime::Handle, time::timeout};

/// How long a client that goes on sending after its answer is listened to: about as long as stopping waits for connections.
const LONGEST: Duration = Duration::from_secs(8);
/// How long one that sends nothing is waited for.
const QUIET: Duration = Duration::from_secs(2);

/// Lets the handlers leave any body unread.
pub async fn body(request: Request, next: Next) -> Response {
    let asked_first = request.headers().contains_key(header::EXPECT);
    let request = request.map(|body| {
        Body::new(Lingering {
            body,
            awaited: !asked_first,
        })
    });
    next.run(request).await
}

struct Lingering {
    body: Body,
    /// Whether the client sends without being told to: one that asks first (`Expect: 100-continue`) must not be told to send in vain.
    awaited: bool,
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
        let body = std::mem::take(&mut self.body);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(LONGEST, pass_over(body)));
        }
    }
}

async fn pass_over(mut body: Body) {
    while let Ok(Some(Ok(_))) = timeout(QUIET, body.frame()).await {}
}
