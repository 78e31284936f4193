//! Integers in query strings, with the same limits as in the API description.

use serde::{Deserialize, Deserializer, de::Error as _};

/// Prefix of the message for a number out of range, and of no other message.
pub const OUT_OF_BOUNDS: &str = "must be from ";

/// An unsigned 32-bit integer, as in schemas.
pub type Natural = Whole<0, { u32::MAX as i64 }>;

/// An integer from `LOW` to `HIGH`. A number out of range is refused with 422, however large it is, and never clamped; anything that is not
/// a number gets 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<const LOW: i64, const HIGH: i64>(i64);

impl<const LOW: i64, const HIGH: i64> Whole<LOW, HIGH> {
    pub fn of(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("is not a whole number".to_owned());
        }
        let number = text.parse().ok().filter(|number| (LOW..=HIGH).contains(number));
        number
            .map(Self)
            .ok_or_else(|| format!("{OUT_OF_BOUNDS}{LOW} to {HIGH}"))
    }

    /// The number, in a type that its range fits into.
    pub fn get<T: TryFrom<i64>>(self) -> T {
        T::try_from(self.0).unwrap_or_else(|_| unreachable!("{} to {} fits", LOW, HIGH))
    }
}

impl<'de, const LOW: i64, const HIGH: i64> Deserialize<'de> for Whole<LOW, HIGH> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_within_its_bounds_or_refused() {
        type Limit = Whole<1, 100>;
        for (text, number) in [("1", 1), ("100", 100), ("007", 7)] {
            assert_eq!(Limit::of(text).map(Limit::get), Ok(number));
        }
        for beyond in [
            "0",
            "101",
            "-1",
            "99999999999999999999999999",
            "-99999999999999999999999999",
        ] {
            assert_eq!(
                Limit::of(beyond),
                Err("must be from 1 to 100".to_owned()),
                "{beyond}"
            );
        }
        for text in ["", "-", "lots", "1.0", "1e2", " 1", "0x1", "--1"] {
            assert_eq!(
                Limit::of(text),
                Err("is not a whole number".to_owned()),
                "{text:?}"
            );
        }
    }
}
