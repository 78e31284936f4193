//! When things of a cache were used last, in an order that two uses in one millisecond have too.

use sqlx::SqliteConnection;

use crate::{domain::time::Timestamp, error::Result};

/// The time, later than any use that is written down.
pub async fn now(connection: &mut SqliteConnection) -> Result<i64> {
    let last: i64 = sqlx::query_scalar(
        "select coalesce(max(used_at), 0)
        from (
            select max(used_at) as used_at from activations
            union all select max(used_at) from packs
            union all select max(pack_used_at) from segments
        ) as uses",
    )
    .fetch_one(connection)
    .await?;
    Ok(Timestamp::now().0.max(last + 1))
}
