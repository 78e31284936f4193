//! Requests and replies of the predict child: length-prefixed frames over its stdin and stdout.
//!
//! A frame is the header's length and the body's length, each as four bytes, little-endian, then the header as JSON, then the
//! body unchanged. Replies come in any order; `id` matches them to requests. The end of stdin means "exit".

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::models::prediction::{ClassProbability, PredictionTiming};

/// Largest header, in bytes.
pub const MAX_HEADER: u32 = 1 << 20;
/// Largest body, in bytes.
pub const MAX_BODY: u32 = 256 << 20;
/// Bytes before the header.
pub const PREFIX: usize = 8;

/// The lengths of a frame's header and body, which precede it.
pub fn prefix(header: u32, body: u32) -> [u8; PREFIX] {
    let mut bytes = [0; PREFIX];
    bytes[..4].copy_from_slice(&header.to_le_bytes());
    bytes[4..].copy_from_slice(&body.to_le_bytes());
    bytes
}

/// Reads [`prefix`] back; none where a length exceeds its limit, which means that the stream is out of sync.
pub fn lengths(prefix: [u8; PREFIX]) -> Option<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = prefix;
    let header = u32::from_le_bytes([a, b, c, d]);
    let body = u32::from_le_bytes([e, f, g, h]);
    (header <= MAX_HEADER && body <= MAX_BODY).then_some((header as usize, body as usize))
}

/// Header of a request; the body is one image.
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

/// What to compute for the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum PredictTask {
    /// Its likeliest classes, at most `top_k` (from 1).
    Classify { top_k: u32 },
    /// Its feature vector, the input of the network's head; scaled to length 1 if `normalize` is set.
    Embed { normalize: bool },
    /// Where the network sees a class in it; none: the likeliest class.
    Explain { class: Option<u32> },
}

/// The format of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictInput {
    /// An image file.
    Image,
    /// The network's input, preprocessed by the caller: `[3, crop, crop]`, 32-bit floats, little-endian, normalised.
    Tensor,
}

/// A model on disk. `sha256` of the weights identifies it: the child loads each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelFiles {
    pub sha256: String,
    pub weights: PathBuf,
    pub card: PathBuf,
    pub card_sha256: String,
    /// Of a model that is an adapter: `weights` has only what it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseFile>,
}

/// The weights that an adapter is beside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BaseFile {
    pub path: PathBuf,
    pub sha256: String,
}

impl ModelFiles {
    /// The files with these digests; `path` says where the file with a digest is.
    pub fn of(weights: &str, card: &str, base: Option<&str>, path: impl Fn(&str) -> PathBuf) -> Self {
        Self {
            weights: path(weights),
            card: path(card),
            sha256: weights.to_owned(),
            card_sha256: card.to_owned(),
            base: base.map(|base| BaseFile {
                path: path(base),
                sha256: base.to_owned(),
            }),
        }
    }
}

/// Header of a reply; [`PredictOutcome`] says what its body is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictReply {
    pub id: u64,
    /// How many images the network computed together: in the reply about the first of them; 0 in all others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub batch: u32,
    #[serde(flatten)]
    pub outcome: PredictOutcome,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The outcome of a request.
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
    /// The body is a PNG: the image as the network sees it, overlaid with the evidence for the class at each position.
    Explained {
        class: ClassProbability,
        timing: PredictionTiming,
    },
    /// The body is not an image of a supported format (415).
    UnsupportedImage { message: String },
    /// It is one, but it cannot be read or is too large (422).
    InvalidImage { message: String },
    /// The model cannot be used; the message is for the operator.
    ModelUnusable { message: String },
    /// Its files are damaged; the message is for the operator.
    ModelDamaged { message: String },
}

/// The first frame of a child, sent once it is ready.
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
        let mut reply = PredictReply {
            id: 7,
            batch: 0,
            outcome,
        };
        let text = |reply: &PredictReply| serde_json::to_string(reply).unwrap();
        assert_eq!(
            text(&reply),
            r#"{"id":7,"outcome":"invalid_image","message":"cut short"}"#
        );
        assert_eq!(
            serde_json::from_str::<PredictReply>(&text(&reply)).unwrap(),
            reply
        );
        reply.batch = 8;
        assert_eq!(
            text(&reply),
            r#"{"id":7,"batch":8,"outcome":"invalid_image","message":"cut short"}"#
        );
    }
}
