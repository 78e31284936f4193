//! Lists as parameters of queries: what SQL is the database's own stands here. PostgreSQL would say `= any($1)`.

use serde::Serialize;

use crate::error::Result;

/// `one_of!("$1")` is the right side of `column in …`, for a parameter that [`bound`] made.
macro_rules! one_of {
    ($parameter:literal) => {
        concat!("(select value from json_each(", $parameter, "))")
    };
}

pub(in crate::store) use one_of;

/// A list as a parameter.
pub(in crate::store) fn bound<T: Serialize>(values: &[T]) -> Result<String> {
    super::to_json(&values)
}
