use std::{
    collections::{BTreeSet, HashSet},
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use serde_json::json;

use super::{blobs::verify, *};
use crate::{
    data_dir::{DataDir, fsck},
    domain::id::JobId,
    files::digest,
    fixtures::{Stand, soon},
};

/// Everything that the fixtures name, as blobs with these contents.
const BLOBS: [&str; 6] = ["images", "pack", "manifest", "report", "weights", "card"];

fn place(stand: &Stand, contents: &str) {
    let path = stand.blobs.path(&digest::of_bytes(contents.as_bytes()));
    private::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

/// A data directory with a dataset, a model, a job in the queue with a checkpoint, and files of all kinds.
async fn used() -> (Stand, JobId) {
    let stand = Stand::new().await;
    stand.model().await;
    let dataset = stand.dataset("flowers").await;
    for contents in BLOBS.iter().chain(&["trained-on", "flowers", "nobody's"]) {
        place(&stand, contents);
    }
    let job = stand.submit(&dataset, json!({})).await;
    for (path, text) in [
        (format!("runs/{job}/1/checkpoint-5.safetensors"), "state"),
        (format!("runs/{job}/1/model.safetensors.partial"), "half"),
        (
            format!("runs/{}/1/checkpoint-5.safetensors", JobId::new()),
            "of an ended job",
        ),
        (format!("logs/{job}.log"), "a line"),
        ("weights/timm/resnet18/main/model.safetensors".to_owned(), "base"),
        (
            "weights/timm/resnet18/main/model.safetensors.partial".to_owned(),
            "half",
        ),
        ("exports/kept".to_owned(), "can be made again"),
        ("webhooks.key".to_owned(), "of webhooks"),
    ] {
        let path = stand.config.data_dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    (stand, job)
}

fn files(root: &Path) -> BTreeSet<String> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inner = path.strip_prefix(root).unwrap();
                found.insert(inner.to_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[tokio::test]
async fn a_backup_has_what_cannot_be_made_again_and_is_restored_as_another_directory() {
    let (stand, job) = used().await;
    let (data_dir, folder) = (stand.config.data_dir.clone(), stand.beside("backup"));
    let saved = backup(&data_dir, &folder, Manner::default()).await.unwrap();
    assert_eq!((saved.note.rows.datasets, saved.note.rows.models), (2, 1));
    let blob = |contents: &str| {
        let sha256 = digest::of_bytes(contents.as_bytes());
        format!("blobs/{}/{sha256}", &sha256[..2])
    };
    let mut expected = BTreeSet::from(
        [
            "finetuned.db",
            note::NAME,
            "webhooks.key",
            "weights/timm/resnet18/main/model.safetensors",
        ]
        .map(str::to_owned),
    );
    expected.insert(format!("runs/{job}/1/checkpoint-5.safetensors"));
    expected.insert(format!("logs/{job}.log"));
    let kept = BLOBS.iter().filter(|name| **name != "pack");
    expected.extend(kept.chain(&["trained-on", "flowers"]).map(|name| blob(name)));
    assert_eq!(files(&folder), expected);
    assert_eq!(saved.note.files as usize, expected.len() - 2);
    // The temporary directory has hard links; the log is written to, so it is a copy.
    assert_eq!(saved.copied, 1);
    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    let weights = blob("weights");
    assert_eq!(inode(folder.join(&weights)), inode(data_dir.join(&weights)));
    let mode = fs::metadata(folder.join(DATABASE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let new = stand.beside("new");
    let restored = restore(
        &folder,
        &new,
        Manner {
            copy: true,
            deep: true,
        },
    )
    .await
    .unwrap();
    assert_eq!(restored.copied, saved.note.files);
    assert_ne!(inode(new.join(&weights)), inode(folder.join(&weights)));
    let report = fsck(&new, true).await.unwrap();
    assert!(report.ok, "{report}");
    let opened = DataDir::open(&new, 0).await.unwrap();
    let before = stand.store.identity().await.unwrap();
    let identity = opened.store.identity().await.unwrap().unwrap();
    assert_ne!(Some(identity.id), before.map(|identity| identity.id));
    assert_eq!(opened.store.unfinished_jobs().await.unwrap(), [job]);
    opened.store.dataset("flowers").await.unwrap();
    opened.store.model("insects").await.unwrap();
    assert_eq!(files(&folder), expected, "restoring changed the backup");
}

#[tokio::test]
async fn what_cannot_be_saved_or_restored_is_refused_in_one_line_and_left_alone() {
    let (stand, _) = used().await;
    let (data_dir, folder) = (&stand.config.data_dir, stand.beside("backup"));
    let refusal = async |to: &Path| {
        let refusal = backup(data_dir, to, Manner::default()).await.unwrap_err();
        let refusal = format!("{refusal:#}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
        refusal
    };
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("mine"), "text").unwrap();
    assert!(refusal(&folder).await.contains("is not empty"));
    assert_eq!(files(&folder), BTreeSet::from(["mine".to_owned()]));
    fs::remove_file(folder.join("mine")).unwrap();
    let within = data_dir.join("backup");
    assert!(refusal(&within).await.contains("is in the data directory"));

    let weights = stand.blobs.path(&digest::of_bytes(b"weights"));
    fs::rename(&weights, stand.beside("aside")).unwrap();
    let lost = refusal(&folder).await;
    assert!(
        lost.contains("1 of the files") && lost.contains(&digest::of_bytes(b"weights")),
        "{lost}"
    );
    // What was begun says that it is not whole.
    let restoring = async |folder: &Path, new: &Path| {
        let refusal = restore(folder, new, Manner::default()).await.unwrap_err();
        format!("{refusal:#}")
    };
    let new = stand.beside("new");
    assert!(restoring(&folder, &new).await.contains("is incomplete"));
    assert!(!new.exists());
    assert!(restoring(data_dir, &new).await.contains("is not a backup"));

    fs::rename(stand.beside("aside"), &weights).unwrap();
    let folder = stand.beside("second");
    backup(data_dir, &folder, Manner::default()).await.unwrap();
    fs::create_dir(&new).unwrap();
    fs::write(new.join("mine"), "text").unwrap();
    assert!(restoring(&folder, &new).await.contains("is not empty"));
    assert!(
        restoring(&folder, &folder.join("new"))
            .await
            .contains("is in the backup")
    );
    let other = stand.beside("other");
    fs::remove_file(Blobs::at(&folder).path(&digest::of_bytes(b"weights"))).unwrap();
    let lost = restoring(&folder, &other).await;
    assert!(
        lost.contains("the backup lacks the file") && lost.contains("remove"),
        "{lost}"
    );
    let refused = DataDir::open(&other, 0).await.err().unwrap().to_string();
    assert!(refused.contains("was not restored to its end"), "{refused}");
}

#[tokio::test]
async fn a_file_that_does_not_match_its_digest_is_found_in_copies_and_by_looking_deeply() {
    let (stand, _) = used().await;
    let data_dir = &stand.config.data_dir;
    let weights = stand.blobs.path(&digest::of_bytes(b"weights"));
    fs::write(weights, "Weights").unwrap();
    for (name, copy, deep) in [("copied", true, false), ("deep", false, true)] {
        let refused = backup(data_dir, &stand.beside(name), Manner { copy, deep }).await;
        let refused = format!("{:#}", refused.unwrap_err());
        assert!(refused.contains("match"), "{name}: {refused}");
    }
}

/// The file of a row goes between the copy of the database and the files, with its row, and not to the trash.
#[tokio::test]
async fn what_is_deleted_in_between_is_not_in_the_backup_and_does_not_spoil_it() {
    let (stand, _) = used().await;
    let (data_dir, folder) = (&stand.config.data_dir, stand.beside("backup"));
    let gone = stand.dataset("gone").await;
    place(&stand, "gone");
    fs::create_dir(&folder).unwrap();
    let mut saving = Saving {
        store: Store::open_beside(&data_dir.join(DATABASE)).await.unwrap(),
        from: Blobs::at(data_dir),
        to: Blobs::at(&folder),
        others: Others::of(data_dir),
        folder: folder.clone(),
        carrier: Carrier::new(false),
    };
    let named = saving.copy_database().await.unwrap();
    assert!(named.contains(&gone.sha256));
    stand.store.delete_dataset(gone.id, None).await.unwrap();
    fs::remove_file(stand.blobs.path(&gone.sha256)).unwrap();
    let missing = saving.carry_blobs(&named).unwrap();
    assert_eq!(missing, BTreeSet::from([gone.sha256.clone()]));
    // And one that had been carried goes, too.
    let carried = stand.store.dataset("flowers").await.unwrap();
    assert!(saving.to.path(&carried.sha256).exists());
    stand
        .store
        .cancel_job(stand.store.unfinished_jobs().await.unwrap()[0], None)
        .await
        .unwrap();
    stand.store.delete_dataset(carried.id, None).await.unwrap();
    fs::remove_file(stand.blobs.path(&carried.sha256)).unwrap();
    let (named, _) = saving.carry_all().await.unwrap();
    saving.remove_unnamed(&named).unwrap();
    verify(&saving.to, &named, true).unwrap();
    assert!(!saving.to.path(&carried.sha256).exists());
    let present: HashSet<String> = saving.to.present().unwrap().into_iter().collect();
    assert_eq!(present, named);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_whole_while_others_add_and_delete_without_a_trash() {
    let (stand, _) = used().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let (store, blobs, stopped) = (stand.store.clone(), stand.blobs.clone(), stop.clone());
    let busy = tokio::spawn(async move {
        let mut done = 0;
        while !stopped.is_cancelled() {
            let contents = format!("archive {done}");
            let sha256 = digest::of_bytes(contents.as_bytes());
            let pin = blobs.pin().await;
            let path = blobs.path(&sha256);
            private::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &contents).unwrap();
            let new = crate::store::NewDataset {
                options: Default::default(),
                name: crate::domain::name::Name::parse(&format!("d{done}"))
                    .unwrap()
                    .into(),
                sha256,
                bytes: 7,
                owner: None,
            };
            let crate::store::CreatedDataset::Created(id) = store.create_dataset(new).await.unwrap() else {
                panic!("it was there");
            };
            drop(pin);
            // Every third one stays.
            if done % 3 > 0 {
                store.delete_dataset(id, None).await.unwrap();
                fs::remove_file(path).unwrap();
            }
            done += 1;
        }
        done
    });
    for round in 0..5 {
        let folder = stand.beside(&format!("backup-{round}"));
        let manner = Manner {
            copy: round % 2 == 1,
            deep: true,
        };
        let saved = soon(backup(&stand.config.data_dir, &folder, manner))
            .await
            .unwrap();
        assert!(saved.note.complete);
        let new = stand.beside(&format!("new-{round}"));
        restore(&folder, &new, Manner::default()).await.unwrap();
        let report = fsck(&new, true).await.unwrap();
        assert!(report.ok, "{report}");
        assert_eq!(report.blobs.unreferenced.count, 0);
    }
    stop.cancel();
    assert!(busy.await.unwrap() > 0);
}
