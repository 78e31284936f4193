//! Which images must not be separated: those with the same bytes, and those that the caller groups.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Images belong together when their file names share a prefix, whatever folders they are in. With `_` and 2 the files `patient_001_a.png`
/// and `patient_001_b.png` are one group, `patient_001`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupBy {
    /// The separator in file names, 1 to 8 characters.
    #[schema(min_length = 1, max_length = 8, default = "_", example = "_")]
    pub separator: String,
    /// How many of the leading pieces name the group, 1 to 16. A name with fewer pieces is a group of its own, without its extension.
    #[schema(minimum = 1, maximum = 16, default = 1)]
    pub parts: u32,
}

impl GroupBy {
    /// The prefix of the file name that names its group.
    fn key<'a>(&self, path: &'a str) -> &'a str {
        let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let ends = stem.match_indices(self.separator.as_str());
        let end = ends.map(|(at, _)| at).nth(self.parts.saturating_sub(1) as usize);
        end.map_or(stem, |end| &stem[..end])
    }
}

/// The group of each image, given its path and the SHA-256 of its file: numbers from 0 on, in the order in which groups first appear. Two
/// images are in one group if anything ties them together, directly or through others.
pub fn groups<'a>(
    images: impl IntoIterator<Item = (&'a str, &'a str)>,
    group_by: Option<&GroupBy>,
) -> Vec<u32> {
    let mut sets = Sets::default();
    let mut by_bytes: HashMap<&str, usize> = HashMap::new();
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    for (image, (path, sha256)) in images.into_iter().enumerate() {
        sets.parents.push(image);
        sets.join(image, *by_bytes.entry(sha256).or_insert(image));
        if let Some(group_by) = group_by {
            sets.join(image, *by_name.entry(group_by.key(path)).or_insert(image));
        }
    }
    let mut numbers: HashMap<usize, u32> = HashMap::new();
    (0..sets.parents.len())
        .map(|image| {
            let next = numbers.len() as u32;
            *numbers.entry(sets.root(image)).or_insert(next)
        })
        .collect()
}

/// Disjoint sets (Tarjan 1975, with path halving); when two sets are joined the earlier root stays.
#[derive(Default)]
struct Sets {
    parents: Vec<usize>,
}

impl Sets {
    fn root(&mut self, mut item: usize) -> usize {
        while self.parents[item] != item {
            self.parents[item] = self.parents[self.parents[item]];
            item = self.parents[item];
        }
        item
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.parents[one.max(other)] = one.min(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_up_to_a_separator_names_its_group() {
        let key = |separator: &str, parts, path| {
            let separator = separator.to_owned();
            GroupBy { separator, parts }.key(path).to_owned()
        };
        assert_eq!(key("_", 2, "sick/patient_001_a.png"), "patient_001");
        assert_eq!(key("_", 1, "sick/patient_001_a.png"), "patient");
        assert_eq!(key("-", 1, "a_b/7-left.jpg"), "7");
        assert_eq!(key("_", 3, "patient_001.png"), "patient_001", "too few pieces");
        assert_eq!(key("__", 1, "film_3__0001"), "film_3");
        assert_eq!(key("é", 1, "caféx.png"), "caf");
    }

    #[test]
    fn what_is_tied_by_bytes_or_by_name_is_one_group() {
        let images = [
            ("a/x_1.png", "1"),
            ("a/y_1.png", "2"),
            ("b/x_2.png", "3"),
            ("b/z_1.png", "2"),
            ("b/w_1.png", "4"),
        ];
        assert_eq!(groups(images, None), [0, 1, 2, 1, 3]);
        let group_by = GroupBy {
            separator: "_".into(),
            parts: 1,
        };
        assert_eq!(groups(images, Some(&group_by)), [0, 1, 0, 1, 2]);
        let chain = [("x_1", "1"), ("y_1", "2"), ("x_2", "2"), ("y_2", "3")];
        assert_eq!(groups(chain, Some(&group_by)), [0, 0, 0, 0]);
    }
}
