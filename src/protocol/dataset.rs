//! Datasets as files, for children.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::result::Artifact;
use crate::domain::{
    datasets::split::Split,
    models::{
        model::DatasetLineage,
        preprocessing::{Interpolation, UsedBits},
    },
};

/// A dataset version as files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatasetInput {
    pub lineage: DatasetLineage,
    pub classes: Vec<String>,
    /// [`ManifestImage`]s, a line each.
    pub manifest: PathBuf,
    /// Of the manifest, hexadecimal.
    pub manifest_sha256: String,
    /// Every segment that the manifest names, in the order of their numbers.
    pub segments: Vec<Segment>,
    /// Packs of its images that earlier runs created, of any size, most recently used first.
    #[serde(default)]
    pub packs: Vec<KnownPack>,
}

/// The size of the images in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackSize {
    /// Length of the shorter side.
    pub side: u32,
    /// Whether smaller images are enlarged to it.
    pub bring_up: bool,
    #[serde(default, skip_serializing_if = "Interpolation::is_bilinear")]
    pub interpolation: Interpolation,
}

impl PackSize {
    /// Whether images that ingest packed at `side` are of this size: it interpolates bilinearly.
    pub fn is_of_ingest(&self, side: u32) -> bool {
        self.side == side && self.interpolation.is_bilinear()
    }
}

/// A pack that an earlier run created. It need not contain every image, and it may have been deleted by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPack {
    pub sha256: String,
    pub size: PackSize,
    pub path: PathBuf,
}

/// [`PACKS_FILE`](super::PACKS_FILE): which packs a run uses besides those of the segments. Written before the work begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedPacks {
    /// Digests of those that earlier runs created.
    pub used: Vec<String>,
    /// Digests of those, including the segments', that turned out to be damaged; also updated while the run continues.
    #[serde(default)]
    pub damaged: Vec<String>,
    /// The pack that the run created of the images that were in none of them.
    pub made: Option<MadePack>,
}

/// A pack that a run created. The file is not synced: it can be regenerated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadePack {
    pub file: Artifact,
    pub size: PackSize,
}

impl DatasetInput {
    /// Shorter side of the packed images, where it is the same in every segment.
    pub fn pack_side(&self) -> Option<u32> {
        let side = self.segments.first()?.pack_side;
        self.segments
            .iter()
            .all(|segment| segment.pack_side == side)
            .then_some(side)
    }
}

/// The images that were added to a dataset at one time, as two files that never change. Versions share them: the labels of the images are
/// only in a version's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Within its dataset, from 0.
    pub number: u32,
    /// The original image files, one after another.
    pub images: PathBuf,
    /// Packed pixels, see [`ManifestImage::pack_offset`]. The file may have been deleted to free space.
    pub pack: PathBuf,
    /// Of the pack, hexadecimal.
    pub pack_sha256: String,
    /// Shorter side of the images in the pack; smaller images are packed as they are.
    pub pack_side: u32,
}

/// One image of a dataset version: a line of its manifest, in the order of `id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestImage {
    /// From 0, and the same in every version of the dataset.
    pub id: u32,
    /// Number of the segment that contains it; older manifests have only one.
    #[serde(default)]
    pub segment: u32,
    /// As in the archive.
    pub path: String,
    /// Index of its class; none in an unlabelled dataset, and where `labels` says more.
    pub class: Option<u32>,
    /// Of an image that has several labels, or is known to have none: the indices of its classes, ascending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<u32>>,
    /// The split that the dataset itself puts it in.
    pub split: Split,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Offset of the file in its segment's images, and its length.
    pub offset: u64,
    pub bytes: u64,
    /// Size of the image, upright.
    pub width: u32,
    pub height: u32,
    /// Offset of its pixels in its segment's pack: `pack_height` rows of `pack_width` pixels of 3 bytes, red, green, blue.
    pub pack_offset: u64,
    pub pack_width: u32,
    pub pack_height: u32,
    /// CRC-32 (ISO-HDLC, as in zip) of these pixels; none in older manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack_crc32: Option<u32>,
    /// Of an image with 16 bits in each channel, how many of them count: the same for all of a dataset. None for other images, and in older
    /// manifests, where all 16 count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bits: Option<UsedBits>,
}

impl ManifestImage {
    /// The indices of its classes, ascending: one, unless it has several labels or none.
    pub fn label_set(&self) -> &[u32] {
        self.labels.as_deref().unwrap_or(self.class.as_slice())
    }

    /// Whether it is known which labels it has.
    pub fn is_labelled(&self) -> bool {
        self.class.is_some() || self.labels.is_some()
    }

    /// The same with these labels, ascending; none in an unlabelled dataset.
    pub fn with_labels(self, labels: Option<Vec<u32>>) -> Self {
        let (class, labels) = match labels {
            None => (None, None),
            Some(labels) => match labels.as_slice() {
                [class] => (Some(*class), None),
                _ => (None, Some(labels)),
            },
        };
        Self {
            class,
            labels,
            ..self
        }
    }

    /// How many of its bits count, if it has 16.
    pub fn depth(&self) -> UsedBits {
        self.used_bits.unwrap_or(UsedBits::ALL)
    }
}
