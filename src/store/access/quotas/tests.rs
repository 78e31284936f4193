//! Quotas against a real database: what is counted, and that nothing goes over.

use serde_json::json;

use super::*;
use crate::{
    domain::{
        access::{NewKey, Scope, Secret},
        datasets::{
            dataset::Dataset,
            split::SplitCounts,
            version::{Change, ChangeKind},
        },
        jobs::job::DatasetVersion,
        models::model_import::{ImportFormat, ImportedFile},
        name::Name,
        spec::Spec,
        time::Timestamp,
    },
    files::digest,
    fixtures::{Stand, card},
    store::{CreatedDataset, CreatedJob, ImportedModel, NewDataset, NewJob, NewModel, NewUpload, NewVersion},
};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// The holder of a key with these quotas.
async fn key(stand: &Stand, text: &str, quotas: Quotas) -> Holder {
    let new = NewKey {
        name: name(text),
        scopes: vec![Scope::Write],
        datasets: None,
        models: None,
        quotas,
        expires_at: None,
    };
    let digest = Secret::draw().unwrap().digest();
    stand.store.create_key(new, digest, 9).await.unwrap().holder()
}

fn bytes(most: u64) -> Quotas {
    Quotas {
        max_bytes: Some(most),
        ..Quotas::default()
    }
}

async fn upload(stand: &Stand, owner: &Holder, text: &str, bytes: u64) -> Result<CreatedDataset> {
    let new = NewDataset {
        name: name(text).into(),
        sha256: digest::of_bytes(text.as_bytes()),
        bytes,
        options: Default::default(),
        owner: Some(owner.clone()),
    };
    stand.store.create_dataset(new).await
}

fn announced(owner: &Holder, text: &str, bytes: u64) -> NewUpload {
    NewUpload {
        name: name(text).into(),
        bytes,
        metadata: String::new(),
        options: Default::default(),
        announced_sha256: None,
        expires_at: Timestamp(Timestamp::now().0 + 60_000),
        owner: Some(owner.clone()),
    }
}

/// As a caller sends it, for a dataset that is there.
fn job(owner: &Holder, dataset: &Dataset, spec: serde_json::Value) -> NewJob {
    NewJob {
        spec: Spec::parse(&spec).unwrap(),
        name: name("job"),
        dataset: DatasetVersion {
            id: dataset.id,
            version: 1,
            content_sha256: None,
        },
        owner: Some(owner.clone()),
        max_queued: 100,
        key: None,
        trace: None,
    }
}

#[tokio::test]
async fn what_an_owner_has_is_counted_and_never_goes_over() {
    let stand = Stand::new().await;
    let store = &stand.store;
    let (team, other) = (
        key(&stand, "team", bytes(100)).await,
        key(&stand, "other", bytes(100)).await,
    );
    upload(&stand, &team, "sixty", 60).await.unwrap();
    let over = upload(&stand, &team, "more", 41).await.unwrap_err();
    assert_eq!((over.slug(), over.kind()), ("quota-bytes", Kind::TooMany));
    let detail = "the key `team` owns 60 bytes and may own 100, so there is no room for 41 more";
    assert!(over.detail().starts_with(detail), "{}", over.detail());
    assert!(over.retry_delay().is_some());
    assert_eq!(store.dataset("more").await.unwrap_err().slug(), "not-found");
    // To the last byte, and somebody else's do not count.
    let coming = store
        .create_upload(announced(&team, "coming", 40), 9)
        .await
        .unwrap();
    upload(&stand, &other, "others", 100).await.unwrap();
    let room = store.room_of(Some(&team)).await.unwrap();
    assert_eq!(room.check(1).unwrap_err().slug(), "quota-bytes");
    assert!(room.check(0).is_ok() && store.room_of(None).await.unwrap().check(u64::MAX).is_ok());
    let over = store
        .create_upload(announced(&team, "last", 1), 9)
        .await
        .unwrap_err();
    assert_eq!(over.slug(), "quota-bytes");
    // What is there is no second one, also where there is no room.
    let again = upload(&stand, &team, "sixty", 60).await.unwrap();
    assert!(matches!(again, CreatedDataset::Existing(_)));
    // A complete upload is its dataset.
    let sha256 = digest::of_bytes(b"coming");
    store.begin_finishing_upload(coming.id, sha256).await.unwrap();
    store.complete_upload(coming.id).await.unwrap();
    assert!(store.room_of(Some(&team)).await.unwrap().check(1).is_err());
    // What is deleted is room, and a failed upload takes none.
    let sixty = store.dataset("sixty").await.unwrap();
    store.delete_dataset(sixty.id, None).await.unwrap();
    store.room_of(Some(&team)).await.unwrap().check(60).unwrap();
    let begun = store
        .create_upload(announced(&team, "begun", 60), 9)
        .await
        .unwrap();
    assert!(store.room_of(Some(&team)).await.unwrap().check(1).is_err());
    let fault = crate::domain::datasets::dataset::DatasetError {
        code: "digest_mismatch".to_owned(),
        message: String::new(),
    };
    store.fail_upload(begun.id, fault).await.unwrap();
    store.room_of(Some(&team)).await.unwrap().check(60).unwrap();
}

#[tokio::test]
async fn images_that_are_added_and_models_count_as_well() {
    let stand = Stand::new().await;
    let store = &stand.store;
    let team = key(&stand, "team", bytes(100)).await;
    let CreatedDataset::Created(id) = upload(&stand, &team, "flowers", 40).await.unwrap() else {
        panic!("it is there already");
    };
    stand.read(id).await;
    let addition = |version: u32, added_bytes: u64| NewVersion {
        dataset: id,
        version,
        change: Change::of(ChangeKind::Add),
        images: 5,
        classes: Vec::new(),
        splits: SplitCounts::default(),
        several_labels: 0,
        content_sha256: digest::of_bytes(b"contents"),
        manifest: digest::of_bytes(b"manifest"),
        segments: vec![0],
        new_segment: None,
        next_image: 20,
        added_bytes,
    };
    assert!(store.add_version(addition(2, 50)).await.unwrap());
    let over = store.add_version(addition(3, 11)).await.unwrap_err();
    assert_eq!(over.slug(), "quota-bytes");
    assert_eq!(store.dataset("flowers").await.unwrap().version, 2);
    let dataset = store.dataset("flowers").await.unwrap();
    let training = json!({"dataset": "flowers"});
    let parsed = Spec::parse(&training).unwrap();
    let spec = parsed.training().unwrap();
    let import = async |text: &str, bytes: u64| {
        let new = NewModel {
            name: name(text),
            card: card(spec, &dataset),
            sha256: digest::of_bytes(text.as_bytes()),
            bytes,
            card_blob: digest::of_bytes(b"card"),
            evaluation_blob: None,
        };
        let file = ImportedFile {
            format: ImportFormat::Safetensors,
            sha256: String::new(),
            bytes,
            file_name: None,
            remarks: Vec::new(),
        };
        store.import_model(new, file, Some(team.clone())).await
    };
    assert_eq!(import("large", 11).await.unwrap_err().slug(), "quota-bytes");
    // A job that makes a model needs room for something.
    store
        .create_job(job(&team, &dataset, training.clone()))
        .await
        .unwrap();
    let imported = import("small", 10).await.unwrap();
    assert!(matches!(imported, ImportedModel::Created(_)));
    let full = store
        .create_job(job(&team, &dataset, training))
        .await
        .unwrap_err();
    assert_eq!(full.slug(), "quota-bytes");
    let measure = json!({"kind": "evaluate", "dataset": "flowers", "model": "small"});
    store.create_job(job(&team, &dataset, measure)).await.unwrap();
    // What adds nothing is not refused.
    assert!(store.add_version(addition(3, 0)).await.unwrap());
}

#[tokio::test]
async fn jobs_in_the_queue_are_counted_by_their_owner() {
    let stand = Stand::new().await;
    let dataset = stand.dataset("flowers").await;
    let two = Quotas {
        max_queued_jobs: Some(2),
        ..Quotas::default()
    };
    let (team, other) = (
        key(&stand, "team", two).await,
        key(&stand, "other", Quotas::default()).await,
    );
    let submit = async |owner: &Holder| {
        let new = job(owner, &dataset, json!({"dataset": "flowers"}));
        match stand.store.create_job(new).await {
            Ok(CreatedJob::Created(id) | CreatedJob::Repeated(id)) => Ok(id),
            Err(error) => Err(error),
        }
    };
    let first = submit(&team).await.unwrap();
    submit(&team).await.unwrap();
    let over = submit(&team).await.unwrap_err();
    assert_eq!((over.slug(), over.kind()), ("quota-queued-jobs", Kind::TooMany));
    assert!(
        over.detail()
            .starts_with("the key `team` has 2 jobs in the queue and may have 2:"),
        "{}",
        over.detail()
    );
    for _ in 0..3 {
        submit(&other).await.unwrap();
    }
    // One that runs is not in the queue, nor is one that was cancelled.
    let free = vec!["cpu".to_owned()];
    let claimed = stand.store.claim_job(free, false).await.unwrap().unwrap();
    assert_eq!(claimed.id, first);
    let third = submit(&team).await.unwrap();
    assert!(submit(&team).await.is_err());
    stand.store.cancel_job(third, None).await.unwrap();
    submit(&team).await.unwrap();
    // The next key of that name goes on with its jobs, under its own quotas.
    stand.store.revoke_key("team", None).await.unwrap();
    let three = Quotas {
        max_queued_jobs: Some(3),
        ..Quotas::default()
    };
    let next = key(&stand, "team", three).await;
    submit(&next).await.unwrap();
    assert!(submit(&next).await.unwrap_err().detail().contains("has 3 jobs"));
}
