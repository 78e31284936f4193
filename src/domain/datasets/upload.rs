//! Uploads that come in several requests, until they are a dataset.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dataset::DatasetError;
use crate::domain::{
    id::{DatasetId, UploadId},
    name::Name,
    time::Timestamp,
};

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UploadStatus {
    /// Bytes are missing.
    Receiving,
    /// All are there; the dataset is being made.
    Finishing,
    /// It is a dataset.
    Complete,
    /// It cannot become a dataset; its bytes are gone.
    Failed,
}

/// An upload that comes in several requests.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Upload {
    pub id: UploadId,
    /// Always `upload`.
    #[schema(example = "upload")]
    pub object: String,
    /// Of the dataset that it becomes.
    pub name: Name,
    pub status: UploadStatus,
    /// Size of the archive.
    pub bytes: u64,
    /// How many of them the server has on disk.
    pub received: u64,
    pub created_at: Timestamp,
    /// It is removed then, unless more comes; what it has become stays.
    pub expires_at: Timestamp,
    /// What it has become.
    pub dataset: Option<DatasetId>,
    pub error: Option<DatasetError>,
    /// `Upload-Metadata` as it came.
    #[serde(skip)]
    pub metadata: String,
    /// Digest that the client announced.
    #[serde(skip)]
    pub announced_sha256: Option<String>,
    /// Digest of the archive, once it is whole.
    #[serde(skip)]
    pub sha256: Option<String>,
}
