//! The client that a connection or request counts for, for the per-address limits.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv6Addr},
};

use crate::config::network::Network;

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
}
