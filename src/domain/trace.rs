//! The trace that a request belongs to (W3C Trace Context, level 1): what a caller's own tracing needs to find what became of it.

use std::{fmt, str::FromStr};

/// A valid `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(String);

impl TraceParent {
    /// Of the whole trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }

    /// Of the caller's own part of it: 16 hexadecimal digits.
    pub fn parent_id(&self) -> &str {
        &self.0[36..52]
    }

    /// The lowest bit says that the caller records it.
    pub fn flags(&self) -> u8 {
        u8::from_str_radix(&self.0[53..55], 16).unwrap_or(0)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TraceParent {
    type Err = ();

    /// As the standard says, what is not valid counts as if it was not there. Later versions may have more after the flags.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(5, '-');
        let mut next = |length: usize| -> Result<&str, ()> {
            let part = parts.next().ok_or(())?;
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            match part.len() == length && part.bytes().all(is_hex) {
                true => Ok(part),
                false => Err(()),
            }
        };
        let (version, trace, parent, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let is_zero = |digits: &str| digits.bytes().all(|digit| digit == b'0');
        if version == "ff" || is_zero(trace) || is_zero(parent) || (version == "00" && parts.next().is_some())
        {
            return Err(());
        }
        Ok(Self(format!("00-{trace}-{parent}-{flags}")))
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_standard_calls_valid_is_taken() {
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parsed: TraceParent = valid.parse().unwrap();
        assert_eq!(
            (parsed.as_str(), parsed.trace_id()),
            (valid, "0af7651916cd43dd8448eb211c80319c")
        );
        assert_eq!((parsed.parent_id(), parsed.flags()), ("b7ad6b7169203331", 1));
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes";
        assert_eq!(later.parse::<TraceParent>().unwrap(), parsed);
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319ä-b7ad6b7169203331-01",
        ] {
            assert!(wrong.parse::<TraceParent>().is_err(), "{wrong}");
        }
    }
}
