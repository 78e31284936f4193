//! How a dataset is split: fractions, seed, and what stays together.

use serde_json::Value;

use super::fields::{Faults, Fields};
use crate::{
    domain::datasets::split::{GroupBy, SplitSpec},
    error::FieldError,
};

/// Checks a request to split a dataset permanently, which has the same fields as in a job.
///
/// # Errors
/// Every fault of the document.
pub fn parse_split(document: &Value) -> Result<SplitSpec, Vec<FieldError>> {
    let faults = Faults::default();
    let split = parse(Fields::root(document, &faults));
    let faults = faults.into_inner();
    if faults.is_empty() { Ok(split) } else { Err(faults) }
}

pub(super) fn parse(mut fields: Fields) -> SplitSpec {
    let rule = "must be from 0 to 0.9";
    let inside = |share: f64| (0.0..=0.9).contains(&share);
    let split = SplitSpec {
        val: fields.number("val", 0.2, rule, inside),
        test: fields.number("test", 0.0, rule, inside),
        seed: fields.integer("seed", 0, 0, i64::MAX) as u64,
        group_by: fields.optional_object("group_by").map(parse_group_by),
    };
    if split.val + split.test > 0.95 {
        fields.fault(
            "test",
            "range",
            "`val` and `test` together must leave at least 0.05 for training",
        );
    }
    fields.finish(&[]);
    split
}

pub(super) fn parse_group_by(mut fields: Fields) -> GroupBy {
    let separator = fields.text("separator").unwrap_or("_");
    if !(1..=8).contains(&separator.chars().count()) {
        fields.fault("separator", "range", "must be 1 to 8 characters, such as `_`");
    }
    let group_by = GroupBy {
        separator: separator.to_owned(),
        parts: fields.integer("parts", 1, 1, 16) as u32,
    };
    fields.finish(&[]);
    group_by
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::JobSpec;

    #[test]
    fn images_are_grouped_where_asked_for() {
        let parsed = |group_by| JobSpec::parse(&json!({"dataset": "d", "split": {"group_by": group_by}}));
        assert_eq!(parsed(json!(null)).unwrap().split.group_by, None);
        let group_by = parsed(json!({})).unwrap().split.group_by.unwrap();
        assert_eq!((group_by.separator.as_str(), group_by.parts), ("_", 1));
        let spec = parsed(json!({"separator": "--", "parts": 2})).unwrap();
        let group_by = spec.split.group_by.clone().unwrap();
        assert_eq!((group_by.separator.as_str(), group_by.parts), ("--", 2));
        assert_eq!(
            JobSpec::parse(&serde_json::to_value(&spec).unwrap()).unwrap(),
            spec
        );

        for (wrong, pointer) in [
            (json!({"separator": ""}), "/split/group_by/separator"),
            (json!({"separator": 1}), "/split/group_by/separator"),
            (json!({"parts": 0}), "/split/group_by/parts"),
            (json!({"pieces": 2}), "/split/group_by/pieces"),
            (json!("_"), "/split/group_by"),
        ] {
            let faults = parsed(wrong).unwrap_err();
            assert_eq!(faults[0].pointer, pointer, "{faults:?}");
        }
    }
}
