//! Any lines as headers of a request: those of tus, digests, conditions, ranges, keys and cookies, and what proxies say of a client. What is
//! taken is what the header says and within its limits, what our own description allows is taken, and nobody can speak for a proxy.

#![no_main]

use std::{net::IpAddr, sync::LazyLock};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use finetuned_fuzz::{
    config::network::Network,
    domain::{access::Secret, tag::Tag, trace::TraceParent},
    files::{
        checksum::{Checksum, digest_field, parse_digest_field},
        digest,
    },
    http::{
        access::presented::{bearer, cookies},
        connections::Peer,
        predictions::oip::wire,
        repeats::told,
        requests::{
            conditions::{self, expected_versions, is_known, seen},
            forwarded::{Forwarded, believed},
            trace,
        },
        responses::range::Asked,
        uploads::{
            digests::{announced_digest, checksum},
            tus::{self, Metadata},
        },
    },
};
use libfuzzer_sys::fuzz_target;
use regex::Regex;

const PROXY: &str = "10.0.0.1";
/// Who really asked: a proxy has added it at the end.
const CLIENT: &str = "198.51.100.7";

fuzz_target!(|text: &[u8]| {
    let headers = headers(text);
    uploads(&headers);
    digests(&headers, text);
    versions(&headers);
    ranges(&headers);
    presented(&headers);
    proxies(&headers);
});

/// A header for each line, `name: value`.
fn headers(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n').take(50) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

fn uploads(headers: &HeaderMap) {
    for name in [tus::OFFSET, tus::LENGTH, header::CONTENT_LENGTH] {
        if let Ok(Some(number)) = tus::number(headers, &name) {
            let text = headers[&name].to_str().expect("it was read").trim();
            let digits = text.trim_start_matches('0');
            let expected = if number == 0 {
                String::new()
            } else {
                number.to_string()
            };
            assert_eq!(digits, expected);
        }
    }
    if let Ok(bytes) = tus::announced_bytes(headers) {
        assert!(!headers.contains_key(tus::DEFER_LENGTH));
        assert_eq!(tus::number(headers, &tus::LENGTH).ok().flatten(), Some(bytes));
    }
    let is_spoken = tus::check_version(headers).is_ok();
    assert!(!is_spoken || headers.contains_key(tus::RESUMABLE));
    tus::brings_bytes(headers);
    if let Ok(metadata) = Metadata::of(headers) {
        assert!(metadata.raw.len() <= 4096);
        assert!(
            ["name", "filename", "sha256", "options", ""]
                .iter()
                .all(|key| metadata.get(key) != Some(""))
        );
        // It is stored, and sent back as it came.
        let raw = HeaderValue::from_str(&metadata.raw).expect("it came in a header");
        if !metadata.raw.is_empty() {
            let again = Metadata::of(&HeaderMap::from_iter([(tus::METADATA, raw)]));
            assert_eq!(again.expect("it was read"), metadata);
        }
    }
    if let Ok(Some(length)) = wire::json_length(headers) {
        let text = headers[wire::JSON_LENGTH].to_str().expect("it was read");
        assert_eq!(text.parse(), Ok(length));
    }
}

fn digests(headers: &HeaderMap, text: &[u8]) {
    let mut lines = text.split(|byte| *byte == b'\n');
    let named = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    for named in [None, named] {
        let Ok(Some(found)) = announced_digest(headers, named) else {
            continue;
        };
        assert!(digest::is_digest(&found), "{found}");
        let bytes = parse_digest_field(&digest_field(&found)).expect("it was written so");
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, found);
        assert!(named.is_none_or(|named| named.eq_ignore_ascii_case(&found)));
    }
    if let Ok(Some(checksum)) = checksum(headers) {
        checksum.holds();
    }
    // Whatever comes has the checksum that it has, in both forms.
    let of_text = digest::of_bytes(text);
    let hash = parse_digest_field(&digest_field(&of_text)).expect("it was written so");
    let tus = Checksum::parse_tus(&format!("sha256 {}", STANDARD.encode(hash)));
    for mut checksum in [tus.expect("it was written so"), Checksum::sha256(hash)] {
        text.chunks(7).for_each(|chunk| checksum.update(chunk));
        let mut other = checksum.clone();
        other.update(b"more");
        assert!(checksum.holds() && !other.holds());
    }
}

static IF_MATCH: LazyLock<Regex> = LazyLock::new(|| Regex::new(conditions::PATTERN).expect("it is one"));
static KEY: LazyLock<Regex> = LazyLock::new(|| Regex::new(told::PATTERN).expect("it is one"));

fn versions(headers: &HeaderMap) {
    let newest = 7;
    let expected = expected_versions(headers, newest);
    if let Ok(Some(versions)) = &expected {
        assert!(headers.contains_key(header::IF_MATCH));
        assert!(versions.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(versions.iter().all(|version| (1..=newest).contains(version)));
    }
    let values: Vec<_> = headers.get_all(header::IF_MATCH).iter().collect();
    if let [value] = values.as_slice()
        && value.to_str().is_ok_and(|text| IF_MATCH.is_match(text))
    {
        assert!(expected.is_ok(), "{value:?}");
    }
    // Whoever lists what is shown may change it, whatever else the list has.
    let (shown, stored) = ("shown", "stored");
    let tag = Tag::of(&shown).to_string();
    let mut more = headers.clone();
    more.append(header::IF_MATCH, tag.parse().expect("a tag is a header"));
    match (&expected, seen(&more, &shown, &stored)) {
        (Ok(None), Ok(_)) | (Err(_), Err(_)) => {}
        (Ok(Some(_)), Ok(held)) => assert_eq!(held, Some(Tag::of(&stored))),
        (before, after) => panic!("{before:?}, and with the tag {after:?}"),
    }
    is_known(headers, &tag);
    let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag.parse().expect("a tag is a header"))]);
    assert!(is_known(&known, &tag));
    let keys: Vec<_> = headers.get_all(told::NAME).iter().collect();
    match told::key(headers) {
        Ok(None) => assert!(keys.is_empty()),
        Ok(Some(key)) => {
            assert_eq!(keys.len(), 1);
            assert!(KEY.is_match(key) && KEY.is_match(keys[0].to_str().expect("it was read")));
        }
        Err(_) => assert!(keys.len() > 1 || !keys[0].to_str().is_ok_and(|text| KEY.is_match(text))),
    }
}

fn ranges(headers: &HeaderMap) {
    let tag = "\"a\"";
    for bytes in [0, 1, 100, u64::MAX] {
        let asked = Asked::of(headers, tag, bytes);
        assert!(headers.contains_key(header::RANGE) || asked == Asked::Whole);
        if let Asked::Part(part) = asked {
            assert!(part.start < part.end && part.end <= bytes);
            let range = format!("bytes={}-{}", part.start, part.end - 1);
            let same = HeaderMap::from_iter([(header::RANGE, range.parse().expect("digits are a header"))]);
            assert_eq!(Asked::of(&same, tag, bytes), Asked::Part(part));
        }
    }
}

fn presented(headers: &HeaderMap) {
    if let Ok(Some(token)) = bearer(headers) {
        assert!(!token.starts_with(' ') && headers.get_all(header::AUTHORIZATION).iter().count() == 1);
        assert!(Secret::parse(token).is_err(), "nobody guesses a key");
    }
    for value in cookies(headers, "session") {
        assert!(!value.contains(';'));
    }
    if let Some(parent) = trace::parent(headers) {
        assert_eq!(parent.as_str().parse::<TraceParent>().as_ref(), Ok(&parent));
        assert_eq!(parent.trace_id().len(), 32);
    }
}

fn proxies(headers: &HeaderMap) {
    let networks: [Network; 2] =
        ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect("it is a network"));
    let peer = |text: &str| Peer::of(text.parse::<IpAddr>().expect("it is an address"), &networks);
    let (proxy, client) = (peer(PROXY), peer(CLIENT));
    let stranger = believed(client, headers, &networks);
    assert_eq!(stranger.client, client);
    assert!(stranger.is_https.is_none() && stranger.host.is_none() && stranger.prefix.is_none());
    let said = believed(proxy, headers, &networks);
    sensible(&said);
    for (name, text) in [("x-forwarded-for", CLIENT), ("forwarded", "for=198.51.100.7")] {
        let name = HeaderName::from_static(name);
        // A proxy adds a line of its own, or adds to the last one.
        let mut added = headers.clone();
        added.append(&name, HeaderValue::from_static(text));
        let found = believed(proxy, &added, &networks).client;
        assert!(
            found == client || found.whole_address() == proxy.whole_address(),
            "{found:?}"
        );
        let mut longer = headers.clone();
        let values: Vec<_> = headers.get_all(&name).iter().cloned().collect();
        longer.remove(&name);
        let Some((last, before)) = values.split_last() else {
            continue;
        };
        for value in before {
            longer.append(&name, value.clone());
        }
        let joined = [last.as_bytes(), b", ", text.as_bytes()].concat();
        longer.append(&name, HeaderValue::from_bytes(&joined).expect("both are values"));
        let found = believed(proxy, &longer, &networks).client;
        assert!(
            found == client || found.whole_address() == proxy.whole_address(),
            "{found:?}"
        );
    }
}

fn sensible(said: &Forwarded) {
    if let Some(prefix) = &said.prefix {
        assert!(prefix.starts_with('/') && !prefix.starts_with("//") && prefix.len() <= 256);
        assert!(HeaderValue::from_str(prefix).is_ok());
    }
    if let Some(host) = &said.host {
        assert!(!host.is_empty() && !host.as_bytes().contains(&b'@') && !host.as_bytes().contains(&b'/'));
    }
}
