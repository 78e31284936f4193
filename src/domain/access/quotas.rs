//! How much of the server a key may take up.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::FieldError;

/// What a key may take up at most; null: as much as the server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// Bytes of the datasets, models and unfinished uploads that it owns.
    #[schema(minimum = 1)]
    pub max_bytes: Option<u64>,
    /// Its jobs that wait in the queue; further ones are refused with 429.
    #[schema(minimum = 1, maximum = 1000000)]
    pub max_queued_jobs: Option<u32>,
    /// Its jobs that run at the same time; further ones wait in the queue.
    #[schema(minimum = 1, maximum = 1000000)]
    pub max_running_jobs: Option<u32>,
    /// Its requests in a second: so many at once, and then at this pace; further ones are refused with 429.
    #[schema(minimum = 1, maximum = 1000000)]
    pub max_requests_per_second: Option<u32>,
}

impl Quotas {
    /// Largest quota of bytes: what the database can count.
    pub const MOST_BYTES: u64 = i64::MAX as u64;
    /// Largest of the other quotas.
    pub const MOST: u32 = 1_000_000;

    /// Reads the field `quotas` of a request; none where it is absent.
    pub fn parse(value: Option<&Value>, faults: &mut Vec<FieldError>) -> Self {
        let mut quotas = Self::default();
        let Some(value) = value else { return quotas };
        let Some(fields) = value.as_object() else {
            faults.push(FieldError::new("/quotas", "type", "must be an object"));
            return quotas;
        };
        for (field, value) in fields {
            let small = |faults: &mut Vec<FieldError>| {
                number(field, value, Self::MOST.into(), faults).map(|number| number as u32)
            };
            match field.as_str() {
                "max_bytes" => quotas.max_bytes = number(field, value, Self::MOST_BYTES, faults),
                "max_queued_jobs" => quotas.max_queued_jobs = small(faults),
                "max_running_jobs" => quotas.max_running_jobs = small(faults),
                "max_requests_per_second" => quotas.max_requests_per_second = small(faults),
                unknown => {
                    let pointer = pointer("/quotas", unknown);
                    faults.push(FieldError::new(pointer, "unknown_field", "unknown field"));
                }
            }
        }
        quotas
    }
}

fn number(field: &str, value: &Value, most: u64, faults: &mut Vec<FieldError>) -> Option<u64> {
    let pointer = format!("/quotas/{field}");
    match value.as_u64() {
        Some(number) if (1..=most).contains(&number) => return Some(number),
        None if !value.is_number() => faults.push(FieldError::new(pointer, "type", "must be a whole number")),
        _ => {
            let rule = format!("must be a whole number from 1 to {most}");
            faults.push(FieldError::new(pointer, "range", rule));
        }
    }
    None
}

/// A JSON pointer to a field of whatever name, short enough to be shown.
pub(super) fn pointer(before: &str, field: &str) -> String {
    let shown: String = field.chars().filter(|c| !c.is_control()).take(80).collect();
    format!("{before}/{}", shown.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_quota_is_a_number_and_none_is_no_quota() {
        let mut faults = Vec::new();
        assert_eq!(Quotas::parse(None, &mut faults), Quotas::default());
        let some =
            json!({"max_bytes": u64::MAX >> 1, "max_queued_jobs": 3, "max_requests_per_second": 1_000_000});
        let expected = Quotas {
            max_bytes: Some(i64::MAX as u64),
            max_queued_jobs: Some(3),
            max_running_jobs: None,
            max_requests_per_second: Some(1_000_000),
        };
        assert_eq!(Quotas::parse(Some(&some), &mut faults), expected);
        assert_eq!(faults, []);
    }

    #[test]
    fn every_wrong_quota_is_named() {
        let wrong = json!({"max_bytes": u64::MAX, "max_queued_jobs": 0, "max_running_jobs": "3",
            "max_requests_per_second": 1.5, "a/b": 1});
        let mut faults = Vec::new();
        assert_eq!(Quotas::parse(Some(&wrong), &mut faults), Quotas::default());
        let mut found: Vec<_> = faults
            .iter()
            .map(|fault| (fault.pointer.as_str(), fault.code.as_str()))
            .collect();
        found.sort_unstable();
        let expected = [
            ("/quotas/a~1b", "unknown_field"),
            ("/quotas/max_bytes", "range"),
            ("/quotas/max_queued_jobs", "range"),
            ("/quotas/max_requests_per_second", "range"),
            ("/quotas/max_running_jobs", "type"),
        ];
        assert_eq!(found, expected);
        faults.clear();
        Quotas::parse(Some(&json!(7)), &mut faults);
        assert_eq!(faults.len(), 1);
    }
}
