//! A training's spec as JSON: without the fields that have no meaning for its head. Those have their defaults, and so have specs that were
//! written without them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error};
use serde_json::Value;

use super::JobSpec;

/// Every field.
struct Whole<'a>(&'a JobSpec);

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        JobSpec::serialize(self.0, serializer)
    }
}

impl Serialize for JobSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.head.is_made_at_once() {
            return JobSpec::serialize(self, serializer);
        }
        let mut fields = serde_json::to_value(Whole(self)).map_err(S::Error::custom)?;
        if let Value::Object(fields) = &mut fields {
            let loss = (!self.head.kind.learns()).then_some(JobSpec::LOSS);
            for name in JobSpec::OF_STEPS.into_iter().chain(loss) {
                fields.remove(name);
            }
        }
        fields.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JobSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        JobSpec::deserialize(deserializer)
    }
}
