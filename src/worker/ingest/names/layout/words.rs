//! The meaning of folder names.

use std::collections::BTreeSet;

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
    "jpegimages",
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

/// Names of folders with images that annotate other images.
const MASKS: &[&str] = &[
    "annotation",
    "annotations",
    "groundtruth",
    "ground_truth",
    "gt",
    "label",
    "labels",
    "mask",
    "masks",
    "seg",
    "segmentation",
    "segmentationclass",
    "segmentationobject",
    "segmentations",
    "trimap",
    "trimaps",
];

/// Words beside the word for a split that do not change its meaning.
const FILLING: &[&str] = &[
    "data", "dataset", "file", "files", "final", "full", "image", "images", "img", "imgs", "jpeg", "jpg",
    "photo", "photos", "pics", "pictures", "png", "px", "raw", "resized", "set", "split", "v", "x",
];

/// Words for one of several folders that hold the same kind of content.
const PIECES: &[&str] = &[
    "archive", "batch", "chunk", "disc", "disk", "fold", "group", "kfold", "part", "piece", "section",
    "session", "shard", "vol", "volume",
];

pub fn says_nothing(name: &str) -> bool {
    MEANINGLESS.contains(&name.trim().to_ascii_lowercase().as_str())
}

pub fn is_of_masks(name: &str) -> bool {
    MASKS.contains(&name.trim().to_ascii_lowercase().as_str())
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
    split_word(word)
}

/// The split that a word of a table means. None for an unknown word; `Some(None)` where it says that there is none.
pub fn split_of_cell(word: &str) -> Option<Option<Split>> {
    match word.to_ascii_lowercase().as_str() {
        "" | "unassigned" | "none" | "null" | "nan" => Some(None),
        _ => split_of(word).map(Some),
    }
}

fn split_word(word: &str) -> Option<Split> {
    match word {
        "train" | "training" => Some(Split::Train),
        "val" | "valid" | "validate" | "validation" | "dev" | "eval" | "evaluation" => Some(Split::Val),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

/// A name with a word for a split among others: `seg_train`, `train2017`, `images-val`, `testA`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordedSplit {
    pub split: Split,
    /// The other words, without numbers and such as say nothing.
    pub rest: BTreeSet<String>,
}

/// None if no word, or more than one, is that of a split.
pub fn worded_split(name: &str) -> Option<WordedSplit> {
    let words = words(name);
    let mut found = None;
    let mut rest = BTreeSet::new();
    for word in words {
        let bare = word.strip_suffix("set").unwrap_or(&word);
        match split_word(bare) {
            Some(split) if found.is_none() => found = Some(split),
            Some(split) if found == Some(split) => {}
            Some(_) => return None,
            None if word.bytes().all(|byte| byte.is_ascii_digit()) || FILLING.contains(&word.as_str()) => {}
            None => {
                rest.insert(word);
            }
        }
    }
    found.map(|split| WordedSplit { split, rest })
}

/// The words of a name, in lower case: parted at punctuation, between letters and digits, and before capitals (`TrainImages`).
pub fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut last = ' ';
    for letter in name.chars() {
        let begins = (last.is_lowercase() && letter.is_uppercase())
            || (last.is_ascii_digit() != letter.is_ascii_digit() && last.is_alphanumeric());
        if begins || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
        last = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The words of a name that ends or begins with a number, without it: `fold_1`, `images_part_2`, `03`. None without a number.
pub fn numbered_stem(name: &str) -> Option<Vec<String>> {
    let mut words = words(name);
    let is_number = |word: &String| word.bytes().all(|byte| byte.is_ascii_digit());
    match (
        words.last().is_some_and(is_number),
        words.first().is_some_and(is_number),
    ) {
        (true, _) => {
            words.pop();
        }
        (_, true) => {
            words.remove(0);
        }
        _ => return None,
    }
    Some(words)
}

/// Whether the words name one of several pieces: `fold`, `images part`.
pub fn names_a_piece(stem: &[String]) -> bool {
    stem.iter().any(|word| PIECES.contains(&word.as_str()))
}

/// One name, one class: blanks around it mean nothing, and some systems write `é` as one character and some as two (stored in Unicode
/// normal form C).
pub fn class_name(folder: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc()
        .normalize(folder.trim())
        .into_owned()
}

/// What is left of a class name when capitals, punctuation and blanks are disregarded; two classes with the same are alike.
pub fn alike(name: &str) -> String {
    let letters = name.chars().filter(|letter| letter.is_alphanumeric());
    let plain: String = letters.flat_map(char::to_lowercase).collect();
    // A name of punctuation alone is like no other.
    if plain.is_empty() { name.to_owned() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_found_among_other_words() {
        let found = |name: &str| {
            worded_split(name).map(|found| {
                let rest: Vec<_> = found.rest.into_iter().collect();
                format!("{:?}:{}", found.split, rest.join("+"))
            })
        };
        for (name, expected) in [
            ("seg_train", "Train:seg"),
            ("train2017", "Train:"),
            ("images_val", "Val:"),
            ("TestImages", "Test:"),
            ("trainA", "Train:a"),
            ("training_set_v2", "Train:"),
            ("ILSVRC2012_img_val", "Val:ilsvrc"),
            ("02-validation", "Val:"),
            ("flowers.test.224x224", "Test:flowers"),
            ("train (1)", "Train:"),
        ] {
            assert_eq!(found(name).as_deref(), Some(expected), "{name}");
        }
        for name in [
            "trains",
            "contest",
            "train_val",
            "strain_1",
            "latest",
            "roses",
            "",
        ] {
            assert_eq!(found(name), None, "{name}");
        }
    }

    #[test]
    fn numbers_are_taken_off() {
        for (name, expected) in [
            ("fold_1", "fold"),
            ("images_part_02", "images part"),
            ("7", ""),
            ("2_batch", "batch"),
            ("Fold3", "fold"),
        ] {
            assert_eq!(
                numbered_stem(name).map(|words| words.join(" ")).as_deref(),
                Some(expected)
            );
        }
        assert_eq!(numbered_stem("fold_a"), None);
    }
}
