//! Pages of a list: size, position and order.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The order of a list; ids sort by creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Newest first.
    #[default]
    Desc,
    /// Oldest first.
    Asc,
}

/// The requested page of a list.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// 1 to 100.
    pub limit: u32,
    /// Id of the last object of the previous page.
    pub after: Option<String>,
    pub order: Order,
}

impl PageRequest {
    pub const DEFAULT_LIMIT: u32 = 20;
    pub const MAX_LIMIT: u32 = 100;
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T: ToSchema> {
    /// Always `list`.
    #[schema(example = "list")]
    pub object: &'static str,
    pub data: Vec<T>,
    /// Whether there are more after the last one.
    pub has_more: bool,
}

impl<T: ToSchema> Page<T> {
    /// Makes a page from up to `limit + 1` rows: the extra one only shows that there are more.
    pub fn from_rows(mut rows: Vec<T>, limit: u32) -> Self {
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        Self {
            object: "list",
            data: rows,
            has_more,
        }
    }
}
