//! A bundle as one file: an archive that contains `model.safetensors` and `model.json`, at its top or in one folder.
//!
//! Read with ingest's readers for untrusted archives, entry by entry; nothing is extracted to a path from the archive.

use std::{fs, path::PathBuf};

use super::refusal::Refusal;
use crate::{
    domain::models::model_import::PICKLE,
    limits::IngestLimits,
    protocol::ImportRun,
    worker::{
        files::bundle::{CARD_FILE, WEIGHTS_FILE},
        ingest::{
            archive::{self, Contents, Entry, Gauge, Kind},
            pulse::Heartbeat,
            rejection::Rejection,
        },
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
    },
};

/// Largest card, in bytes.
const MAX_CARD: u64 = 4 << 20;
/// Only two files of a bundle matter; an export may add a few.
const MAX_ENTRIES: u64 = 64;

/// Paths of the two files in the run directory.
pub struct Unpacked {
    pub weights: PathBuf,
    pub card: PathBuf,
}

/// Extracts the two files from the archive.
pub fn unpack(
    spec: &ImportRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<Unpacked> {
    let limits = IngestLimits {
        max_expanded_bytes: spec.max_bytes.saturating_add(16 << 20),
        max_entries: MAX_ENTRIES,
        max_file_bytes: spec.max_bytes,
        ..IngestLimits::DEFAULT
    };
    let heartbeat = Heartbeat::new(reporter, stop);
    let gauge = Gauge::new(&limits, &heartbeat);
    let files = Unpacked {
        weights: dir.file("uploaded.safetensors"),
        card: dir.file("uploaded.json"),
    };
    let (mut weights, mut card) = (false, false);
    let visited = archive::visit(&spec.file, &gauge, &mut |entry| {
        let path = entry.name();
        let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
        let (there, path, most) = match name.as_str() {
            WEIGHTS_FILE => (&mut weights, &files.weights, spec.max_bytes),
            CARD_FILE => (&mut card, &files.card, MAX_CARD),
            "data.pkl" => return Err(Refusal::unsupported(PICKLE).into()),
            _ => return Ok(()),
        };
        if std::mem::replace(there, true) {
            return Err(Refusal::new(format!("the bundle has two files `{name}`")).into());
        }
        let bytes = whole(entry, &name, most)?;
        Ok(fs::write(path, bytes)?)
    });
    visited.map_err(|error| match error.downcast::<Rejection>() {
        Ok(rejection) => in_words(&rejection, spec.max_bytes).into(),
        Err(error) => error,
    })?;
    let missing = [(weights, WEIGHTS_FILE), (card, CARD_FILE)];
    match missing.iter().find(|(there, _)| !there) {
        Some((_, name)) => {
            let message = format!(
                "the bundle has no file `{name}`; it must be an archive of `{WEIGHTS_FILE}` and `{CARD_FILE}`"
            );
            Err(Refusal::new(message).into())
        }
        None => Ok(files),
    }
}

fn whole(entry: &mut Entry, name: &str, most: u64) -> anyhow::Result<Vec<u8>> {
    let contents = match entry.kind {
        Kind::File => entry.contents()?,
        _ => Contents::Damaged,
    };
    match contents {
        Contents::Whole(bytes) if bytes.len() as u64 <= most => Ok(bytes),
        Contents::Whole(_) | Contents::TooLarge => {
            Err(Refusal::new(format!("`{name}` in the bundle is larger than {most} bytes")).into())
        }
        Contents::Damaged => {
            Err(Refusal::new(format!("`{name}` in the bundle cannot be read: it is damaged")).into())
        }
    }
}

/// Rewords ingest's messages about archives of images for a bundle.
fn in_words(rejection: &Rejection, max_bytes: u64) -> Refusal {
    Refusal::new(match rejection.code {
        "too_large" => format!("the bundle expands to more than the {max_bytes} bytes that a model may have"),
        "too_many_entries" => format!("the bundle has more than {MAX_ENTRIES} files"),
        "expansion_ratio" => "a file in the bundle expands more than weights do".to_owned(),
        _ => format!("the bundle cannot be read: {}", rejection.message),
    })
}
