//! The connections of the server, so that clients who are silent, slow or many cannot stop it for the others.
//!
//! [`stream`] watches what goes over a socket, [`service`] and [`body`] tell whose turn it is, [`connection`] keeps both, and
//! [`registry`] acts on it: it ends what is silent or slow for too long, and makes room for newcomers. Nothing here knows a route.
//!
//! While the server itself works on an answer, no bytes flow and no clock runs: only a client that is to send or to read is waited for.

mod body;
mod connection;
mod framing;
mod pace;
mod peer;
mod registry;
mod seat;
mod service;
mod shares;
mod sockets;
mod stream;

pub use self::{
    connection::{BodyFault, Connection},
    peer::{Caller, Peer},
    registry::{Registry, Rules},
    service::Served,
    shares::{Place, Places},
    sockets::{allow_descriptors, watch_for_dead_peers},
};
