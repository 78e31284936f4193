//! Hashes that callers send along with bytes, in the words of tus (`Upload-Checksum`) and of RFC 9530 (`Repr-Digest`,
//! `Content-Digest`), and their verification while the bytes come.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A hash that some bytes must have, and their running hash.
#[derive(Clone, Debug)]
pub struct Checksum {
    running: Running,
    expected: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Running {
    Sha1(Sha1),
    Sha256(Sha256),
}

/// Why a header is no checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChecksum {
    #[error("the checksum must be an algorithm, a space, and the hash in base64")]
    Malformed,
    #[error("the supported checksum algorithms are sha1 and sha256")]
    Algorithm,
    #[error("the digest must have the form `sha-256=:<base64 of 32 bytes>:`")]
    Digest,
    #[error("the supported digest algorithm is sha-256")]
    DigestAlgorithm,
}

impl Checksum {
    /// Names of the algorithms, as tus lists them.
    pub const ALGORITHMS: &'static str = "sha1,sha256";

    pub fn sha256(expected: [u8; 32]) -> Self {
        Self {
            running: Running::Sha256(Sha256::new()),
            expected: expected.to_vec(),
        }
    }

    /// Reads `Upload-Checksum`: `sha1 Lve95gjOVATpfV8EL5X4nxwjKHE=`.
    pub fn parse_tus(header: &str) -> Result<Self, InvalidChecksum> {
        let (algorithm, hash) = header.split_once(' ').ok_or(InvalidChecksum::Malformed)?;
        let (running, length) = match algorithm {
            "sha1" => (Running::Sha1(Sha1::new()), 20),
            "sha256" => (Running::Sha256(Sha256::new()), 32),
            _ => return Err(InvalidChecksum::Algorithm),
        };
        let expected = STANDARD
            .decode(hash.trim())
            .map_err(|_| InvalidChecksum::Malformed)?;
        if expected.len() != length {
            return Err(InvalidChecksum::Malformed);
        }
        Ok(Self { running, expected })
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.running {
            Running::Sha1(hash) => hash.update(bytes),
            Running::Sha256(hash) => hash.update(bytes),
        }
    }

    /// Whether the bytes were the right ones.
    pub fn holds(self) -> bool {
        match self.running {
            Running::Sha1(hash) => hash.finalize()[..] == self.expected,
            Running::Sha256(hash) => hash.finalize()[..] == self.expected,
        }
    }
}

/// Reads the SHA-256 out of `Repr-Digest` or `Content-Digest`, a dictionary of structured fields: `sha-256=:<base64>:, sha-512=:…:`.
/// Other algorithms may stand beside it and are passed over; alone they would be a check that is not made.
pub fn parse_digest_field(header: &str) -> Result<[u8; 32], InvalidChecksum> {
    // The values are byte sequences, which hold no comma and no semicolon.
    for member in header.split(',') {
        let member = member.split(';').next().unwrap_or_default().trim();
        let Some(value) = member.strip_prefix("sha-256=") else {
            continue;
        };
        let hash = value
            .strip_prefix(':')
            .and_then(|value| value.strip_suffix(':'))
            .and_then(|value| STANDARD.decode(value).ok());
        return hash
            .and_then(|hash| hash.try_into().ok())
            .ok_or(InvalidChecksum::Digest);
    }
    Err(InvalidChecksum::DigestAlgorithm)
}

/// `Repr-Digest` or `Content-Digest` of a SHA-256 in hexadecimal.
pub fn digest_field(sha256: &str) -> String {
    let pairs = (0..sha256.len()).step_by(2);
    let bytes: Vec<u8> = pairs
        .filter_map(|at| u8::from_str_radix(sha256.get(at..at + 2)?, 16).ok())
        .collect();
    format!("sha-256=:{}:", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA1_OF_ABC: &str = "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=";
    const SHA256_OF_ABC: &str = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";

    #[test]
    fn a_checksum_holds_for_its_bytes_only() {
        for header in [SHA1_OF_ABC.to_owned(), format!("sha256 {SHA256_OF_ABC}")] {
            for (bytes, expected) in [(&b"abc"[..], true), (b"abd", false), (b"", false)] {
                let mut checksum = Checksum::parse_tus(&header).unwrap();
                bytes.chunks(2).for_each(|chunk| checksum.update(chunk));
                assert_eq!(checksum.holds(), expected, "{header} {bytes:?}");
            }
        }
        for (header, fault) in [
            ("md5 kAFQmDzST7DWlj99KOF/cg==", InvalidChecksum::Algorithm),
            ("sha1", InvalidChecksum::Malformed),
            ("sha1 !", InvalidChecksum::Malformed),
            ("sha256 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", InvalidChecksum::Malformed),
        ] {
            assert_eq!(Checksum::parse_tus(header).unwrap_err(), fault, "{header}");
        }
    }

    #[test]
    fn the_sha_256_is_found_among_other_digests() {
        let alone = format!("sha-256=:{SHA256_OF_ABC}:");
        let among = format!("sha-512=:YWJj: , sha-256=:{SHA256_OF_ABC}:;preferred=1");
        for header in [alone, among] {
            let mut checksum = Checksum::sha256(parse_digest_field(&header).unwrap());
            checksum.update(b"abc");
            assert!(checksum.holds(), "{header}");
        }
        let abc = crate::files::digest::of_bytes(b"abc");
        assert_eq!(digest_field(&abc), format!("sha-256=:{SHA256_OF_ABC}:"));
        for (header, fault) in [
            ("sha-256=:abc:", InvalidChecksum::Digest),
            ("sha-256=abc", InvalidChecksum::Digest),
            ("sha-512=:YWJj:", InvalidChecksum::DigestAlgorithm),
            ("", InvalidChecksum::DigestAlgorithm),
        ] {
            assert_eq!(parse_digest_field(header), Err(fault), "{header}");
        }
    }
}
