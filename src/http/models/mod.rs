//! `/v1/models`, `/v1/aliases`, `/v1/architectures`: trained and imported models, and the names they are served under.

pub mod aliases;
pub mod architectures;
pub mod lineage;
pub mod model;
pub mod model_compare;
pub mod model_edit;
pub mod model_export;
pub mod model_import;
pub mod model_upload;
