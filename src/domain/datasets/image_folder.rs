//! The paths of a dataset version's images in a download: class folders, inside split folders where there is more than one split.
//! Torchvision's `ImageFolder` reads such a folder with the same classes, and so does the server.

use std::collections::HashSet;

use super::split::Split;

/// Extensions that `ImageFolder` accepts (torchvision 0.26, `IMG_EXTENSIONS`); it ignores files with other ones.
const TAKEN: [&str; 9] = ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"];
/// Appended to every other name. Readers go by the content, so it need not be true.
const ADDED: &str = ".png";
/// Longest name of a file or folder, in bytes: the limit of common file systems.
const LONGEST: usize = 255;
/// Top-level folders with these names would be mistaken for splits.
const PARTS: [&str; 7] = [
    "train",
    "training",
    "val",
    "valid",
    "validation",
    "test",
    "testing",
];

/// Gives every image a unique path. The same images in the same order get the same paths.
pub struct ImageFolder {
    /// For each class, by its index.
    folders: Vec<String>,
    with_parts: bool,
    /// In lower case: many file systems treat `A.png` and `a.png` as the same.
    taken: HashSet<String>,
}

impl ImageFolder {
    /// `classes`: their names; `one_part`: whether all images are in the training split.
    pub fn new<'a>(classes: impl IntoIterator<Item = &'a str>, one_part: bool) -> Self {
        let mut used = HashSet::new();
        let mut folders = Vec::new();
        for class in classes {
            let name = shortened(&safe(class, "class"), LONGEST).to_owned();
            let mut folder = name.clone();
            let mut number = 1;
            while !used.insert(folder.clone()) {
                number += 1;
                folder = format!("{}-{number}", shortened(&name, LONGEST - 8));
            }
            folders.push(folder);
        }
        let looks_divided = |folder: &String| PARTS.contains(&folder.to_lowercase().as_str());
        Self {
            with_parts: !one_part || folders.iter().any(looks_divided),
            folders,
            taken: HashSet::new(),
        }
    }

    /// The path of an image; `original` is its path in the archive.
    pub fn path(&mut self, class: Option<u32>, split: Split, original: &str, id: u32) -> String {
        let mut folder = String::new();
        if self.with_parts {
            folder.push_str(match split {
                Split::Train => "train/",
                Split::Val => "val/",
                Split::Test => "test/",
            });
        }
        if let Some(class) = class.and_then(|class| self.folders.get(class as usize)) {
            folder.push_str(class);
            folder.push('/');
        }
        let name = safe(original.rsplit('/').next().unwrap_or(original), "image");
        let (stem, extension) = match name.rsplit_once('.') {
            Some((stem, extension)) if TAKEN.contains(&extension.to_lowercase().as_str()) => {
                (stem, format!(".{extension}"))
            }
            _ => (name.as_str(), ADDED.to_owned()),
        };
        let mut path = format!(
            "{folder}{}{extension}",
            shortened(stem, LONGEST - extension.len())
        );
        if !self.taken.insert(path.to_lowercase()) {
            let ending = format!("-{id}{extension}");
            path = format!("{folder}{}{ending}", shortened(stem, LONGEST - ending.len()));
            self.taken.insert(path.to_lowercase());
        }
        path
    }
}

/// A harmless name: no separators, nothing hidden, no terminal escapes. Everything else is kept, because the folder's name is the class's.
fn safe(name: &str, otherwise: &str) -> String {
    let harmless = |c: char| {
        if c.is_control() || matches!(c, '/' | '\\') {
            '_'
        } else {
            c
        }
    };
    let kept: String = name.chars().map(harmless).collect();
    let kept = match kept.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => kept,
    };
    if kept.trim().is_empty() {
        return otherwise.to_owned();
    }
    kept
}

fn shortened(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_what_they_are_where_they_can() {
        let mut folder = ImageFolder::new(["ants", "two words"], true);
        assert_eq!(
            folder.path(Some(0), Split::Train, "deep/down/a.JPG", 1),
            "ants/a.JPG"
        );
        assert_eq!(
            folder.path(Some(0), Split::Train, "other/a.jpg", 2),
            "ants/a-2.jpg"
        );
        assert_eq!(folder.path(Some(1), Split::Train, "a.jpg", 3), "two words/a.jpg");
        assert_eq!(
            folder.path(Some(1), Split::Train, "no extension", 4),
            "two words/no extension.png"
        );
        assert_eq!(
            folder.path(Some(1), Split::Train, "first.gif", 5),
            "two words/first.gif.png"
        );
        assert_eq!(folder.path(None, Split::Train, "b.png", 6), "b.png");
    }

    #[test]
    fn parts_get_folders_and_so_does_everything_where_a_class_is_called_like_one() {
        let mut folder = ImageFolder::new(["ants"], false);
        assert_eq!(folder.path(Some(0), Split::Val, "a.png", 1), "val/ants/a.png");
        let mut folder = ImageFolder::new(["other", "Test"], true);
        assert_eq!(folder.path(Some(1), Split::Train, "a.png", 1), "train/Test/a.png");
    }

    #[test]
    fn no_name_leads_anywhere() {
        let mut folder = ImageFolder::new(["..", "a/b", "a_b", "\u{1b}[31m", ".x", "why? \"so\"", ""], true);
        let folders: Vec<String> = (0..7)
            .map(|class| folder.path(Some(class), Split::Train, "..", class))
            .collect();
        let expected = ["_.", "a_b", "a_b-2", "_[31m", "_x", "why? \"so\"", "class"];
        assert_eq!(folders, expected.map(|name| format!("{name}/_..png")));
        let long = folder.path(None, Split::Train, &format!("{}.jpg", "é".repeat(400)), 9);
        assert!(long.len() <= LONGEST && long.ends_with("é.jpg"), "{long}");
        let again = folder.path(None, Split::Train, &format!("{}.jpg", "é".repeat(400)), 10);
        assert!(again.len() <= LONGEST && again.ends_with("é-10.jpg"), "{again}");
    }
}
