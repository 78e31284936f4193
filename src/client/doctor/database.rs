//! The database and what belongs to it, as `finetuned fsck` looks at them.

use super::{finding::Finding, place::Place};
use crate::{
    data_dir::{Report, fsck},
    domain::time::Timestamp,
};

const CHECK: &str = "database";

/// What came of looking at it.
pub struct Looked {
    pub findings: Vec<Finding>,
    /// The time of the newest row.
    pub newest: Option<Timestamp>,
}

pub async fn examine(place: &Place) -> Looked {
    let (mut findings, mut newest) = (Vec::new(), None);
    let is_new = !place.data_dir.join("finetuned.db").exists();
    if !place.is_there() {
        findings.push(Finding::ok(CHECK, "the first start makes it"));
        return Looked { findings, newest };
    }
    match fsck(&place.data_dir, false).await {
        Ok(report) if is_new && report.mismatch.is_none() => {
            findings.push(Finding::ok(CHECK, "the first start makes it"));
        }
        Ok(report) => {
            findings.extend([schema(&report), files(&report)]);
            newest = report.database.newest;
        }
        Err(error) => findings.push(Finding::problem(
            CHECK,
            format!("cannot be looked at: {error:#}"),
            "the user that runs the server must own the data directory",
        )),
    }
    Looked { findings, newest }
}

/// What the database says of itself.
fn schema(report: &Report) -> Finding {
    let newest = report.database.supported;
    let faults = &report.database.faults;
    let migration = report.database.migration;
    if migration.is_some_and(|migration| migration > newest) {
        return Finding::problem(
            CHECK,
            format!(
                "made by a newer version of finetuned (migration {}; this one supports up to {newest})",
                migration.unwrap_or(0)
            ),
            "start that version, or restore a backup that this version made",
        );
    }
    if let Some(first) = faults.first() {
        return Finding::problem(
            CHECK,
            format!("{} faults, the first: {first}", faults.len()),
            "restore it from a backup (`finetuned restore`); `finetuned fsck` lists the faults",
        );
    }
    match migration {
        None => Finding::problem(
            CHECK,
            "finetuned.db is not a database of finetuned",
            "replace it by the one that belongs there, or name another --data-dir",
        ),
        Some(migration) if migration < newest => Finding::warning(
            CHECK,
            format!("sound, of an earlier version (migration {migration} of {newest})"),
            "the next start upgrades it, and then no earlier version can use it: make a backup with the version that wrote it",
        ),
        Some(migration) => Finding::ok(CHECK, format!("sound, migration {migration}")),
    }
}

/// Whether the files are those of the database.
fn files(report: &Report) -> Finding {
    const CHECK: &str = "files";
    if let Some(mismatch) = &report.mismatch {
        return Finding::problem(
            CHECK,
            mismatch.clone(),
            "the server refuses to start on it; `finetuned fsck` says more, and docs/RELIABILITY.md what to do",
        );
    }
    let lost = report.blobs.missing.len() as u64 - report.blobs.missing_in_trash;
    match lost {
        0 => Finding::ok(CHECK, format!("{} in place, none missing", report.blobs.present)),
        lost => Finding::problem(
            CHECK,
            format!("{lost} files that the database references are missing"),
            "`finetuned fsck` lists them; restore them from a backup, or delete the datasets and models that need them",
        ),
    }
}
