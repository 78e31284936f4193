//! Which blobs the rows point to: everything else in the blob folder may go.

use std::collections::HashSet;

use super::Store;
use crate::error::Result;

impl Store {
    /// Digests of all blobs that a row names.
    pub async fn referenced_blobs(&self) -> Result<HashSet<String>> {
        let digests: Vec<Option<String>> = sqlx::query_scalar(
            "select sha256 from datasets
            union select report_blob from datasets
            union select manifest_blob from dataset_versions
            union select images_blob from segments
            union select pack_blob from segments where pack_gone = 0
            union select sha256 from models
            union select card_blob from models
            union select blob from activations
            union select blob from packs
            union select sha256 from uploads where status = 'finishing'
            union select evaluation_blob from models
            union select result_blob from jobs
            union select csv_blob from jobs",
        )
        .fetch_all(&self.readers)
        .await?;
        Ok(digests.into_iter().flatten().collect())
    }
}
