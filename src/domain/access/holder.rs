//! Who made something, or did it, when that was by a key.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{id::KeyId, name::Name};

/// A key as what it has made remembers it. Both parts stay when the key is revoked or gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Holder {
    pub id: KeyId,
    /// What a key owns is found by it: a later key of the same name goes on with what this one owned.
    #[schema(example = "camera-7")]
    pub name: Name,
}
