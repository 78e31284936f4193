//! The content of a dataset version as one digest: two versions have the same digest exactly when they hold the same files with the same
//! labels in the same splits, whatever the files are called and whatever their order and history.

use super::split::Split;
use crate::files::digest::{self, Hasher};

/// Takes images in any order.
#[derive(Default)]
pub struct ContentDigest {
    /// One per image's line.
    lines: Vec<String>,
}

impl ContentDigest {
    /// `labels` are the names of the image's classes, none where the dataset has no classes; `sha256` is the digest of the file.
    pub fn add(&mut self, labels: Option<&[&str]>, split: Split, sha256: &str) {
        // As JSON, so that no name can be mistaken for the end of its line. A single label is no list: digests are as old as datasets.
        let labels = match labels {
            None => serde_json::Value::Null,
            Some([class]) => serde_json::json!(class),
            Some(labels) => serde_json::json!(labels),
        };
        let line = serde_json::json!([sha256, split, labels]).to_string();
        self.lines.push(digest::of_bytes(line.as_bytes()));
    }

    /// The digest, hexadecimal.
    pub fn finish(mut self) -> String {
        self.lines.sort_unstable();
        let mut hasher = Hasher::new();
        for line in &self.lines {
            hasher.update(line.as_bytes());
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(images: &[(Option<&[&str]>, Split, &str)]) -> String {
        let mut content = ContentDigest::default();
        for (labels, split, sha256) in images {
            content.add(*labels, *split, sha256);
        }
        content.finish()
    }

    #[test]
    fn the_order_changes_nothing_and_everything_else_does() {
        let (a, b) = (
            (Some(&["ants"][..]), Split::Train, "a"),
            (Some(&["bees"][..]), Split::Train, "b"),
        );
        let whole = of(&[a, b]);
        assert_eq!(whole, of(&[b, a]));
        for other in [
            vec![a],
            vec![a, a, b],
            vec![a, (Some(&["wasps"]), Split::Train, "b")],
            vec![a, (Some(&["bees"]), Split::Val, "b")],
            vec![a, (None, Split::Train, "b")],
            vec![a, (Some(&[]), Split::Train, "b")],
            vec![a, (Some(&["ants", "bees"]), Split::Train, "b")],
            vec![a, (Some(&["bees"]), Split::Train, "c")],
        ] {
            assert_ne!(whole, of(&other), "{other:?}");
        }
    }
}
