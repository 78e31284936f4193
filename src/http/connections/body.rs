//! Request and response bodies that report their progress to the connection.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};

use super::connection::{BodyFault, Connection};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request: it ends with an error if it is received too slowly.
pub struct Awaited {
    body: Incoming,
    connection: Arc<Connection>,
    gave_up: bool,
}

impl Awaited {
    pub fn new(body: Incoming, connection: Arc<Connection>) -> Self {
        Self {
            body,
            connection,
            gave_up: false,
        }
    }
}

impl HttpBody for Awaited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            // A handler that still reads after the fault, so that the client can read its response, has its own time limit.
            if self.gave_up {
                return Poll::Pending;
            }
            return match self.connection.wait_for_body(context.waker()) {
                Ok(()) => Poll::Pending,
                Err(fault) => {
                    self.gave_up = fault == BodyFault::TooSlow;
                    Poll::Ready(Some(Err(fault.into())))
                }
            };
        };
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        self.connection.body_came(data.map_or(0, Bytes::len));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Display for BodyFault {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooSlow => "the body is received too slowly",
            Self::Stopping => "the server is stopping",
        })
    }
}

impl std::error::Error for BodyFault {}

/// The body of a response: the response is complete when this is dropped.
pub struct Answer<B> {
    pub body: B,
    pub connection: Arc<Connection>,
}

impl<B: HttpBody + Unpin> HttpBody for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.connection.answered();
    }
}
