//! Requests and replies of the predict child: length-prefixed frames over its stdin and stdout.
//!
//! A frame is the header's length and the body's length, each as four bytes, little-endian, then the header as JSON, then the
//! body as it is. Replies come in any order; `id` tells which request they belong to. The end of stdin means "leave".

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::models::prediction::{ClassProbability, PredictionTiming};

/// Largest header, in bytes.
pub const MAX_HEADER: u32 = 1 << 20;
/// Largest body, in bytes.
pub const MAX_BODY: u32 = 256 << 20;
/// Bytes before the header.
pub const PREFIX: usize = 8;

/// Lengths of a frame's header and body as they go before it.
pub fn prefix(header: u32, body: u32) -> [u8; PREFIX] {
    let mut bytes = [0; PREFIX];
    bytes[..4].copy_from_slice(&header.to_le_bytes());
    bytes[4..].copy_from_slice(&body.to_le_bytes());
    bytes
}

/// Reads [`prefix`] back; none where a length is over its limit, which means that the two sides have lost each other.
pub fn lengths(prefix: [u8; PREFIX]) -> Option<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = prefix;
    let header = u32::from_le_bytes([a, b, c, d]);
    let body = u32::from_le_bytes([e, f, g, h]);
    (header <= MAX_HEADER && body <= MAX_BODY).then_some((header as usize, body as usize))
}

/// Header of a request; the body is one picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictRequest {
    pub id: u64,
    pub model: ModelFiles,
    #[serde(flatten)]
    pub task: PredictTask,
    pub input: PredictInput,
    /// Most pixels of the image.
    pub max_pixels: u64,
}

/// What is wanted of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum PredictTask {
    /// Its likeliest classes, at most `top_k` (from 1).
    Classify { top_k: u32 },
    /// Its feature vector, what the network's head sees; of length 1 where `normalize` says so.
    Embed { normalize: bool },
    /// Where a class is seen in it; none: the likeliest class.
    Explain { class: Option<u32> },
}

/// What the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictInput {
    /// An image file.
    Image,
    /// What the network sees, preprocessed by the caller: `[3, crop, crop]`, 32-bit floats, little-endian, normalised.
    Tensor,
}

/// A model on disk. `sha256` of the weights identifies it: the child loads each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelFiles {
    pub sha256: String,
    pub weights: PathBuf,
    pub card: PathBuf,
    pub card_sha256: String,
}

/// Header of a reply; what its body is, [`PredictOutcome`] says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictReply {
    pub id: u64,
    #[serde(flatten)]
    pub outcome: PredictOutcome,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum PredictOutcome {
    /// The likeliest classes, likeliest first.
    Predicted {
        classes: Vec<ClassProbability>,
        timing: PredictionTiming,
    },
    /// The body is the feature vector: 32-bit floats, little-endian.
    Embedded { timing: PredictionTiming },
    /// The body is a PNG: what the network sees of the picture, and over it how much each place speaks for the class.
    Explained {
        class: ClassProbability,
        timing: PredictionTiming,
    },
    /// The body is not an image of a kind that is taken (415).
    UnsupportedImage { message: String },
    /// It is one, and it cannot be read or is too large (422).
    InvalidImage { message: String },
    /// The model cannot be used; the message is for the operator.
    ModelUnusable { message: String },
    /// Its files are not those that were stored; the message is for the operator.
    ModelDamaged { message: String },
}

/// The first frame that a child sends, once it can work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    pub device: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_back_and_absurd_ones_are_refused() {
        assert_eq!(lengths(prefix(12, 3_000_000)), Some((12, 3_000_000)));
        assert_eq!(lengths(prefix(MAX_HEADER + 1, 0)), None);
        assert_eq!(lengths(*b"HTTP/1.1"), None);
    }

    #[test]
    fn a_reply_is_flat_json() {
        let outcome = PredictOutcome::InvalidImage {
            message: "cut short".into(),
        };
        let text = serde_json::to_string(&PredictReply { id: 7, outcome }).unwrap();
        assert_eq!(
            text,
            r#"{"id":7,"outcome":"invalid_image","message":"cut short"}"#
        );
    }
}
