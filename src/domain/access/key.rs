//! A key as its owner and the server see it, without the secret.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Holder, Quotas, Scope};
use crate::domain::{id::KeyId, name::Name, time::Timestamp};

/// A key of a caller. The key itself is shown once, when it is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Says which key is meant; it gives no access.
    pub id: KeyId,
    /// Always `key`.
    #[schema(example = "key")]
    pub object: String,
    /// No other key that is good has it.
    #[schema(example = "camera-7")]
    pub name: Name,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The only datasets that it may use, by name; null: all.
    pub datasets: Option<Vec<Name>>,
    /// The only models that it may use, by the names of models or aliases; null: all.
    pub models: Option<Vec<Name>>,
    /// How much of the server it may take up.
    pub quotas: Quotas,
    pub created_at: Timestamp,
    /// From then on it is refused; null: never.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Whether a key opens anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    Good,
    Expired,
    Revoked,
}

impl Key {
    pub fn state(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            KeyState::Expired
        } else {
            KeyState::Good
        }
    }

    /// As what it makes remembers it.
    pub fn holder(&self) -> Holder {
        Holder {
            id: self.id,
            name: self.name.clone(),
        }
    }

    /// Whether it may do what needs this scope.
    pub fn may(&self, needed: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.includes(needed))
    }

    /// Whether it is limited to named datasets or models.
    pub fn is_limited(&self) -> bool {
        self.datasets.is_some() || self.models.is_some()
    }

    /// Whether it may use the dataset of this name.
    pub fn may_use_dataset(&self, name: &str) -> bool {
        names(self.datasets.as_deref(), name)
    }

    /// Whether it may use models of this name, or the alias of this name.
    pub fn may_use_model(&self, name: &str) -> bool {
        names(self.models.as_deref(), name)
    }
}

fn names(only: Option<&[Name]>, name: &str) -> bool {
    only.is_none_or(|only| only.iter().any(|one| one.as_str() == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key {
            id: KeyId::new(),
            object: "key".into(),
            name: Name::parse("camera").unwrap(),
            scopes: vec![Scope::Predict],
            datasets: None,
            models: Some(vec![Name::parse("insects").unwrap()]),
            quotas: Quotas::default(),
            created_at: Timestamp(0),
            expires_at: Some(Timestamp(10)),
            last_used_at: None,
            revoked_at: None,
        }
    }

    #[test]
    fn a_key_is_good_until_its_end() {
        let key = key();
        assert_eq!(key.state(Timestamp(9)), KeyState::Good);
        assert_eq!(key.state(Timestamp(10)), KeyState::Expired);
        let revoked = Key {
            revoked_at: Some(Timestamp(5)),
            ..key
        };
        assert_eq!(revoked.state(Timestamp(20)), KeyState::Revoked);
    }

    #[test]
    fn a_limit_is_one_of_names_and_none_is_no_limit() {
        let key = key();
        assert!(key.is_limited() && key.may_use_dataset("anything"));
        assert!(key.may_use_model("insects") && !key.may_use_model("insect") && !key.may_use_model(""));
        let nothing = Key {
            models: Some(Vec::new()),
            ..key
        };
        assert!(nothing.is_limited() && !nothing.may_use_model("insects"));
    }
}
