//! What a key may do.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A right that a key has. `write` includes `read` and `predict`; `admin` includes all others; `read` and `predict` include nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Looks at datasets, jobs, models and the server, and downloads them.
    Read,
    /// Has models classify, embed and explain images, and reads what a client of the inference protocols needs to know of a model.
    Predict,
    /// Uploads, trains, changes and deletes.
    Write,
    /// Makes and revokes keys, and reads the audit log.
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 4] = [Scope::Read, Scope::Predict, Scope::Write, Scope::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Predict => "predict",
            Scope::Write => "write",
            Scope::Admin => "admin",
        }
    }

    /// Whether a key with this scope may do what needs another one.
    pub fn includes(self, needed: Scope) -> bool {
        match self {
            Scope::Admin => true,
            Scope::Write => needed != Scope::Admin,
            Scope::Read | Scope::Predict => needed == self,
        }
    }
}

/// A word that is no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is `read`, `predict`, `write` or `admin`")]
pub struct InvalidScope;

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or(InvalidScope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_includes_what_it_says_and_no_more() {
        let included = |scope: Scope| {
            Scope::ALL
                .into_iter()
                .filter(move |needed| scope.includes(*needed))
        };
        let words = |scope| included(scope).map(Scope::as_str).collect::<Vec<_>>();
        assert_eq!(words(Scope::Read), ["read"]);
        assert_eq!(words(Scope::Predict), ["predict"]);
        assert_eq!(words(Scope::Write), ["read", "predict", "write"]);
        assert_eq!(words(Scope::Admin), ["read", "predict", "write", "admin"]);
    }

    #[test]
    fn the_word_is_the_same_everywhere() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
            assert_eq!(scope.as_str().parse(), Ok(scope));
        }
        assert_eq!("root".parse::<Scope>(), Err(InvalidScope));
    }
}
