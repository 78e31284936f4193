//! From a file name in a table to the image.

use std::{cell::OnceCell, collections::HashMap};

use super::super::layout::class_name;

/// If more images than this share a name, none of them is considered: such a table is useless.
const MAX_NAMESAKES: usize = 64;

/// Whether an image's name is one that is looked for.
type Fits = fn(&str, &str) -> bool;

/// What a name in a table leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    None,
    /// The entry of the image.
    One(usize),
    /// The entries of all images that it could be.
    Several(Vec<usize>),
}

/// The images of an archive, to be found by their paths and by their names.
pub struct Images<'a> {
    all: &'a [(usize, Vec<String>)],
    /// Made when something is looked for: most archives have no table, and very many images.
    index: OnceCell<Index>,
}

#[derive(Default)]
struct Index {
    by_path: HashMap<String, usize>,
    /// Indices into `all`: by name, by name without its extension, the two in lower case, and by the number that a name is.
    by_name: HashMap<String, Vec<usize>>,
    by_stem: HashMap<String, Vec<usize>>,
    by_plain: HashMap<String, Vec<usize>>,
    by_number: HashMap<u64, Vec<usize>>,
}

impl Index {
    fn of(all: &[(usize, Vec<String>)]) -> Self {
        let mut images = Self::default();
        for (place, (entry, parts)) in all.iter().enumerate() {
            let Some(name) = parts.last() else { continue };
            let name = class_name(name);
            images.by_path.insert(class_name(&parts.join("/")), *entry);
            if let Ok(number) = stem(&name).parse() {
                images.by_number.entry(number).or_default().push(place);
            }
            images
                .by_stem
                .entry(stem(&name).to_owned())
                .or_default()
                .push(place);
            images
                .by_plain
                .entry(name.to_lowercase())
                .or_default()
                .push(place);
            images
                .by_plain
                .entry(stem(&name).to_lowercase())
                .or_default()
                .push(place);
            images.by_name.entry(name).or_default().push(place);
        }
        images
    }
}

impl<'a> Images<'a> {
    pub fn new(all: &'a [(usize, Vec<String>)]) -> Self {
        Self {
            all,
            index: OnceCell::new(),
        }
    }

    /// The image that `file` names: relative to the table's folder or the archive's root, by the end of its path, by the longest common end of
    /// the two paths (`/home/me/set/a.png`), then also without its extension, without regard to capitals, or as a number (`7`: `007.png`).
    pub fn find(&self, folder: &[String], file: &str) -> Found {
        let file = class_name(
            file.split(['?', '#'])
                .next()
                .filter(|path| path.contains("://"))
                .unwrap_or(file),
        );
        let folder: Vec<String> = folder.iter().map(|name| class_name(name)).collect();
        let index = self.index.get_or_init(|| Index::of(self.all));
        let from_root = resolved(&[], &file);
        let relative = resolved(&folder, &file);
        for parts in [&relative, &from_root].into_iter().flatten() {
            if let Some(entry) = index.by_path.get(&parts.join("/")) {
                return Found::One(*entry);
            }
        }
        // Where the path comes from does not matter from here on, only how it ends.
        let path: Vec<String> = file
            .split(['/', '\\'])
            .filter(|part| !matches!(*part, "" | "." | ".."))
            .map(str::to_owned)
            .collect();
        let Some(name) = path.last() else {
            return Found::None;
        };
        let plain = name.to_lowercase();
        let number = stem(name)
            .parse()
            .ok()
            .and_then(|number: u64| index.by_number.get(&number));
        let fits: [(Option<&Vec<usize>>, Fits); 4] = [
            (index.by_name.get(name), |image, wanted| image == wanted),
            (index.by_stem.get(name), |image, wanted| stem(image) == wanted),
            (index.by_plain.get(&plain), |image, wanted| {
                let (image, wanted) = (image.to_lowercase(), wanted.to_lowercase());
                image == wanted || stem(&image) == wanted
            }),
            (number, |image, wanted| {
                stem(image).parse::<u64>().ok() == stem(wanted).parse().ok()
            }),
        ];
        fits.into_iter()
            .map(|(places, fits)| self.closest(places, &path, fits))
            .find(|found| *found != Found::None)
            .unwrap_or(Found::None)
    }

    /// Of these images, the ones whose folders have the longest common end with those of the path.
    fn closest(&self, places: Option<&Vec<usize>>, path: &[String], fits: Fits) -> Found {
        let (Some((name, folders)), Some(places)) = (path.split_last(), places) else {
            return Found::None;
        };
        if places.len() > MAX_NAMESAKES {
            return Found::None;
        }
        let mut longest = 0;
        let mut closest = Vec::new();
        for place in places {
            let (entry, parts) = &self.all[*place];
            let Some((image, above)) = parts.split_last() else {
                continue;
            };
            if !fits(&class_name(image), name) {
                continue;
            }
            let common = above
                .iter()
                .rev()
                .zip(folders.iter().rev())
                .take_while(|(a, b)| class_name(a).to_lowercase() == b.to_lowercase())
                .count();
            if common > longest {
                longest = common;
                closest.clear();
            }
            if common == longest {
                closest.push(*entry);
            }
        }
        match closest.as_slice() {
            [] => Found::None,
            [only] => Found::One(*only),
            _ => Found::Several(closest),
        }
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
