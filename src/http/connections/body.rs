//! Request and response bodies that report their progress to the connection.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};

use super::{
    connection::Protocol,
    exchange::BodyFault,
    ongoing::{Ongoing, UntilAnswered},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Most bytes of a response that are handed over at once in HTTP/2, one frame of the default size: what is handed over is kept for a client
/// that makes no room for it.
const PIECE: usize = 16 << 10;

/// The body of a request: it ends with an error if it is received too slowly.
pub struct Awaited {
    body: Incoming,
    request: Ongoing,
    gave_up: bool,
}

impl Awaited {
    pub fn new(body: Incoming, request: Ongoing) -> Self {
        Self {
            body,
            request,
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
            return match self.request.wait_for_body(context.waker()) {
                Ok(()) => Poll::Pending,
                Err(fault) => {
                    self.gave_up = fault == BodyFault::TooSlow;
                    Poll::Ready(Some(Err(fault.into())))
                }
            };
        };
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        self.request.body_came(data.map_or(0, Bytes::len));
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
///
/// In HTTP/2 it is asked for the next piece when the client has made room for one, so the time between two pieces is the client's. In
/// HTTP/1.1 the socket says what the client has taken.
pub struct Answer<B> {
    body: B,
    /// What is left of a chunk that is handed over in pieces.
    rest: Bytes,
    in_pieces: bool,
    until: UntilAnswered,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, until: UntilAnswered) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            in_pieces: until.request.protocol() == Protocol::Http2,
            until,
        }
    }

    fn next_piece(&mut self) -> Frame<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        self.until.request.offer(piece.len());
        Frame::data(piece)
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if !self.in_pieces {
            return Pin::new(&mut self.body).poll_frame(context);
        }
        self.until.request.taken();
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.next_piece())));
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                self.next_piece()
            }
            Err(other) => other,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.rest.len() as u64;
        let hint = self.body.size_hint();
        let mut all = SizeHint::new();
        all.set_lower(hint.lower() + left);
        if let Some(upper) = hint.upper() {
            all.set_upper(upper + left);
        }
        all
    }
}
