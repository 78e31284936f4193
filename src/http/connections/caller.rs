//! The client that makes a request, which is not the one of its connection where a proxy is in between.

use std::{convert::Infallible, net::Ipv6Addr};

use axum::{
    extract::FromRequestParts,
    http::{Extensions, request::Parts},
};

use super::{ongoing::Ongoing, peer::Peer};

/// The client that makes a request; among its extensions where proxies were asked for it.
#[derive(Clone, Copy, Debug)]
pub struct Caller(pub Peer);

impl Caller {
    pub fn of(extensions: &Extensions) -> Self {
        if let Some(caller) = extensions.get::<Self>() {
            return *caller;
        }
        let request = extensions.get::<Ongoing>();
        // Without a connection there is no network, so nobody else's share can be used up.
        Self(request.map_or(Peer::of(Ipv6Addr::UNSPECIFIED.into(), &[]), Ongoing::peer))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}
