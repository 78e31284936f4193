//! Resumable uploads, until they become a dataset.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dataset::DatasetError;
use crate::domain::{
    access::Holder,
    id::{DatasetId, UploadId},
    name::{GivenName, Name},
    time::Timestamp,
};

/// The state of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UploadStatus {
    /// Bytes are missing.
    Receiving,
    /// All bytes are there; the dataset is being created.
    Finishing,
    /// It has become a dataset.
    Complete,
    /// It cannot become a dataset; its bytes have been deleted.
    Failed,
}

/// An upload in several requests.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Upload {
    pub id: UploadId,
    /// Always `upload`.
    #[schema(example = "upload")]
    pub object: String,
    /// Name of the dataset that it becomes. One that was derived from a file name may change with the last byte, to one that is free.
    pub name: Name,
    pub status: UploadStatus,
    /// Size of the archive.
    pub bytes: u64,
    /// How many bytes the server has on disk.
    pub received: u64,
    pub created_at: Timestamp,
    /// The key that began it, to which the dataset will belong; null where no key was needed.
    pub owner: Option<Holder>,
    /// When it is removed unless more arrives; the dataset that it became stays.
    pub expires_at: Timestamp,
    /// The dataset that it became.
    pub dataset: Option<DatasetId>,
    pub error: Option<DatasetError>,
    /// Whether the name was derived from a file name.
    #[serde(skip)]
    pub name_is_derived: bool,
    /// `Upload-Metadata` as received.
    #[serde(skip)]
    pub metadata: String,
    /// Digest announced by the client.
    #[serde(skip)]
    pub announced_sha256: Option<String>,
    /// Digest of the archive, once it is complete.
    #[serde(skip)]
    pub sha256: Option<String>,
}

impl Upload {
    /// The name, as it was given.
    pub fn given_name(&self) -> GivenName {
        match self.name_is_derived {
            true => GivenName::Derived(self.name.clone()),
            false => GivenName::Chosen(self.name.clone()),
        }
    }
}
