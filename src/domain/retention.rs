//! How long what ended jobs leave is kept: the rules, without any row or file.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use super::time::Timestamp;

const UNITS: [(char, u64); 5] = [
    ('w', 7 * 24 * 3600),
    ('d', 24 * 3600),
    ('h', 3600),
    ('m', 60),
    ('s', 1),
];
/// A thousand years: longer is a mistake, or `forever`.
const LONGEST: u64 = 1000 * 366 * 24 * 3600;

/// A time since something ended, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    Forever,
    Seconds(u64),
}

/// How long each kind is kept after the end of its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Keep {
    /// Jobs with their events, logs and results; those whose model is there stay.
    pub runs: Age,
    /// Events that tell of single steps.
    pub events: Age,
    /// Checkpoints.
    pub checkpoints: Age,
    /// Messages to webhooks, from the day on which they were delivered or given up.
    pub deliveries: Age,
}

impl Keep {
    /// Of what there was before these settings, nothing goes that did not go then.
    pub const DEFAULT: Keep = Keep {
        runs: Age::Forever,
        events: Age::Forever,
        checkpoints: Age::Seconds(0),
        deliveries: Age::Seconds(30 * 24 * 3600),
    };
}

impl Age {
    /// What ended before this point in time is to go; none: nothing is.
    pub fn before(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Forever => None,
            Self::Seconds(seconds) => {
                let milliseconds = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000);
                Some(Timestamp(now.0.saturating_sub(milliseconds)))
            }
        }
    }
}

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refusal = || format!("`{text}` is not `forever`, nor a time such as 90d, 12h, 30m, 45s or 2w");
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let unit = text.chars().last().ok_or_else(refusal)?;
        let (_, seconds) = UNITS
            .iter()
            .find(|(known, _)| *known == unit)
            .ok_or_else(refusal)?;
        let digits = &text[..text.len() - unit.len_utf8()];
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refusal());
        }
        let total = digits
            .parse()
            .ok()
            .and_then(|count: u64| count.checked_mul(*seconds));
        match total {
            Some(total) if total <= LONGEST => Ok(Self::Seconds(total)),
            _ => Err(format!(
                "`{text}` is longer than a thousand years: write `forever`"
            )),
        }
    }
}

/// As it is read: in the largest unit that leaves no rest.
impl fmt::Display for Age {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Forever => out.write_str("forever"),
            Self::Seconds(0) => out.write_str("0s"),
            Self::Seconds(total) => {
                let fits = UNITS.iter().find(|(_, seconds)| total.is_multiple_of(*seconds));
                let (unit, seconds) = fits.copied().unwrap_or(('s', 1));
                write!(out, "{}{unit}", total / seconds)
            }
        }
    }
}

impl Serialize for Age {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_and_written_and_what_is_none_is_refused() {
        for (text, seconds, shown) in [
            ("0s", 0, "0s"),
            ("45s", 45, "45s"),
            ("90m", 5400, "90m"),
            ("24h", 86_400, "1d"),
            ("30d", 30 * 86_400, "30d"),
            ("2w", 14 * 86_400, "2w"),
        ] {
            let age: Age = text.parse().unwrap();
            assert_eq!((age, age.to_string().as_str()), (Age::Seconds(seconds), shown));
        }
        assert_eq!("forever".parse(), Ok(Age::Forever));
        for text in ["", "30", "d", "-1d", "+1d", "1.5d", "1y", "tage", "1 d", "30dä"] {
            let refusal = text.parse::<Age>().unwrap_err();
            assert!(refusal.contains("such as 90d"), "{text}: {refusal}");
        }
        for text in ["99999999d", "99999999999999999999999d"] {
            assert!(text.parse::<Age>().unwrap_err().contains("forever"));
        }
        let now = Timestamp(10_000);
        assert_eq!(Age::Seconds(4).before(now), Some(Timestamp(6_000)));
        assert_eq!(Age::Forever.before(now), None);
    }
}
