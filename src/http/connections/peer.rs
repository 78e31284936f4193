//! The client that a connection or request counts for, for the per-address limits.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv6Addr},
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};

use super::ongoing::Ongoing;
use crate::{config::network::Network, error::Error, http::App};

/// An address for the per-address limits. An IPv6 /64 network counts as one address, because one client usually has all of it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// What counts: the address, or its network.
    address: IpAddr,
    /// To be told to people; it makes no other client.
    whole: IpAddr,
    /// A trusted proxy forwards for many clients and has no per-address limit.
    is_proxy: bool,
}

impl Peer {
    pub fn of(address: IpAddr, proxies: &[Network]) -> Self {
        let is_proxy = proxies.iter().any(|network| network.contains(address));
        let whole = address.to_canonical();
        let address = match whole {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
            address => address,
        };
        Self {
            address,
            whole,
            is_proxy,
        }
    }

    /// The address as it is, also where its network counts.
    pub fn whole_address(self) -> IpAddr {
        self.whole
    }

    pub fn is_proxy(self) -> bool {
        self.is_proxy
    }

    /// The client of a request: for requests through trusted proxies, the last address in `X-Forwarded-For` that is not one of them. The
    /// addresses before it are supplied by the client and cannot be trusted.
    fn behind(self, headers: &HeaderMap, proxies: &[Network]) -> Self {
        if !self.is_proxy {
            return self;
        }
        let values: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        let named = values.into_iter().rev().flat_map(|value| {
            let value = value.to_str().unwrap_or("");
            value
                .rsplit(',')
                .map(|address| address.trim().parse::<IpAddr>().ok())
        });
        for address in named {
            let Some(address) = address else { break };
            let peer = Self::of(address, proxies);
            if !peer.is_proxy {
                return peer;
            }
        }
        self
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        (self.address, self.is_proxy) == (other.address, other.is_proxy)
    }
}

impl Eq for Peer {}

impl Hash for Peer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.address, self.is_proxy).hash(state);
    }
}

/// The client that makes a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller(pub Peer);

impl Caller {
    pub fn of(app: &App, headers: &HeaderMap, extensions: &axum::http::Extensions) -> Self {
        let request = extensions.get::<Ongoing>();
        // Without a connection there is no network, so nobody else's share can be used up.
        let peer = request.map_or(Peer::of(Ipv6Addr::UNSPECIFIED.into(), &[]), Ongoing::peer);
        Self(peer.behind(headers, &app.config().trusted_proxies))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        Ok(Self::of(app, &parts.headers, &parts.extensions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str, proxies: &[Network]) -> Peer {
        Peer::of(address.parse().unwrap(), proxies)
    }

    #[test]
    fn an_ipv6_network_and_an_ipv4_address_are_one_client() {
        assert_eq!(peer("2001:db8::1", &[]), peer("2001:db8::ffff:1", &[]));
        assert_ne!(peer("2001:db8::1", &[]), peer("2001:db8:0:1::1", &[]));
        assert_eq!(peer("::ffff:10.0.0.1", &[]), peer("10.0.0.1", &[]));
        assert_ne!(peer("10.0.0.2", &[]), peer("10.0.0.1", &[]));
        assert_eq!(
            peer("2001:db8::ffff:1", &[]).whole_address().to_string(),
            "2001:db8::ffff:1"
        );
    }

    #[test]
    fn only_a_trusted_proxy_says_for_whom_it_asks() {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let behind = |through: &str, forwarded: &[&str]| {
            let headers = forwarded.iter().map(|value| {
                let name = axum::http::HeaderName::from_static("x-forwarded-for");
                (name, value.parse().unwrap())
            });
            let mut all = HeaderMap::new();
            for (name, value) in headers {
                all.append(name, value);
            }
            peer(through, &proxies).behind(&all, &proxies)
        };
        let client = peer("192.0.2.7", &proxies);
        assert_eq!(behind("10.0.0.1", &["192.0.2.7"]), client);
        assert_eq!(behind("10.0.0.1", &["1.1.1.1, 192.0.2.7"]), client);
        assert_eq!(behind("10.0.0.1", &["1.1.1.1", "192.0.2.7, 10.2.2.2"]), client);
        assert_eq!(
            behind("192.0.2.7", &["1.1.1.1"]),
            client,
            "ignored from an untrusted address"
        );
        for nobody in [&[][..], &["unknown"], &["192.0.2.7, unknown"]] {
            assert!(behind("10.0.0.1", nobody).is_proxy(), "{nobody:?}");
        }
    }
}
