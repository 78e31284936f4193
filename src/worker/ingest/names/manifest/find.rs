//! From a file name in a table to the image.

use std::collections::HashMap;

use super::super::layout::class_name;

/// If more images than this share a name, none of them is considered: such a table is useless.
const MAX_NAMESAKES: usize = 64;

/// The images of an archive by their paths and by their names.
pub struct Images<'a> {
    all: &'a [(usize, Vec<String>)],
    by_path: HashMap<String, usize>,
    /// Indices into `all`, by name and by name without its extension.
    by_name: HashMap<String, Vec<usize>>,
    by_stem: HashMap<String, Vec<usize>>,
}

impl<'a> Images<'a> {
    pub fn new(all: &'a [(usize, Vec<String>)]) -> Self {
        let mut images = Self {
            all,
            by_path: HashMap::new(),
            by_name: HashMap::new(),
            by_stem: HashMap::new(),
        };
        for (place, (entry, parts)) in all.iter().enumerate() {
            let Some(name) = parts.last() else { continue };
            let name = class_name(name);
            images.by_path.insert(class_name(&parts.join("/")), *entry);
            images
                .by_stem
                .entry(stem(&name).to_owned())
                .or_default()
                .push(place);
            images.by_name.entry(name).or_default().push(place);
        }
        images
    }

    /// The entry of the one image that `file` names: relative to the table's folder, to the archive's root, or by the end of its path,
    /// finally also without its extension.
    pub fn find(&self, folder: &[String], file: &str) -> Option<usize> {
        let file = class_name(file);
        let folder: Vec<String> = folder.iter().map(|name| class_name(name)).collect();
        let from_root = resolved(&[], &file);
        let relative = resolved(&folder, &file);
        for parts in [&relative, &from_root].into_iter().flatten() {
            if let Some(entry) = self.by_path.get(&parts.join("/")) {
                return Some(*entry);
            }
        }
        let from_root = from_root?;
        let name = from_root.last()?;
        self.only(self.by_name.get(name), |parts| ends_with(parts, &from_root))
            .or_else(|| self.only(self.by_stem.get(name), |parts| ends_with_stem(parts, &from_root)))
    }

    fn only(&self, places: Option<&Vec<usize>>, fits: impl Fn(&[String]) -> bool) -> Option<usize> {
        let places = places.filter(|places| places.len() <= MAX_NAMESAKES)?;
        let mut fitting = places
            .iter()
            .map(|place| &self.all[*place])
            .filter(|(_, parts)| fits(parts));
        let (entry, _) = fitting.next()?;
        fitting.next().is_none().then_some(*entry)
    }
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// The folders and the name of a file, resolved relative to a folder; none if it leaves the archive.
fn resolved(folder: &[String], file: &str) -> Option<Vec<String>> {
    let mut parts = folder.to_vec();
    for part in file.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part.to_owned()),
        }
    }
    (!parts.is_empty()).then_some(parts)
}

fn ends_with(parts: &[String], end: &[String]) -> bool {
    let behind = parts.len().checked_sub(end.len());
    behind.is_some_and(|behind| parts[behind..].iter().zip(end).all(|(a, b)| class_name(a) == *b))
}

fn ends_with_stem(parts: &[String], end: &[String]) -> bool {
    let Some((name, folders)) = parts.split_last() else {
        return false;
    };
    let mut parts = folders.to_vec();
    parts.push(stem(name).to_owned());
    ends_with(&parts, end)
}
