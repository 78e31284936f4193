//! From one manifest to the next: every image of the version before passes by once to be counted and once to be written.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    io::Write,
    path::Path,
};

use super::{Summary, Tally, images};
use crate::{
    domain::datasets::{
        split::Split,
        version::{Change, ChangeKind},
    },
    error::{Error, Result},
    protocol::ManifestImage,
};

/// What is to become of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageEdit {
    Remove,
    /// None: as it is.
    Change {
        /// The names of its classes: usually one.
        labels: Option<Vec<String>>,
        split: Option<Split>,
    },
}

impl ImageEdit {
    /// Another class.
    pub fn class(name: String) -> Self {
        ImageEdit::Change {
            labels: Some(vec![name]),
            split: None,
        }
    }
}

/// What is to become of the images of the version before.
#[derive(Clone, Debug)]
pub enum Edit {
    Keep,
    /// By their ids.
    Images(HashMap<u32, ImageEdit>),
    /// The part of each, in the order of the manifest.
    Parts(Vec<Split>),
}

/// An image that the version before does not have, and the name of its class.
#[derive(Clone, Debug)]
pub struct AddedImage {
    pub image: ManifestImage,
    pub class: Option<String>,
}

/// The next version, before it is written.
#[derive(Clone, Debug)]
pub struct Revision {
    /// Names of the classes of the version before, in their order.
    pub classes: Vec<String>,
    pub edit: Edit,
    /// With ids above all of the version before, in their order.
    pub added: Vec<AddedImage>,
}

/// What a revision comes to.
#[derive(Debug)]
pub struct Plan {
    pub kind: ChangeKind,
    pub change: Change,
    pub images: u64,
    /// Classes that show an image, sorted; the others are no more.
    pub classes: Vec<String>,
    /// Ids that were to be changed and that the version before does not have.
    pub missing: HashSet<u32>,
}

/// Names of an image's classes, in the order of the names; none in an unlabelled dataset.
type Labels<'a> = Option<Vec<&'a str>>;

/// What was written.
#[derive(Debug)]
pub struct Written {
    pub summary: Summary,
    /// Segments that the manifest names.
    pub segments: Vec<u32>,
}

impl Revision {
    /// Counts what would be written.
    pub fn plan(&self, before: &Path, kind: ChangeKind) -> Result<Plan> {
        let mut change = Change::of(kind);
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let mut missing: HashSet<u32> = match &self.edit {
            Edit::Images(edits) => edits.keys().copied().collect(),
            Edit::Keep | Edit::Parts(_) => HashSet::new(),
        };
        let mut kept = 0;
        for (place, image) in images(before)?.enumerate() {
            let image = image?;
            missing.remove(&image.id);
            let Some((labels, split)) = self.outcome(place, &image)? else {
                change.removed += 1;
                continue;
            };
            change.relabelled += u64::from(labels != self.labels_of(&image)?);
            change.moved += u64::from(split != image.split);
            kept += 1;
            for class in labels.into_iter().flatten() {
                *counts.entry(class).or_default() += 1;
            }
        }
        for added in &self.added {
            if let Some(class) = &added.class {
                *counts.entry(class).or_default() += 1;
            }
        }
        change.added = self.added.len() as u64;
        Ok(Plan {
            kind,
            images: kept + change.added,
            change,
            classes: counts.into_keys().map(str::to_owned).collect(),
            missing,
        })
    }

    /// Writes the manifest that was planned.
    pub fn write(&self, before: &Path, plan: &Plan, out: &mut (impl Write + ?Sized)) -> Result<Written> {
        let indices: HashMap<&str, u32> = plan.classes.iter().map(String::as_str).zip(0..).collect();
        let mut tally = Tally::new(plan.classes.iter().cloned());
        let mut segments = BTreeSet::new();
        let mut put = |image: ManifestImage, labels: Option<Vec<&str>>, split| -> Result<()> {
            let numbered = labels.map(|labels| {
                let mut numbers: Vec<u32> = labels.iter().map(|class| indices[class]).collect();
                numbers.sort_unstable();
                numbers
            });
            let mut image = image.with_labels(numbered);
            image.split = split;
            tally.count(&image)?;
            segments.insert(image.segment);
            serde_json::to_writer(&mut *out, &image).map_err(std::io::Error::from)?;
            out.write_all(b"\n")?;
            Ok(())
        };
        for (place, image) in images(before)?.enumerate() {
            let image = image?;
            if let Some((labels, split)) = self.outcome(place, &image)? {
                put(image, labels, split)?;
            }
        }
        for added in &self.added {
            let labels = added.class.as_deref().map(|class| vec![class]);
            put(added.image.clone(), labels, added.image.split)?;
        }
        Ok(Written {
            summary: tally.finish(),
            segments: segments.into_iter().collect(),
        })
    }

    /// Labels and part of an image of the version before; none where it goes.
    fn outcome(&self, place: usize, image: &ManifestImage) -> Result<Option<(Labels<'_>, Split)>> {
        let (labels, split) = (self.labels_of(image)?, image.split);
        Ok(match &self.edit {
            Edit::Keep => Some((labels, split)),
            Edit::Parts(parts) => {
                let part = parts.get(place).copied();
                Some((labels, part.ok_or_else(|| broken(image))?))
            }
            Edit::Images(edits) => match edits.get(&image.id) {
                None => Some((labels, split)),
                Some(ImageEdit::Remove) => None,
                Some(ImageEdit::Change {
                    labels: others,
                    split: part,
                }) => {
                    let others = others.as_ref().map(|others| {
                        let mut names: Vec<&str> = others.iter().map(String::as_str).collect();
                        names.sort_unstable();
                        names.dedup();
                        names
                    });
                    Some((others.or(labels), part.unwrap_or(split)))
                }
            },
        })
    }

    fn labels_of(&self, image: &ManifestImage) -> Result<Labels<'_>> {
        if !image.is_labelled() {
            return Ok(None);
        }
        let name = |index: &u32| self.classes.get(*index as usize).map(String::as_str);
        let names: Option<Vec<&str>> = image.label_set().iter().map(name).collect();
        names.map(Some).ok_or_else(|| broken(image))
    }
}

fn broken(image: &ManifestImage) -> Error {
    Error::internal(anyhow::anyhow!(
        "image {} does not fit its dataset version",
        image.id
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: u32, class: u32) -> ManifestImage {
        ManifestImage {
            id,
            segment: 0,
            path: format!("{id}.png"),
            class: Some(class),
            labels: None,
            split: Split::Train,
            sha256: id.to_string(),
            offset: 0,
            bytes: 1,
            width: 1,
            height: 1,
            pack_offset: 0,
            pack_width: 1,
            pack_height: 1,
            pack_crc32: None,
            used_bits: None,
        }
    }

    /// The manifest of one image of class `b` and two of class `d`.
    fn before() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = [image(0, 0), image(3, 1), image(5, 1)]
            .map(|image| serde_json::to_string(&image).unwrap() + "\n");
        std::fs::write(file.path(), lines.concat()).unwrap();
        file
    }

    fn revised(edit: Edit, added: Vec<AddedImage>) -> (Plan, Written, Vec<ManifestImage>) {
        let (file, after) = (before(), tempfile::NamedTempFile::new().unwrap());
        let revision = Revision {
            classes: vec!["b".into(), "d".into()],
            edit,
            added,
        };
        let plan = revision.plan(file.path(), ChangeKind::Edit).unwrap();
        let written = revision.write(file.path(), &plan, &mut after.as_file()).unwrap();
        let images = images(after.path()).unwrap().map(Result::unwrap).collect();
        (plan, written, images)
    }

    fn relabel(class: &str) -> ImageEdit {
        ImageEdit::class(class.into())
    }

    #[test]
    fn an_image_gets_several_labels_or_none_and_keeps_them() {
        let labels = |names: &[&str]| ImageEdit::Change {
            labels: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            split: None,
        };
        let edits = HashMap::from([(0, labels(&["d", "a", "d"])), (5, labels(&[]))]);
        let (plan, written, images) = revised(Edit::Images(edits), Vec::new());
        assert_eq!(plan.classes, ["a", "d"]);
        assert_eq!((plan.change.relabelled, written.summary.several_labels), (2, 2));
        let found: Vec<_> = images
            .iter()
            .map(|image| (image.class, image.label_set().to_vec()))
            .collect();
        assert_eq!(found, [(None, vec![0, 1]), (Some(1), vec![1]), (None, vec![])]);
        assert_eq!(written.summary.classes[1].images, 2);
    }

    #[test]
    fn a_new_class_takes_its_place_in_the_order_and_an_empty_one_goes() {
        let edits = HashMap::from([(0, relabel("c")), (5, relabel("a")), (9, ImageEdit::Remove)]);
        let (plan, written, images) = revised(Edit::Images(edits), Vec::new());
        assert_eq!(plan.classes, ["a", "c", "d"]);
        assert_eq!((plan.change.relabelled, plan.images), (2, 3));
        assert_eq!(plan.missing, HashSet::from([9]));
        let classes: Vec<_> = images
            .iter()
            .map(|image| (image.id, image.class.unwrap()))
            .collect();
        assert_eq!(classes, [(0, 1), (3, 2), (5, 0)]);
        assert_eq!(written.summary.classes[2].images, 1);
    }

    #[test]
    fn images_go_and_come_and_the_content_tells() {
        let nothing = revised(Edit::Keep, Vec::new());
        assert!(nothing.0.change.is_nothing());
        let removed = revised(Edit::Images(HashMap::from([(3, ImageEdit::Remove)])), Vec::new());
        assert_eq!((removed.0.change.removed, removed.2.len()), (1, 2));
        let new = AddedImage {
            image: ManifestImage {
                segment: 2,
                split: Split::Val,
                sha256: "3".into(),
                ..image(6, 0)
            },
            class: Some("d".into()),
        };
        let added = revised(Edit::Images(HashMap::from([(3, ImageEdit::Remove)])), vec![new]);
        assert_eq!(
            (added.1.segments.as_slice(), added.1.summary.splits.val),
            (&[0, 2][..], 1)
        );
        assert_eq!(added.2[2].class, Some(1));
        let parts = revised(
            Edit::Parts(vec![Split::Train, Split::Train, Split::Val]),
            Vec::new(),
        );
        assert_eq!(parts.0.change.moved, 1);
        // The same file under the same label in the same part is the same content, whatever its id.
        let edit = ImageEdit::Change {
            labels: None,
            split: Some(Split::Val),
        };
        let moved = revised(Edit::Images(HashMap::from([(3, edit)])), Vec::new());
        let digests = [&nothing, &removed, &added, &parts, &moved]
            .map(|(_, written, _)| &written.summary.content_sha256);
        let different: HashSet<_> = digests.iter().collect();
        assert_eq!(different.len(), 4);
        assert_eq!(digests[2], digests[4]);
    }
}
