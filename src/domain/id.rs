//! Identifiers: one distinct type per kind of object, each a prefix and a UUIDv7 as 32 hexadecimal digits.
//!
//! UUIDv7 begins with the time, so an id sorts by creation and doubles as a list cursor. Used in every layer; parses what callers send, so
//! that no other code ever builds a path or a query from a raw string.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The prefix of every id of this kind.
            pub const PREFIX: &'static str = $prefix;

            /// A new id, greater than every id created before it in this process.
            #[allow(clippy::new_without_default)]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}{}", $prefix, self.0.as_simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text, $prefix).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        $crate::text_schema!(
            $name,
            concat!("^", $prefix, "[0-9a-f]{32}$"),
            concat!($prefix, "019ab3c4d5e67f8091a2b3c4d5e6f708")
        );
    };
}

id_type!(
    /// A dataset: `ds_` and 32 hexadecimal digits.
    DatasetId, "ds_"
);
id_type!(
    /// A job: `job_` and 32 hexadecimal digits.
    JobId, "job_"
);
id_type!(
    /// A model: `mdl_` and 32 hexadecimal digits.
    ModelId, "mdl_"
);
id_type!(
    /// An upload in several requests: `upl_` and 32 hexadecimal digits.
    UploadId, "upl_"
);

id_type!(
    /// A key of a caller: `key_` and 32 hexadecimal digits. It says which key is meant and gives no access.
    KeyId, "key_"
);

id_type!(
    /// A record of the audit log: `aud_` and 32 hexadecimal digits.
    AuditId, "aud_"
);

id_type!(
    /// A webhook: `whk_` and 32 hexadecimal digits.
    WebhookId, "whk_"
);

id_type!(
    /// A message to a webhook: `msg_` and 32 hexadecimal digits.
    DeliveryId, "msg_"
);

/// A text that is not an id of the expected kind.
#[derive(Debug, thiserror::Error)]
#[error("not an id of the form {prefix}<32 hexadecimal digits>")]
pub struct InvalidId {
    prefix: &'static str,
}

/// Whether a text begins like an id of a dataset, a job, a model or an upload. Names may not, so that an id can never be mistaken for a
/// name. Keys have names of their own.
pub fn looks_like_id(text: &str) -> bool {
    [
        DatasetId::PREFIX,
        JobId::PREFIX,
        ModelId::PREFIX,
        UploadId::PREFIX,
    ]
    .iter()
    .any(|prefix| text.starts_with(prefix))
}

fn parse(text: &str, prefix: &'static str) -> Result<Uuid, InvalidId> {
    let invalid = InvalidId { prefix };
    let Some(digits) = text.strip_prefix(prefix) else {
        return Err(invalid);
    };
    let canonical = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !canonical {
        return Err(invalid);
    }
    Uuid::try_parse(digits).map_err(|_| invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_itself() {
        let id = JobId::new();
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
        assert_eq!(id.to_string().len(), 36);
    }

    #[test]
    fn ids_sort_by_creation() {
        let ids: Vec<_> = (0..1000).map(|_| ModelId::new().to_string()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn other_kinds_and_spellings_are_refused() {
        let job = JobId::new().to_string();
        assert!(job.parse::<DatasetId>().is_err());
        assert!(job.to_uppercase().parse::<JobId>().is_err());
        assert!(format!("{job}0").parse::<JobId>().is_err());
        assert!("job_../../etc/passwd".parse::<JobId>().is_err());
    }
}
