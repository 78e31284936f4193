//! The part of a file that a request asks for (RFC 9110, 14): one byte range, or the whole file. Several ranges, and anything else that is
//! not understood, get the whole file.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderValue, header};

/// The requested part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Whole,
    /// Never empty, always within the file.
    Part(Range<u64>),
    /// The range starts after the end.
    Beyond,
}

impl Asked {
    /// `tag` is the file's strong ETag.
    pub fn of(headers: &HeaderMap, tag: &str, bytes: u64) -> Self {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let Some(range) = text(header::RANGE) else {
            return Asked::Whole;
        };
        // A date would be a weak validator, and these files have none.
        if headers.contains_key(header::IF_RANGE) && text(header::IF_RANGE) != Some(tag) {
            return Asked::Whole;
        }
        parse(range, bytes).unwrap_or(Asked::Whole)
    }
}

/// `None` if it is not a single byte range.
fn parse(range: &str, bytes: u64) -> Option<Asked> {
    let (first, last) = range.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number = |digits: &str| -> Option<u64> {
        let only_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // A number of more than 64 bits is always after the end.
        only_digits.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    let (first, last) = (first.trim(), last.trim());
    let part = if first.is_empty() {
        let count = number(last)?;
        bytes.saturating_sub(count)..bytes
    } else {
        let first = number(first)?;
        let last = if last.is_empty() { u64::MAX } else { number(last)? };
        if last < first {
            return None;
        }
        first..last.saturating_add(1).min(bytes)
    };
    Some(if part.is_empty() {
        Asked::Beyond
    } else {
        Asked::Part(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range: &'static str, condition: Option<&'static str>) -> Asked {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static(range));
        if let Some(condition) = condition {
            headers.insert(header::IF_RANGE, HeaderValue::from_static(condition));
        }
        Asked::of(&headers, "\"a\"", 100)
    }

    #[test]
    fn one_range_of_bytes_is_a_part() {
        for (range, part) in [
            ("bytes=0-9", 0..10),
            ("bytes=90-", 90..100),
            ("bytes=99-99", 99..100),
            ("bytes=-30", 70..100),
            ("bytes=-300", 0..100),
            ("bytes=5-99999999999999999999999", 5..100),
        ] {
            assert_eq!(asked(range, None), Asked::Part(part), "{range}");
        }
        for range in ["bytes=100-", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(asked(range, None), Asked::Beyond, "{range}");
        }
        for range in [
            "bytes=9-0",
            "bytes=0-1,4-5",
            "lines=0-1",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=+1-2",
        ] {
            assert_eq!(asked(range, None), Asked::Whole, "{range}");
        }
        assert_eq!(Asked::of(&HeaderMap::new(), "\"a\"", 100), Asked::Whole);
        assert!(!matches!(asked("bytes=0-", None), Asked::Part(part) if part.is_empty()));
    }

    #[test]
    fn a_part_of_another_file_is_not_sent() {
        assert_eq!(asked("bytes=0-9", Some("\"a\"")), Asked::Part(0..10));
        for other in ["\"b\"", "W/\"a\"", "Tue, 24 Nov 2026 12:00:00 GMT", ""] {
            assert_eq!(asked("bytes=0-9", Some(other)), Asked::Whole, "{other}");
        }
    }
}
