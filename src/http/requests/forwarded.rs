//! What trusted proxies say about a request that they pass on: whose it is, and how its client reached them. `X-Forwarded-For`, `-Proto`, `-Host`
//! and `-Prefix`, or `Forwarded` (RFC 7239).
//!
//! Each proxy adds to the end of these lists, and what comes before the first trusted one is whatever the client has sent. So they are read
//! from the end, and the first address that is no trusted proxy is the client's.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header, uri::Authority};

use crate::{config::network::Network, http::connections::Peer};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// What is believed.
#[derive(Clone, Debug)]
pub struct Forwarded {
    pub client: Peer,
    /// Whether the client speaks TLS with the first trusted proxy.
    pub is_https: Option<bool>,
    /// The host that the client asked for.
    pub host: Option<HeaderValue>,
    /// The path that was cut off, without a slash at its end.
    pub prefix: Option<String>,
}

/// What a proxy says of the one before it.
#[derive(Clone, Debug, Default)]
struct Hop {
    /// None: it does not say an address.
    client: Option<IpAddr>,
    proto: Option<String>,
    host: Option<String>,
}

/// Everything of a trusted proxy, and nothing of anybody else.
pub fn believed(peer: Peer, headers: &HeaderMap, proxies: &[Network]) -> Forwarded {
    let mut forwarded = Forwarded {
        client: peer,
        is_https: None,
        host: None,
        prefix: None,
    };
    if !peer.is_proxy() {
        return forwarded;
    }
    forwarded.prefix = prefix(headers);
    if !is_closed(headers) {
        // What the proxy has added stands within the client's quotes, and the client would speak for it.
        forwarded.client = Peer::of(peer.whole_address(), &[]);
        return forwarded;
    }
    let (theirs, standard) = (x_forwarded(headers), standard(headers));
    let (by_theirs, by_standard) = (client(&theirs, proxies), client(&standard, proxies));
    let both_say = headers.contains_key(FOR) && headers.contains_key(header::FORWARDED);
    if both_say && by_theirs.map(|(client, _)| client) != by_standard.map(|(client, _)| client) {
        // A proxy adds to one of the two and passes the other one on as the client wrote it. Nobody can tell which, so it is the request of the
        // proxy's address, as that of any client.
        forwarded.client = Peer::of(peer.whole_address(), &[]);
        return forwarded;
    }
    let (found, hops) = match headers.contains_key(header::FORWARDED) && !headers.contains_key(FOR) {
        true => (by_standard, standard),
        false => (by_theirs, theirs),
    };
    if let Some((client, _)) = found {
        forwarded.client = client;
    }
    let hop = hops.into_iter().nth(found.map_or(0, |(_, hop)| hop));
    let hop = hop.unwrap_or_default();
    forwarded.is_https = hop
        .proto
        .and_then(|proto| match proto.to_ascii_lowercase().as_str() {
            "https" => Some(true),
            "http" => Some(false),
            _ => None,
        });
    forwarded.host = hop.host.and_then(|host| {
        let authority: Authority = host.parse().ok()?;
        let is_plain = !authority.as_str().contains('@');
        is_plain.then(|| HeaderValue::from_str(authority.as_str()).ok())?
    });
    forwarded
}

/// The client, and the place of the proxy that names it, the nearest one first.
fn client(hops: &[Hop], proxies: &[Network]) -> Option<(Peer, usize)> {
    for (place, hop) in hops.iter().enumerate() {
        let peer = Peer::of(hop.client?, proxies);
        if !peer.is_proxy() {
            return Some((peer, place));
        }
    }
    None
}

/// The hops of `X-Forwarded-*`, the nearest one first. Where there are fewer protocols or hosts than addresses, a proxy has replaced what
/// was there by what the client sent, so the farthest one holds for all before it.
fn x_forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let list = |name: HeaderName| -> Vec<String> {
        let values = headers.get_all(name).iter().collect::<Vec<_>>();
        let values = values.into_iter().rev();
        let values = values.flat_map(|value| value.to_str().unwrap_or("").rsplit(','));
        values.map(|value| value.trim().to_owned()).collect()
    };
    let (clients, protos, hosts) = (list(FOR), list(PROTO), list(HOST));
    let at = |list: &[String], place: usize| list.get(place).or(list.last()).cloned();
    let longest = clients.len().max(1);
    (0..longest)
        .map(|place| Hop {
            client: clients.get(place).and_then(|client| address(client)),
            proto: at(&protos, place),
            host: at(&hosts, place),
        })
        .collect()
}

/// Whether every quote in `Forwarded` has its second one, in the same line.
fn is_closed(headers: &HeaderMap) -> bool {
    let quotes = |value: &HeaderValue| value.as_bytes().iter().filter(|byte| **byte == b'"').count();
    let mut values = headers.get_all(header::FORWARDED).iter();
    values.all(|value| quotes(value).is_multiple_of(2))
}

/// The hops of `Forwarded`, the nearest one first.
fn standard(headers: &HeaderMap) -> Vec<Hop> {
    let values = headers.get_all(header::FORWARDED).iter();
    let mut hops: Vec<Hop> = values
        .flat_map(|value| unquoted(value.to_str().unwrap_or(""), ','))
        .map(hop)
        .collect();
    hops.reverse();
    hops
}

fn hop(element: &str) -> Hop {
    let mut hop = Hop::default();
    for pair in unquoted(element, ';') {
        let Some((name, value)) = pair.split_once('=') else {
            continue;
        };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "for" => hop.client = address(value),
            "proto" => hop.proto = Some(value.to_owned()),
            "host" => hop.host = Some(value.to_owned()),
            _ => {}
        }
    }
    hop
}

/// The parts of a text between separators that are not in quotes.
fn unquoted(text: &str, separator: char) -> Vec<&str> {
    let mut is_quoted = false;
    text.split(move |c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    })
    .collect()
}

/// An address, with or without a port; IPv6 also in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    let with_port = || text.trim().parse::<SocketAddr>().ok();
    bare.parse()
        .ok()
        .or_else(|| with_port().map(|address| address.ip()))
}

/// The prefix without a slash at its end, if it is a plain path.
fn prefix(headers: &HeaderMap) -> Option<String> {
    let prefix = headers.get(PREFIX)?.to_str().ok()?.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._~-%".contains(c);
    let is_path = prefix.starts_with('/') && !prefix.starts_with("//") && prefix.chars().all(plain);
    (is_path && prefix.len() <= 256).then(|| prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Vec<Network> {
        vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]
    }

    fn peer(address: &str) -> Peer {
        Peer::of(address.parse().unwrap(), &proxies())
    }

    /// What is believed of a request that came through this address.
    fn read(through: &str, lines: &[(&'static str, &str)]) -> Forwarded {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        believed(peer(through), &headers, &proxies())
    }

    #[test]
    fn only_a_trusted_proxy_says_for_whom_it_asks() {
        let client = peer("192.0.2.7");
        let behind = |through: &str, values: &[&str]| {
            let lines: Vec<_> = values.iter().map(|value| ("x-forwarded-for", *value)).collect();
            read(through, &lines).client
        };
        assert_eq!(behind("10.0.0.1", &["192.0.2.7"]), client);
        assert_eq!(behind("10.0.0.1", &["192.0.2.7:4711"]), client);
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

    #[test]
    fn the_standard_header_says_the_same() {
        let of = |value: &str| read("10.0.0.1", &[("forwarded", value)]);
        assert_eq!(of("for=192.0.2.7").client, peer("192.0.2.7"));
        let one = of("For=\"192.0.2.7:80\";proto=HTTPS;host=\"models.example.org:8443\";by=10.0.0.1");
        assert_eq!((one.client, one.is_https), (peer("192.0.2.7"), Some(true)));
        assert_eq!(one.host.unwrap(), "models.example.org:8443");
        // The one that names the client says how it came, not the ones that are nearer.
        let chain = of(
            "for=1.1.1.1;proto=http, for=\"[2001:db8::1]:4711\";proto=https;host=a.test, for=10.2.2.2;proto=http;host=b.test",
        );
        assert_eq!((chain.client, chain.is_https), (peer("2001:db8::1"), Some(true)));
        assert_eq!(chain.host.unwrap(), "a.test");
        assert_eq!(of("for=\"a,b;c\", for=192.0.2.7").client, peer("192.0.2.7"));
        for nobody in [
            "for=unknown",
            "for=_hidden",
            "proto=https",
            "",
            "for=1.1.1.1, for=_x",
        ] {
            assert!(of(nobody).client.is_proxy(), "{nobody}");
        }
        let ignored = read(
            "192.0.2.7",
            &[("forwarded", "for=1.1.1.1;proto=https;host=a.test")],
        );
        assert_eq!(ignored.client, peer("192.0.2.7"));
        assert_eq!((ignored.is_https, ignored.host), (None, None));
    }

    #[test]
    fn protocol_host_and_prefix_are_the_proxys() {
        let lines = [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "models.example.org"),
            ("x-forwarded-prefix", "/tools/"),
        ];
        let said = read("10.0.0.1", &lines);
        assert_eq!(
            (said.is_https, said.prefix.as_deref()),
            (Some(true), Some("/tools"))
        );
        assert_eq!(said.host.unwrap(), "models.example.org");
        let ignored = read("192.0.2.7", &lines);
        assert_eq!(
            (ignored.is_https, ignored.host, ignored.prefix),
            (None, None, None)
        );
        // Of a list, the value of the proxy that names the client; what the client made up comes before it.
        let chain = read(
            "10.0.0.1",
            &[
                ("x-forwarded-for", "1.1.1.1, 192.0.2.7, 10.2.2.2"),
                ("x-forwarded-proto", "ftp, https, http"),
            ],
        );
        assert_eq!((chain.client, chain.is_https), (peer("192.0.2.7"), Some(true)));
        for host in ["a b", "user@a.test", ""] {
            assert_eq!(
                read("10.0.0.1", &[("x-forwarded-host", host)]).host,
                None,
                "{host}"
            );
        }
    }

    #[test]
    fn two_headers_that_contradict_each_other_are_not_believed() {
        let lines = [
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.1.1.1;host=evil.test"),
        ];
        let said = read("10.0.0.1", &lines);
        assert!(!said.client.is_proxy(), "it would be held to no share");
        assert_eq!(said.client.whole_address().to_string(), "10.0.0.1");
        assert_eq!((said.is_https, said.host), (None, None));
        let agreeing = [
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=192.0.2.7"),
        ];
        let said = read("10.0.0.1", &agreeing);
        assert_eq!((said.client, said.is_https), (peer("192.0.2.7"), Some(true)));
    }

    #[test]
    fn a_client_cannot_put_quotes_around_what_a_proxy_adds() {
        for line in [
            "for=1.1.1.1;x=\", for=192.0.2.7",
            "for=1.1.1.1;x=\", for=\"192.0.2.7:80\"",
            "for=\"",
        ] {
            let said = read("10.0.0.1", &[("forwarded", line), ("x-forwarded-proto", "https")]);
            assert!(!said.client.is_proxy(), "it would be held to no share: {line}");
            assert_eq!(said.client.whole_address().to_string(), "10.0.0.1", "{line}");
            assert_eq!((said.is_https, said.host), (None, None), "{line}");
        }
        let escaped = read(
            "10.0.0.1",
            &[("forwarded", "for=1.1.1.1;x=\"\\\", for=192.0.2.7")],
        );
        assert_eq!(escaped.client, peer("192.0.2.7"));
    }

    #[test]
    fn a_prefix_is_a_path_on_this_host() {
        let of = |value: &str| read("10.0.0.1", &[("x-forwarded-prefix", value)]).prefix;
        assert_eq!(of("/tools").as_deref(), Some("/tools"));
        assert_eq!(of("/tools/finetuned/").as_deref(), Some("/tools/finetuned"));
        for wrong in [
            "",
            "/",
            "tools",
            "//evil.test",
            "/a b",
            "/a\"b",
            "https://evil.test",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(read("10.0.0.1", &[]).prefix, None);
    }
}
