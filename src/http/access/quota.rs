//! Requests a second: what a key has left of them, told with every response (draft-ietf-httpapi-ratelimit-headers-11).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};

use super::rate::Passed;
use crate::{
    error::{Error, Kind},
    http::responses::problem::{RATE_LIMIT, RATE_LIMIT_POLICY},
};

/// What a request cost its key.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub per_second: u32,
    pub passed: Passed,
}

impl Spent {
    /// Why the request is refused, if it is.
    pub fn refusal(&self) -> Option<Error> {
        let Passed::Later(wait) = self.passed else {
            return None;
        };
        let detail = format!(
            "this key may make {} requests a second; the next one may come in {} ms",
            self.per_second,
            wait.as_millis().max(1)
        );
        Some(Error::new(Kind::TooMany, "quota-requests", detail).retry_after(wait))
    }

    /// Says it to whom it concerns. Both are structured fields (RFC 9651): items with parameters, `q` for how many in `w` seconds, `r` for
    /// how many are left, and `t` for the seconds until there are more.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let (left, more_after) = match self.passed {
            Passed::Yes { left } => (left, Duration::from_secs(1)),
            Passed::Later(wait) => (0, wait),
        };
        let seconds = more_after.as_millis().div_ceil(1000).max(1);
        let policy = format!("\"requests\";q={};w=1", self.per_second);
        let state = format!("\"requests\";r={left};t={seconds}");
        for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, state)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_two_fields() {
        let told = |passed| {
            let mut headers = HeaderMap::new();
            let spent = Spent {
                per_second: 20,
                passed,
            };
            spent.tell(&mut headers);
            let text = |name: axum::http::HeaderName| headers[name].to_str().unwrap().to_owned();
            (
                text(RATE_LIMIT_POLICY),
                text(RATE_LIMIT),
                spent.refusal().is_some(),
            )
        };
        let policy = "\"requests\";q=20;w=1".to_owned();
        assert_eq!(
            told(Passed::Yes { left: 7 }),
            (policy.clone(), "\"requests\";r=7;t=1".to_owned(), false)
        );
        assert_eq!(
            told(Passed::Later(Duration::from_millis(30))),
            (policy, "\"requests\";r=0;t=1".to_owned(), true)
        );
    }
}
