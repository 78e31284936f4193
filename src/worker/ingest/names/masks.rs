//! Images that annotate other images: segmentation masks beside them, or in a folder of their own. They are no images of a dataset of classes.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::layout::{is_named_like_masks, says_nothing};

/// Ends of the names of masks beside their images: `7.png` and `7_mask.png`.
const ENDS: &[&str] = &[
    "_mask",
    "-mask",
    " mask",
    "_masks",
    "_seg",
    "-seg",
    "_segmentation",
    "_gt",
    "_groundtruth",
    "_trimap",
];

/// The entries that are masks, of these images, given as entry and folders with own name.
pub fn masks(images: &[(usize, Vec<String>)]) -> HashSet<usize> {
    let stems: HashSet<(&[String], &str)> = images.iter().filter_map(|(_, parts)| split(parts)).collect();
    let mut masks: HashSet<usize> = beside(images, &stems);
    masks.extend(in_folders(images));
    masks
}

/// Masks by the end of their names, where the image of the rest of the name is in the same folder.
fn beside(images: &[(usize, Vec<String>)], stems: &HashSet<(&[String], &str)>) -> HashSet<usize> {
    let is_mask = |parts: &[String]| {
        let Some((folders, stem)) = split(parts) else {
            return false;
        };
        // `7_mask_1` is a second mask of `7`.
        let bare = stem
            .trim_end_matches(|letter: char| letter.is_ascii_digit())
            .trim_end_matches(['_', '-', ' ']);
        [stem, bare]
            .into_iter()
            .any(|stem| image_of(stem).is_some_and(|image| stems.contains(&(folders, image))))
    };
    images
        .iter()
        .filter(|(_, parts)| is_mask(parts))
        .map(|(entry, _)| *entry)
        .collect()
}

/// An image in a folder: its entry, what lies between the two, and its stem.
type InFolder<'a> = (usize, &'a [String], &'a str);

/// Masks in folders named so (`masks`, `labels`) next to a folder like `images` that has an image for most of them.
fn in_folders(images: &[(usize, Vec<String>)]) -> HashSet<usize> {
    // Stems in a folder that says nothing, by the folder around it and what lies between the two and the file.
    let mut beside: HashMap<(&[String], &[String]), HashSet<&str>> = HashMap::new();
    let mut candidates: BTreeMap<(&[String], &str), Vec<InFolder<'_>>> = BTreeMap::new();
    for (entry, parts) in images {
        let Some((folders, stem)) = split(parts) else {
            continue;
        };
        for (depth, folder) in folders.iter().enumerate() {
            let (around, inner) = (&folders[..depth], &folders[depth + 1..]);
            if says_nothing(folder) {
                beside.entry((around, inner)).or_default().insert(stem);
            } else if is_named_like_masks(folder) {
                candidates
                    .entry((around, folder))
                    .or_default()
                    .push((*entry, inner, stem));
            }
        }
    }
    let mut masks = HashSet::new();
    for ((around, _), found) in candidates {
        let has_image = |(_, inner, stem): &&(usize, &[String], &str)| {
            beside.get(&(around, *inner)).is_some_and(|stems| {
                stems.contains(stem) || image_of(stem).is_some_and(|image| stems.contains(image))
            })
        };
        if found.iter().filter(has_image).count() * 2 >= found.len() {
            masks.extend(found.iter().map(|(entry, ..)| *entry));
        }
    }
    masks
}

/// The stem of the image that a mask of this stem belongs to.
fn image_of(stem: &str) -> Option<&str> {
    let lower = stem.to_ascii_lowercase();
    ENDS.iter()
        .find(|end| lower.ends_with(**end))
        .map(|end| &stem[..stem.len() - end.len()])
}

/// The folders and the stem of a file.
fn split(parts: &[String]) -> Option<(&[String], &str)> {
    let (name, folders) = parts.split_last()?;
    Some((
        folders,
        name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(paths: &[&str]) -> Vec<usize> {
        let images: Vec<_> = paths
            .iter()
            .map(|path| path.split('/').map(str::to_owned).collect())
            .enumerate()
            .collect();
        let mut found: Vec<usize> = masks(&images).into_iter().collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn masks_are_known_by_their_images() {
        assert_eq!(
            found(&[
                "a/images/1.png",
                "a/images/2.png",
                "a/masks/1.png",
                "a/masks/2.png"
            ]),
            [2, 3]
        );
        assert_eq!(found(&["images/x/1.jpg", "labels/x/1.png"]), [1]);
        assert_eq!(
            found(&[
                "benign/b (1).png",
                "benign/b (1)_mask.png",
                "benign/b (1)_mask_1.png"
            ]),
            [1, 2]
        );
        assert_eq!(found(&["img/1.jpg", "gt/1_gt.png"]), [1]);
        assert_eq!(found(&["JPEGImages/1.jpg", "SegmentationClass/1.png"]), [1]);
    }

    #[test]
    fn classes_with_such_names_are_none() {
        assert!(found(&["mask/1.png", "no_mask/1.png"]).is_empty());
        assert!(found(&["with_mask/1.png", "images/7.png"]).is_empty());
        assert!(found(&["images/1.png", "labels/x.png"]).is_empty());
        assert!(found(&["a/red_mask.png", "a/blue.png"]).is_empty());
    }
}
