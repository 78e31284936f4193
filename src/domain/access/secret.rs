//! The text that proves who holds a key: `ft_`, 256 random bits and a checksum of them, in hexadecimal.
//!
//! It is shown once, to whoever makes the key, and never kept: the database has its SHA-256. A checksum tells a key that was mistyped or cut
//! short from one that is not known. Nothing here prints it: `Debug` hides it, and it has no `Display` and no JSON form.

use std::{borrow::Cow, fmt};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What the key of a caller is known by.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// SHA-256 of a key's text.
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

/// A text that is no key, by its form or by its checksum. It is not repeated, because most of it may be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    #[error("a key is `ft_` and {} hexadecimal digits", Secret::DIGITS)]
    Form,
    #[error("the key has a mistake: its checksum does not fit")]
    Checksum,
}

impl Secret {
    pub const PREFIX: &'static str = "ft_";
    /// Hexadecimal digits after the prefix: 64 of random bits and 8 of their CRC-32.
    pub const DIGITS: usize = 72;
    /// So many digits after the prefix are taken for a part of a key.
    const TELLING: usize = 12;

    /// A new one, from the system's source of random numbers.
    ///
    /// # Errors
    /// The system has none to give.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        Ok(Self::of(random))
    }

    fn of(random: [u8; 32]) -> Self {
        let digits = hexadecimal(&random);
        let checksum = hexadecimal(&crc_32(digits.as_bytes()).to_be_bytes());
        Self(format!("{}{digits}{checksum}", Self::PREFIX))
    }

    /// Reads a key as its owner sends it.
    ///
    /// # Errors
    /// The text is none.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let digits = text.strip_prefix(Self::PREFIX).ok_or(InvalidSecret::Form)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != Self::DIGITS || !digits.bytes().all(is_digit) {
            return Err(InvalidSecret::Form);
        }
        let (random, checksum) = digits.split_at(64);
        match u32::from_str_radix(checksum, 16) == Ok(crc_32(random.as_bytes())) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidSecret::Checksum),
        }
    }

    /// The text, to be sent or to be shown to its owner. It is never logged.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// A text in which somebody may have put a key, where it does not belong, without it: what looks like one becomes `ft_…`.
    pub fn hidden_in(text: &str) -> Cow<'_, str> {
        if !text.contains(Self::PREFIX) {
            return Cow::Borrowed(text);
        }
        let mut parts = text.split(Self::PREFIX);
        let mut shown = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
            shown.push_str(Self::PREFIX);
            match digits >= Self::TELLING {
                true => {
                    shown.push('…');
                    shown.push_str(&part[digits..]);
                }
                false => shown.push_str(part),
            }
        }
        Cow::Owned(shown)
    }

    pub fn digest(&self) -> SecretDigest {
        SecretDigest(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl SecretDigest {
    /// As it is stored: 64 hexadecimal digits.
    pub fn to_hexadecimal(self) -> String {
        hexadecimal(&self.0)
    }

    /// Reads what was stored.
    pub fn from_hexadecimal(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Where a table of digests has this one. How long it takes to look there tells only of a digest, of which nobody finds the key.
    pub fn slot(&self) -> u64 {
        let [first, ..] = self.0.as_chunks::<8>().0 else {
            return 0;
        };
        u64::from_be_bytes(*first)
    }

    /// Whether both are the same, in a time that does not depend on where they differ.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ft_…")
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SHA-256 of a key")
    }
}

/// That of IEEE 802.3. It notices every mistake within 32 neighbouring bits: a wrong digit, two that changed places.
fn crc_32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_reads_back_and_is_another_one_each_time() {
        let (one, other) = (Secret::draw().unwrap(), Secret::draw().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.reveal().len(), 75);
        assert_eq!(Secret::parse(one.reveal()), Ok(one.clone()));
        assert!(one.digest().is(&one.digest()) && !one.digest().is(&other.digest()));
    }

    #[test]
    fn its_digest_is_the_sha_256_of_its_text_and_reads_back() {
        let key = Secret::of([7; 32]);
        let digest = key.digest().to_hexadecimal();
        assert_eq!(digest, crate::files::digest::of_bytes(key.reveal().as_bytes()));
        let read = SecretDigest::from_hexadecimal(&digest).unwrap();
        assert!(read.is(&key.digest()));
        assert_eq!(read.slot(), u64::from_str_radix(&digest[..16], 16).unwrap());
        for wrong in ["", &digest[1..], &"g".repeat(64), &"é".repeat(32)] {
            assert!(SecretDigest::from_hexadecimal(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_key_is_told_from_one_with_a_mistake() {
        let key = Secret::of([0xa5; 32]).reveal().to_owned();
        for wrong in [
            "",
            "ft_",
            &key[3..],
            &key[..74],
            &format!("{key}0"),
            &key.to_uppercase(),
            &key.replacen("a5", "g5", 1),
            &format!("{}é", &key[..73]),
            "Bearer",
        ] {
            assert_eq!(Secret::parse(wrong), Err(InvalidSecret::Form), "{wrong}");
        }
        let swapped = key.replacen("a5", "5a", 1);
        assert_eq!(Secret::parse(&swapped), Err(InvalidSecret::Checksum));
    }

    #[test]
    fn neither_it_nor_its_errors_show_it() {
        let key = Secret::of([3; 32]);
        for shown in [format!("{key:?}"), format!("{:?}", key.digest())] {
            assert!(!shown.contains("03030303"), "{shown}");
        }
    }

    #[test]
    fn a_key_within_a_text_is_hidden() {
        let key = Secret::of([0xab; 32]);
        for (text, shown) in [
            (format!("/v1/keys/{}", key.reveal()), "/v1/keys/ft_…"),
            (
                format!("a {} b {} c", key.reveal(), &key.reveal()[..30]),
                "a ft_… b ft_… c",
            ),
            ("/v1/models/ft_resnet".to_owned(), "/v1/models/ft_resnet"),
            ("ft_ft_abc".to_owned(), "ft_ft_abc"),
            (String::new(), ""),
        ] {
            assert_eq!(Secret::hidden_in(&text), shown);
        }
    }

    proptest! {
        #[test]
        fn every_wrong_digit_is_noticed(random in any::<[u8; 32]>(), place in 0..Secret::DIGITS, digit in 0usize..16) {
            let key = Secret::of(random).reveal().to_owned();
            let mut bytes = key.clone().into_bytes();
            bytes[Secret::PREFIX.len() + place] = b"0123456789abcdef"[digit];
            let text = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(Secret::parse(&text).is_ok(), text == key);
        }

        #[test]
        fn no_text_panics(text in ".{0,90}") {
            let _ = Secret::parse(&text);
            let _ = Secret::hidden_in(&format!("ft_{text}"));
        }
    }
}
