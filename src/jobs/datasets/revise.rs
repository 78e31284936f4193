//! Creates the next version of a dataset: the newest manifest with the change applied becomes a blob and then a row.
//!
//! Changes of a dataset are made one at a time, each on top of the previous version. A client can require that the version it has seen is
//! still the newest, and is refused otherwise.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use crate::{
    blobs::Pin,
    domain::{
        datasets::{
            dataset::{Dataset, DatasetStatus, Layout},
            split::{self, Split, SplitSpec},
            version::ChangeKind,
        },
        id::DatasetId,
    },
    error::{Error, FieldError, Kind, Result},
    jobs::context::Context,
    limits::IngestLimits,
    manifest::{
        self,
        revision::{AddedImage, Edit, ImageEdit, Plan, Revision, Written},
    },
    protocol::ManifestImage,
    store::{NewVersion, SegmentFiles},
};

/// The dataset to change.
#[derive(Clone, Debug)]
pub struct Target {
    pub dataset: DatasetId,
    /// Versions of which one must be the newest; `None` for any.
    pub expected: Option<Vec<u32>>,
}

/// The change.
#[derive(Clone, Debug)]
pub enum Change {
    /// Edits of images by their ids.
    Edit(Vec<(u32, ImageEdit)>),
    /// Assigns every image to a split again.
    Split(SplitSpec),
    Add(Addition),
}

/// Images that an ingest child has read; their files are already blobs.
#[derive(Clone, Debug)]
pub struct Addition {
    pub segment: SegmentFiles,
    /// Size of their files together.
    pub bytes: u64,
    /// As the child wrote them, except for paths and labels. Their ids and segment are assigned here.
    pub images: Vec<AddedImage>,
}

/// The result of a change.
#[derive(Debug)]
pub struct Revised {
    /// At its newest version, which is the previous one if nothing changed.
    pub dataset: Dataset,
    pub changed: bool,
    /// Added images that the dataset already had: their indices in the addition, with their ids.
    pub known: Vec<(usize, u32)>,
    /// The other added images, as they are in the new version.
    pub added: Vec<ManifestImage>,
}

/// Applies a change. `pin` keeps the blobs of an addition.
///
/// # Errors
/// `version-changed`, `dataset-not-ready`, `quota-bytes`, and what is invalid in the change.
pub async fn revise(context: &Context, target: Target, change: Change, pin: &Pin) -> Result<Revised> {
    let _alone = context.changes.hold(target.dataset).await;
    let dataset = context.store.dataset(&target.dataset.to_string()).await?;
    check_target(&dataset, &target)?;
    let files = context.store.version_files(dataset.id, dataset.version).await?;
    let files = files.ok_or_else(|| Error::internal(anyhow::anyhow!("a ready dataset has no files")))?;
    let (next_image, next_segment) = context.store.next_of_dataset(dataset.id).await?;
    let before = context.blobs.sound(&files.manifest, || {
        format!(
            "the manifest of the dataset `{}` (version {})",
            dataset.name, dataset.version
        )
    });
    let before = before.await?;
    let limits = context.config.limits.ingest.clone();
    let blobs = context.blobs.clone();
    let shown = dataset.clone();
    let drafted = tokio::task::spawn_blocking(move || -> Result<Drafted> {
        let draft = draft(&shown, change, &before, next_image, next_segment)?;
        let plan = draft.revision.plan(&before, draft.kind)?;
        check(&shown, &draft, &plan, &limits)?;
        if plan.change.is_nothing() {
            return Ok(Drafted {
                draft,
                plan,
                written: None,
            });
        }
        let (spooled, written) = blobs.write(|out| draft.revision.write(&before, &plan, out))?;
        Ok(Drafted {
            draft,
            plan,
            written: Some((spooled, written)),
        })
    });
    let Drafted { draft, plan, written } = drafted.await.map_err(Error::internal)??;
    let added = draft.revision.added.into_iter().map(|added| {
        let place = added
            .class
            .and_then(|class| plan.classes.binary_search(&class).ok());
        ManifestImage {
            class: place.map(|place| place as u32),
            ..added.image
        }
    });
    let added = added.collect();
    let Some((spooled, written)) = written else {
        return Ok(Revised {
            dataset,
            changed: false,
            known: draft.known,
            added,
        });
    };
    let manifest = spooled.sha256.clone();
    context.blobs.keep(spooled, pin).await?;
    let Written { summary, segments } = written;
    let mut change = plan.change;
    change.split = draft.split;
    let new = NewVersion {
        dataset: dataset.id,
        version: dataset.version + 1,
        change,
        images: summary.images,
        classes: summary.classes,
        splits: summary.splits,
        several_labels: summary.several_labels,
        content_sha256: summary.content_sha256,
        manifest,
        segments,
        new_segment: draft.segment,
        next_image: draft.next_image,
        added_bytes: draft.added_bytes,
    };
    if !context.store.add_version(new).await? {
        context.sweep.notify_one();
        return Err(Error::newer_version());
    }
    Ok(Revised {
        dataset: context.store.dataset(&dataset.id.to_string()).await?,
        changed: true,
        known: draft.known,
        added,
    })
}

struct Drafted {
    draft: Draft,
    plan: Plan,
    written: Option<(crate::blobs::Spooled, Written)>,
}

/// A change relative to the previous version.
struct Draft {
    kind: ChangeKind,
    revision: Revision,
    split: Option<SplitSpec>,
    segment: Option<SegmentFiles>,
    added_bytes: u64,
    next_image: u32,
    known: Vec<(usize, u32)>,
    /// Ids in the order in which the client sent them.
    asked: Vec<u32>,
}

/// Whether a dataset can be changed, and is at the version that the client expects.
pub fn check_target(dataset: &Dataset, target: &Target) -> Result<()> {
    if dataset.status != DatasetStatus::Ready {
        let detail = match dataset.status {
            DatasetStatus::Processing => "the dataset is still being processed; wait for it with ?wait=60",
            _ => "the dataset has failed; its `error` says why",
        };
        return Err(Error::new(Kind::Conflict, "dataset-not-ready", detail));
    }
    match &target.expected {
        Some(expected) if !expected.contains(&dataset.version) => Err(Error::newer_version()),
        _ => Ok(()),
    }
}

fn draft(
    dataset: &Dataset,
    change: Change,
    before: &Path,
    next_image: u32,
    next_segment: u32,
) -> Result<Draft> {
    let revision = |edit| Revision {
        classes: dataset.classes.iter().map(|class| class.name.clone()).collect(),
        edit,
        added: Vec::new(),
    };
    let mut draft = Draft {
        kind: ChangeKind::Edit,
        revision: revision(Edit::Keep),
        split: None,
        segment: None,
        added_bytes: 0,
        next_image,
        known: Vec::new(),
        asked: Vec::new(),
    };
    match change {
        Change::Edit(edits) => {
            draft.asked = edits.iter().map(|(id, _)| *id).collect();
            draft.revision.edit = Edit::Images(edits.into_iter().collect());
        }
        Change::Split(spec) => {
            draft.kind = ChangeKind::Split;
            draft.revision.edit = Edit::Parts(parts(before, &spec)?);
            draft.split = Some(spec);
        }
        Change::Add(addition) => {
            draft.kind = ChangeKind::Add;
            add(&mut draft, addition, before, next_segment)?;
        }
    }
    Ok(draft)
}

/// Assigns each image to a split again; images of an unlabelled dataset count as one class, and those with several labels as of the rarest.
fn parts(before: &Path, spec: &SplitSpec) -> Result<Vec<Split>> {
    let (mut labels, mut files) = (Vec::new(), Vec::new());
    for image in manifest::images(before)? {
        let image = image?;
        labels.push(image.label_set().to_vec());
        files.push((image.path, image.sha256));
    }
    let labels = split::rarest_labels(&labels);
    let files = files
        .iter()
        .map(|(path, sha256)| (path.as_str(), sha256.as_str()));
    let groups = split::groups(files, spec.group_by.as_ref());
    Ok(split::stratified(&labels, &groups, spec.shares(), spec.seed))
}

/// Assigns ids to the new images. Files that the dataset already has are left out, so a repeated request changes nothing.
fn add(draft: &mut Draft, addition: Addition, before: &Path, next_segment: u32) -> Result<()> {
    let wanted: HashSet<&str> = addition
        .images
        .iter()
        .map(|added| added.image.sha256.as_str())
        .collect();
    let mut ids: HashMap<String, u32> = HashMap::new();
    for image in manifest::images(before)? {
        let image = image?;
        if wanted.contains(image.sha256.as_str()) {
            ids.entry(image.sha256).or_insert(image.id);
        }
    }
    for (place, mut added) in addition.images.into_iter().enumerate() {
        if let Some(id) = ids.get(&added.image.sha256) {
            draft.known.push((place, *id));
            continue;
        }
        added.image.id = draft.next_image;
        added.image.segment = next_segment;
        ids.insert(added.image.sha256.clone(), added.image.id);
        draft.next_image = draft.next_image.checked_add(1).ok_or_else(too_many)?;
        draft.revision.added.push(added);
    }
    draft.added_bytes = addition.bytes;
    draft.segment = Some(SegmentFiles {
        number: next_segment,
        ..addition.segment
    });
    Ok(())
}

fn check(dataset: &Dataset, draft: &Draft, plan: &Plan, limits: &IngestLimits) -> Result<()> {
    let unlabelled = dataset.layout == Some(Layout::Unlabelled);
    if let Edit::Images(edits) = &draft.revision.edit {
        let missing: Vec<FieldError> = (0..)
            .zip(&draft.asked)
            .filter(|(_, id)| plan.missing.contains(id))
            .map(|(place, id): (usize, _)| {
                let message = format!("the dataset's newest version has no image {id}");
                FieldError::new(format!("/images/{place}/id"), "not_found", message)
            })
            .collect();
        if !missing.is_empty() {
            return Err(Error::fields("some of the images do not exist", missing));
        }
        let labels = |edit: &ImageEdit| matches!(edit, ImageEdit::Change { labels: Some(_), .. });
        if unlabelled && edits.values().any(labels) {
            let message =
                "the dataset has no classes, so its images cannot be given one; upload them in class folders";
            let fault = FieldError::new("/class", "unlabelled", message);
            return Err(Error::fields(message, vec![fault]));
        }
    }
    for added in &draft.revision.added {
        check_labels(dataset, added.class.as_deref())?;
    }
    if plan.images == 0 {
        let detail = "the dataset would have no images left; delete it instead";
        return Err(Error::new(Kind::Invalid, "dataset-empty", detail));
    }
    if plan.classes.len() > limits.max_classes {
        let message = format!(
            "the dataset would have {} classes; the limit is {}",
            plan.classes.len(),
            limits.max_classes
        );
        let fault = FieldError::new("/class", "range", message.as_str());
        return Err(Error::fields(message, vec![fault]));
    }
    if plan.change.added > 0 && plan.images > limits.max_entries {
        return Err(too_many());
    }
    Ok(())
}

/// Whether images of this class can be added to the dataset.
pub fn check_labels(dataset: &Dataset, class: Option<&str>) -> Result<()> {
    let (code, message) = match (dataset.layout == Some(Layout::Unlabelled), class) {
        (true, Some(_)) => (
            "unlabelled",
            "the dataset has no classes; add images to it without `class`",
        ),
        (false, None) => ("missing", "the images need a class: add ?class=NAME to the URL"),
        _ => return Ok(()),
    };
    Err(Error::fields(
        message,
        vec![FieldError::new("/class", code, message)],
    ))
}

fn too_many() -> Error {
    let detail = "the dataset would have more images than the server allows (`max_entries`)";
    Error::new(Kind::TooLarge, "too-many-images", detail)
}
