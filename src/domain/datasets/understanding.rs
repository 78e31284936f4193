//! What an archive would be read as, without reading its pixels.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    dataset::{Class, DatasetWarning, Layout, Structure},
    reading::{ReadOptions, Reading, ReadingExample},
    split::SplitCounts,
};

/// What an archive would be read as: names and tables only, no pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Understanding {
    /// Always `dataset_reading`.
    #[schema(example = "dataset_reading")]
    pub object: String,
    /// Images that would be read. Whether each can be decoded is known only afterwards.
    pub images: u64,
    /// Files that look like images and would be left out.
    pub skipped: u64,
    pub classes: Vec<Class>,
    pub splits: SplitCounts,
    /// Images with several labels, or with none of the classes.
    #[serde(default)]
    pub several_labels: u64,
    pub layout: Layout,
    pub structure: Structure,
    /// The options in full, as they took effect.
    pub reading: ReadOptions,
    /// Other ways to read the archive.
    pub readings: Vec<Reading>,
    pub warnings: Vec<DatasetWarning>,
    /// Some images, as they would be read.
    pub examples: Vec<ReadingExample>,
}
