//! The meaning of folder names.

use icu_normalizer::ComposingNormalizerBorrowed;

use crate::domain::datasets::split::Split;

/// Names of a lone folder that say nothing about its content: its images have no class.
const MEANINGLESS: &[&str] = &[
    "all",
    "data",
    "dataset",
    "files",
    "frames",
    "image",
    "images",
    "img",
    "imgs",
    "input",
    "inputs",
    "jpeg",
    "jpegs",
    "jpg",
    "photo",
    "photos",
    "pics",
    "pictures",
    "png",
    "pngs",
    "raw",
    "samples",
    "unknown",
    "unlabeled",
    "unlabelled",
];

pub fn says_nothing(name: &str) -> bool {
    MEANINGLESS.contains(&name.to_ascii_lowercase().as_str())
}

/// The split that a name means, in any case, possibly followed by `set`, `data` or `images`: `Training`, `valid`, `test_set`.
pub fn split_of(name: &str) -> Option<Split> {
    let name = name.trim().to_ascii_lowercase();
    let words: Vec<&str> = name
        .split(['_', '-', ' ', '.'])
        .filter(|word| !word.is_empty())
        .collect();
    let word = match words.as_slice() {
        [word] => word.strip_suffix("set").unwrap_or(word),
        [word, "set" | "data" | "images" | "imgs" | "split"] => word,
        _ => return None,
    };
    match word {
        "train" | "training" => Some(Split::Train),
        "val" | "valid" | "validation" | "dev" | "eval" | "evaluation" => Some(Split::Val),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

/// One name, one class: some systems write `é` as one character and some as two (stored in Unicode normal form C).
pub fn class_name(folder: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc()
        .normalize(folder)
        .into_owned()
}
