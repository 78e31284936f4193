//! Adds images to a dataset: an ingest child reads them like an archive, and its files become a segment of the next version.
//!
//! The caller waits. If it disconnects, the child is stopped and nothing changes; the dataset is unchanged until the new version is
//! inserted.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use super::{
    batch::{Packed, place_of},
    ingest::{PACK_SIDE, adopt_segment},
    revise::{Addition, Change, Revised, Target, revise},
};
use crate::{
    domain::{
        datasets::{
            dataset::{Outcome as Found, ReportEntry},
            reading::{ClassSource, ReadOptions},
            split::Split,
        },
        id::DatasetId,
        models::preprocessing::UsedBits,
    },
    error::{Error, Kind, Result},
    jobs::{
        blocking::blocking,
        children::{paths, waited},
        context::Context,
        queue::packs,
    },
    manifest::revision::AddedImage,
    process,
    protocol::{Artifact, IngestResult, IngestRun, ManifestImage, RunResult, RunSpec},
};

/// Class and split of all images of a request.
#[derive(Clone, Debug)]
pub struct Labels {
    pub class: Option<String>,
    pub split: Split,
}

/// The result of a request.
#[derive(Debug)]
pub struct Added {
    /// `None` if there are no new images.
    pub revised: Option<Revised>,
    /// Files that were not added, and why.
    pub skipped: Vec<ReportEntry>,
}

/// Reads the files and adds the usable ones.
///
/// # Errors
/// `version-changed`, `dataset-not-ready`, and invalid class or split.
pub async fn add(context: &Context, target: Target, packed: Packed, labels: Labels) -> Result<Added> {
    let read = read(context, target.dataset, &packed).await?;
    let entries = {
        let (path, names) = (read.report(&packed), packed.names.clone());
        blocking(move || skipped(&path, &names)).await?
    };
    let Read::Images(result) = read else {
        return Ok(Added {
            revised: None,
            skipped: entries,
        });
    };
    let pin = context.blobs.pin().await;
    let segment = adopt_segment(context, packed.dir.path(), &result, &pin).await?;
    let (manifest, names) = (
        packed.dir.path().join(&result.manifest.file),
        packed.names.clone(),
    );
    let images = blocking(move || added(&manifest, &names, &labels)).await?;
    let files: HashMap<usize, (String, Option<String>, Split)> = images
        .iter()
        .enumerate()
        .map(|(place, added)| {
            (
                place,
                (added.image.path.clone(), added.class.clone(), added.image.split),
            )
        })
        .collect();
    let addition = Addition {
        segment,
        bytes: result.images_file.bytes,
        images,
    };
    let revised = revise(context, target, Change::Add(addition), &pin).await;
    drop(pin);
    packs::make_room(context).await;
    if !revised.as_ref().is_ok_and(|revised| revised.changed) {
        context.sweep.notify_one();
    }
    let revised = revised?;
    let mut skipped = entries;
    for (place, id) in &revised.known {
        let Some((path, class, split)) = files.get(place) else {
            continue;
        };
        skipped.push(ReportEntry {
            path: path.clone(),
            outcome: Found::Skipped,
            class: class.clone(),
            split: Some(*split),
            codes: vec!["duplicate".to_owned()],
            message: Some(format!("the dataset already contains this file, as image {id}")),
            labels: Vec::new(),
        });
    }
    Ok(Added {
        revised: Some(revised),
        skipped,
    })
}

/// The child's result.
enum Read {
    Images(Box<IngestResult>),
    /// No usable images.
    Nothing {
        report: Option<Artifact>,
    },
}

impl Read {
    fn report(&self, packed: &Packed) -> Option<std::path::PathBuf> {
        let artifact = match self {
            Read::Images(result) => Some(&result.report_entries),
            Read::Nothing { report } => report.as_ref(),
        };
        let plain = artifact.filter(|artifact| !artifact.file.contains('/'))?;
        Some(packed.dir.path().join(&plain.file))
    }
}

async fn read(context: &Context, dataset: DatasetId, packed: &Packed) -> Result<Read> {
    let _place = context.ingest_workers.acquire().await.map_err(Error::internal)?;
    let used_bits = used_bits(context, dataset).await?;
    let run = RunSpec::Ingest(Box::new(IngestRun {
        dataset,
        archive: packed.archive.clone(),
        sha256: None,
        // The labels come with the request, and every file is meant as an image.
        options: ReadOptions {
            classes: Some(ClassSource::None),
            masks: Some(true),
            ..ReadOptions::default()
        },
        limits: context.config.limits.ingest.clone(),
        threads: process::threads(context.config.ingest_threads),
        pack_side: PACK_SIDE,
        min_free_bytes: context.config.limits.min_free_bytes,
        waits_for_disk: false,
        first_image: 0,
        segment: 0,
        names_only: false,
        used_bits,
    }));
    let kind = run.kind();
    let dir = packed.dir.path().to_owned();
    blocking(move || Ok(paths::write_run(&dir, &run)?)).await?;
    let log = context.log(&dataset);
    match waited::in_folder(context, kind, packed.dir.path(), log, None).await? {
        Some(RunResult::Ingested(result)) => Ok(Read::Images(result)),
        Some(RunResult::Refused(refused)) if refused.code == "no_images" => Ok(Read::Nothing {
            report: refused.report_entries,
        }),
        Some(RunResult::Refused(refused)) => {
            Err(Error::new(Kind::Invalid, "images-unusable", refused.message))
        }
        Some(RunResult::Failed(error)) => Err(waited::refusal("images-unusable", error)),
        _ => Err(waited::of_another_kind(kind)),
    }
}

/// How many bits of its 16-bit images count: those that are added must be read like those that are there.
async fn used_bits(context: &Context, dataset: DatasetId) -> Result<Option<UsedBits>> {
    let dataset = context.store.dataset(&dataset.to_string()).await?;
    let Some(files) = context.store.version_files(dataset.id, dataset.version).await? else {
        return Ok(None);
    };
    let manifest = context.blobs.path(&files.manifest);
    blocking(move || {
        for image in crate::manifest::images(&manifest)? {
            if let Some(used_bits) = image?.used_bits {
                return Ok(Some(used_bits));
            }
        }
        Ok(None)
    })
    .await
}

/// The new images, under the names that the client sent.
fn added(manifest: &Path, names: &[String], labels: &Labels) -> Result<Vec<AddedImage>> {
    let mut images = Vec::new();
    for image in crate::manifest::images(manifest)? {
        let image = image?;
        let name = name_of(&image.path, names)?;
        let path = match &labels.class {
            Some(class) => format!("{class}/{name}"),
            None => name.to_owned(),
        };
        images.push(AddedImage {
            image: ManifestImage {
                path,
                class: None,
                split: labels.split,
                ..image
            },
            class: labels.class.clone(),
        });
    }
    Ok(images)
}

/// Entries of the child's report about unusable files.
fn skipped(report: &Option<std::path::PathBuf>, names: &[String]) -> Result<Vec<ReportEntry>> {
    let Some(path) = report else {
        return Ok(Vec::new());
    };
    let mut skipped = Vec::new();
    for line in BufReader::new(File::open(path)?).lines() {
        let entry: ReportEntry = serde_json::from_str(&line?).map_err(Error::internal)?;
        if entry.outcome != Found::Used {
            let path = name_of(&entry.path, names)?.to_owned();
            skipped.push(ReportEntry {
                path,
                class: None,
                split: None,
                ..entry
            });
        }
    }
    Ok(skipped)
}

fn name_of<'a>(entry: &str, names: &'a [String]) -> Result<&'a str> {
    let name = place_of(entry).and_then(|place| names.get(place));
    let name =
        name.ok_or_else(|| Error::internal(anyhow::anyhow!("the worker reported a file that was not sent")))?;
    Ok(name)
}
