//! A request in progress, as its bodies and its handler know it.

use std::{sync::Arc, task::Waker};

use super::{
    connection::{Connection, Protocol},
    exchange::BodyFault,
    framing::FramingFault,
    peer::Peer,
    shares::Permit,
};

/// A request and its connection; among the request's extensions. Cheap to clone.
#[derive(Clone)]
pub struct Ongoing {
    connection: Arc<Connection>,
    id: u64,
    /// What is ambiguous in its head, where the connection does not know it.
    fault: Option<FramingFault>,
    /// Beyond the limit of requests: for health checks only.
    crowded: bool,
}

impl Ongoing {
    pub fn begin(connection: &Arc<Connection>, fault: Option<FramingFault>, crowded: bool) -> Self {
        Self {
            connection: connection.clone(),
            id: connection.request_begins(),
            fault,
            crowded,
        }
    }

    pub fn peer(&self) -> Peer {
        self.connection.peer()
    }

    /// Whether the client speaks TLS with this server itself.
    pub fn is_secure(&self) -> bool {
        self.connection.is_secure()
    }

    /// Whether only health checks are answered: there are too many connections, or requests.
    pub fn is_reserved(&self) -> bool {
        self.connection.is_reserved() || self.crowded
    }

    pub fn framing_fault(&self) -> Option<FramingFault> {
        self.fault.or_else(|| self.connection.framing_fault())
    }

    pub fn body_fault(&self) -> Option<BodyFault> {
        self.connection.body_fault(self.id)
    }

    /// Closes the connection after the response. Other requests of HTTP/2 are not disturbed: a crowd is no reason to close.
    pub fn close_after_answer(&self) {
        if !self.crowded {
            self.connection.close_after_answer();
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.connection.is_closing()
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.connection.protocol()
    }

    pub(super) fn wait_for_body(&self, waker: &Waker) -> Result<(), BodyFault> {
        self.connection.wait_for_body(self.id, waker)
    }

    pub(super) fn body_came(&self, bytes: usize) {
        self.connection.body_came(self.id, bytes);
    }

    pub(super) fn offer(&self, bytes: usize) {
        self.connection.offer(self.id, bytes);
    }

    pub(super) fn taken(&self) {
        self.connection.taken(self.id);
    }
}

/// Ends the request when it is dropped: when its response is complete, or its client has left.
pub(super) struct UntilAnswered {
    pub request: Ongoing,
    _place: Option<Permit>,
}

impl UntilAnswered {
    pub fn new(request: Ongoing, place: Option<Permit>) -> Self {
        Self {
            request,
            _place: place,
        }
    }
}

impl Drop for UntilAnswered {
    fn drop(&mut self) {
        self.request.connection.answered(self.request.id);
    }
}
