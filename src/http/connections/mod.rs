//! Connection handling, so that silent, slow or numerous clients cannot block the server for others.
//!
//! [`stream`] watches a socket, [`plaintext`] what is read from it after TLS, [`service`] and [`body`] report what is expected next,
//! [`connection`] holds that state, with an [`exchange`] for each request, and [`registry`] acts on it: it closes connections that are silent
//! or slow for too long, and makes room for new ones. Nothing here depends on a route.
//!
//! While the server itself is processing a request, no time limit applies: only the time spent waiting for the client counts.

mod body;
mod caller;
mod connection;
mod exchange;
mod frames;
mod framing;
mod ongoing;
mod pace;
mod peer;
mod plaintext;
mod registry;
mod seat;
mod service;
mod shares;
mod sockets;
mod stream;
mod streams;

pub use self::{
    caller::Caller,
    connection::{Connection, Protocol},
    exchange::BodyFault,
    ongoing::Ongoing,
    peer::Peer,
    plaintext::Plaintext,
    registry::{Registry, Rules},
    service::Served,
    shares::{Permit, Permits},
    sockets::{allow_descriptors, watch_for_dead_peers},
    stream::Watched,
    streams::Streams,
};
