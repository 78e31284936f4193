//! Datasets as files, for children.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::result::Artifact;
use crate::domain::{datasets::split::Split, models::model::DatasetLineage};

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
    /// What earlier runs packed of its images, at whatever size, most recently used first.
    #[serde(default)]
    pub packs: Vec<KnownPack>,
}

/// How large the pictures of a pack are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackSize {
    /// Length of the shorter side.
    pub side: u32,
    /// Whether smaller pictures are brought up to it.
    pub bring_up: bool,
}

/// A pack that an earlier run made. It need not have every image, and it may have gone by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPack {
    pub sha256: String,
    pub size: PackSize,
    pub path: PathBuf,
}

/// [`PACKS_FILE`](super::PACKS_FILE): which packs a run works with besides those of the segments. It is there before the work begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedPacks {
    /// Digests of those that earlier runs made.
    pub used: Vec<String>,
    /// Digests of those, the segments' among them, that turned out to be damaged, also later while the run goes on.
    #[serde(default)]
    pub damaged: Vec<String>,
    /// What the run made of the images that none of them has.
    pub made: Option<MadePack>,
}

/// A pack that a run made. The file is not synced: it may be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadePack {
    pub file: Artifact,
    pub size: PackSize,
}

impl DatasetInput {
    /// Shorter side of the packed pictures, where it is the same in every segment.
    pub fn pack_side(&self) -> Option<u32> {
        let side = self.segments.first()?.pack_side;
        self.segments
            .iter()
            .all(|segment| segment.pack_side == side)
            .then_some(side)
    }
}

/// The images that came into a dataset at one time, as two files that never change. Versions share them: what an image is labelled with
/// is only in a version's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Within its dataset, from 0.
    pub number: u32,
    /// The original image files, one after another.
    pub images: PathBuf,
    /// Packed pixels, see [`ManifestImage::pack_offset`]. The file may have gone to make room.
    pub pack: PathBuf,
    /// Of the pack, hexadecimal.
    pub pack_sha256: String,
    /// Shorter side of the pictures in the pack; smaller pictures are packed as they are.
    pub pack_side: u32,
}

/// One image of a dataset version: a line of its manifest, in the order of `id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestImage {
    /// From 0, and the same in every version of the dataset.
    pub id: u32,
    /// Number of the segment that it lies in; manifests of before have only the one.
    #[serde(default)]
    pub segment: u32,
    /// As in the archive.
    pub path: String,
    /// Index of its class; none in an unlabelled dataset.
    pub class: Option<u32>,
    /// The part that the dataset itself puts it in.
    pub split: Split,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Where the file begins in its segment's images, and its length.
    pub offset: u64,
    pub bytes: u64,
    /// Size of the picture, upright.
    pub width: u32,
    pub height: u32,
    /// Where its pixels begin in its segment's pack: `pack_height` rows of `pack_width` pixels of 3 bytes, red, green, blue.
    pub pack_offset: u64,
    pub pack_width: u32,
    pub pack_height: u32,
    /// CRC-32 (ISO-HDLC, as in zip) of these pixels; none in manifests of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack_crc32: Option<u32>,
}
