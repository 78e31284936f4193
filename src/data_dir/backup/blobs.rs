//! The blobs of a backup: carrying one, and looking whether all are there.

use std::collections::HashSet;

use anyhow::{Context, ensure};

use super::carrier::Carrier;
use crate::{
    blobs::Blobs,
    files::{digest, private},
};

/// Digests that a message names.
const SHOWN: usize = 3;

/// False where the blob is neither in its place nor in the trash.
pub fn carry_blob(from: &Blobs, to: &Blobs, sha256: &str, carrier: &mut Carrier) -> anyhow::Result<bool> {
    let target = to.path(sha256);
    private::create_dir_all(target.parent().unwrap_or(&target))?;
    for place in from.places(sha256) {
        let carried = carrier
            .carry(&place, &target, Some(sha256))
            .with_context(|| format!("cannot copy {}", place.display()))?;
        if carried {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether every named blob is there, as a file of its own; `deep`: with its contents.
pub fn verify(blobs: &Blobs, named: &HashSet<String>, deep: bool) -> anyhow::Result<()> {
    let mut faulty = Vec::new();
    for sha256 in named {
        let path = blobs.path(sha256);
        let is_there = path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
        if !is_there || (deep && !digest::holds(&path, sha256)?) {
            faulty.push(sha256);
        }
    }
    faulty.sort();
    ensure!(
        faulty.is_empty(),
        "{} files are missing or do not match their digests, such as {}: `finetuned fsck --deep` lists the damaged ones",
        faulty.len(),
        shown(&faulty)
    );
    Ok(())
}

pub fn shown(digests: &[&String]) -> String {
    let first: Vec<&str> = digests.iter().take(SHOWN).map(|digest| digest.as_str()).collect();
    first.join(", ")
}
