//! The bytes of a pickle, consumed piece by piece; reading beyond the end is a fault.

use super::fault::{Outcome, PickleFault};

/// The remaining bytes.
pub struct Input<'a> {
    pub rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn take(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return malformed("is truncated");
        };
        self.rest = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub fn byte(&mut self) -> Outcome<u8> {
        self.array().map(|[byte]| byte)
    }

    /// A text up to the end of its line, which is consumed too.
    pub fn line(&mut self) -> Outcome<&'a str> {
        let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') else {
            return malformed("is truncated");
        };
        let line = str::from_utf8(self.take(end)?).or_else(|_| malformed("contains an invalid name"))?;
        self.take(1)?;
        Ok(line)
    }

    /// An integer with its own length in bytes, two's complement, little-endian. None: it does not fit into 64 bits.
    pub fn long(&mut self) -> Outcome<Option<i64>> {
        let length = self.byte()?.into();
        let bytes = self.take(length)?;
        let negative = bytes.last().is_some_and(|highest| highest & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        let Some(low) = wide.get_mut(..length) else {
            return Ok(None);
        };
        low.copy_from_slice(bytes);
        Ok(Some(i64::from_le_bytes(wide)))
    }
}

pub fn malformed<T>(how: impl Into<String>) -> Outcome<T> {
    Err(PickleFault::Malformed(how.into()))
}
