//! Blobs from the spool to the trash.

use std::{
    collections::{HashMap, HashSet},
    fs,
    time::Duration,
};

use bytes::Bytes;

use super::*;
use crate::{
    domain::{data_directory::Mismatch, jobs::ledger::Ledger},
    files::digest,
    protocol::{Artifact, BulkFile},
};

const GRACE: Grace = Grace {
    time: Duration::from_secs(60),
    reserve: 0,
};

async fn spooled(blobs: &Blobs, contents: &'static [u8]) -> Spooled {
    let mut writer = blobs.spool();
    for half in contents.chunks(contents.len().div_ceil(2).max(1)) {
        writer.write(Bytes::from_static(half)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

#[tokio::test]
async fn a_blob_is_named_by_its_contents_and_survives_a_sweep_while_a_row_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path()).unwrap();
    let file = spooled(&blobs, b"abc").await;
    let sha256 = file.sha256.clone();
    assert_eq!(sha256, digest::of_bytes(b"abc"));
    let pin = blobs.pin().await;
    blobs.keep(file, &pin).await.unwrap();
    drop(pin);
    let kept = Ledger {
        named: HashSet::from([sha256.clone()]),
        ..Ledger::default()
    };
    let swept = blobs.sweep(GRACE, || async { Ok(kept.clone()) }).await.unwrap();
    assert_eq!(swept, Swept::default());
    assert_eq!(fs::read(blobs.path(&sha256)).unwrap(), b"abc");
    let swept = blobs
        .sweep(GRACE, || async { Ok(Ledger::default()) })
        .await
        .unwrap();
    assert_eq!((swept.discarded, swept.strays, swept.doubt), (1, 1, None));
    assert!(swept.next.is_some_and(|next| next <= GRACE.time));
    assert!(!blobs.path(&sha256).exists());
    // A row names it again: the database was put back.
    let swept = blobs.sweep(GRACE, || async { Ok(kept) }).await.unwrap();
    assert_eq!((swept.put_back, swept.next), (1, None));
    assert_eq!(fs::read(blobs.path(&sha256)).unwrap(), b"abc");
    let over = Grace {
        time: Duration::ZERO,
        ..GRACE
    };
    let swept = blobs
        .sweep(over, || async { Ok(Ledger::default()) })
        .await
        .unwrap();
    assert_eq!((swept.discarded, swept.expired), (1, 1));
    assert!(!blobs.path(&sha256).exists() && blobs.trash.names().unwrap().is_empty());
}

/// Blobs without rows, put in place by others than this program.
fn strangers(blobs: &Blobs, count: usize) -> Vec<String> {
    let digests: Vec<_> = (0..count)
        .map(|index| digest::of_bytes(format!("stranger {index}").as_bytes()))
        .collect();
    for sha256 in &digests {
        fs::create_dir_all(blobs.path(sha256).parent().unwrap()).unwrap();
        fs::write(blobs.path(sha256), "bytes").unwrap();
    }
    digests
}

#[tokio::test]
async fn a_database_that_does_not_know_the_blobs_moves_none_of_them_but_those_that_were_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path()).unwrap();
    let digests = strangers(&blobs, 5);
    let ledger = Ledger {
        released: HashMap::from([(digests[0].clone(), false), (digests[1].clone(), true)]),
        ..Ledger::default()
    };
    let swept = blobs.sweep(GRACE, || async { Ok(ledger) }).await.unwrap();
    assert_eq!(swept.doubt, Some(Mismatch::Strays { strays: 3, blobs: 5 }));
    assert_eq!((swept.discarded, swept.removed, swept.strays), (1, 1, 0));
    assert_eq!(swept.done.len(), 2);
    assert_eq!(blobs.present().unwrap().len(), 3);
    assert_eq!(blobs.trash.names().unwrap(), HashSet::from([digests[0].clone()]));
}

#[tokio::test]
async fn what_was_put_in_place_since_the_last_sweep_is_a_leaving_of_a_crash_however_much_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path()).unwrap();
    let pin = blobs.pin().await;
    for text in [&b"one"[..], b"two", b"three", b"four"] {
        blobs.keep(spooled(&blobs, text).await, &pin).await.unwrap();
    }
    drop(pin);
    // Another start of the server.
    let blobs = Blobs::open(folder.path()).unwrap();
    assert_eq!(blobs.check(&Ledger::default()).unwrap(), None);
    let swept = blobs
        .sweep(GRACE, || async { Ok(Ledger::default()) })
        .await
        .unwrap();
    assert_eq!((swept.discarded, swept.strays, swept.doubt), (4, 0, None));
    // One of them comes again: it need not be kept twice.
    let pin = blobs.pin().await;
    let again = spooled(&blobs, b"one").await;
    let sha256 = again.sha256.clone();
    blobs.keep(again, &pin).await.unwrap();
    assert!(blobs.path(&sha256).exists());
    assert_eq!(blobs.trash.names().unwrap().len(), 3);
}

#[tokio::test]
async fn little_room_empties_the_trash_before_anybody_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path()).unwrap();
    strangers(&blobs, 2);
    let swept = blobs
        .sweep(GRACE, || async { Ok(Ledger::default()) })
        .await
        .unwrap();
    assert_eq!((swept.strays, swept.expired_early), (2, 0));
    blobs.check_room(1, 0).unwrap();
    assert_eq!(blobs.trash.names().unwrap().len(), 2);
    let refused = blobs.check_room(u64::MAX, 0).unwrap_err();
    assert_eq!(refused.slug(), "insufficient-storage");
    assert!(blobs.trash.names().unwrap().is_empty());
    strangers(&blobs, 2);
    let nearly_full = Grace {
        reserve: u64::MAX,
        ..GRACE
    };
    let swept = blobs.sweep(nearly_full, || async { Ok(Ledger::default()) }).await;
    assert_eq!(swept.unwrap().expired_early, 2);
}

#[tokio::test]
async fn an_artifact_that_is_not_what_the_worker_says_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path()).unwrap();
    let pin = blobs.pin().await;
    fs::write(folder.path().join("model"), b"other").unwrap();
    let artifact = Artifact {
        file: "model".into(),
        sha256: digest::of_bytes(b"model"),
        bytes: 5,
    };
    assert!(blobs.adopt(folder.path(), &artifact, &pin).await.is_err());
    let outside = Artifact {
        file: "../model".into(),
        ..artifact
    };
    assert!(blobs.adopt(folder.path(), &outside, &pin).await.is_err());
    let bulk = |bytes| BulkFile {
        file: "model".into(),
        bytes,
    };
    assert!(blobs.adopt_bulk(folder.path(), &bulk(4), &pin).await.is_err());
    let known = blobs.adopt_bulk(folder.path(), &bulk(5), &pin).await.unwrap();
    assert_eq!(known.sha256, digest::of_bytes(b"other"));
    assert_eq!(fs::read(blobs.path(&known.sha256)).unwrap(), b"other");
}
