//! Models against a real database: names and versions, metadata, imports.

use serde_json::json;

use super::*;
use crate::{
    domain::{
        jobs::job::StopReason,
        models::{adapter::Adapter, model::ModelSource},
    },
    fixtures::{Stand, card, holder},
    store::{
        aliases::{
            AliasSet, Presumed,
            tests::{BOUNDS, file, name, with_models},
        },
        row,
    },
};

#[tokio::test]
async fn a_renamed_model_is_the_next_version_of_its_new_name() {
    let (stand, models) = with_models().await;
    let edit = |text: &str| ModelEdit {
        name: Some(name(text)),
        metadata: Some(Metadata::from([("stage".to_owned(), "tried".to_owned())])),
    };
    stand
        .store
        .edit_model(models[2], edit("insects"), None)
        .await
        .unwrap();
    assert_eq!(
        stand.store.model(&models[2].to_string()).await.unwrap().version,
        3
    );
    stand
        .store
        .edit_model(models[2], edit("bugs"), None)
        .await
        .unwrap();
    let model = stand.store.model("bugs").await.unwrap();
    assert_eq!(
        (model.id, model.version, model.metadata["stage"].as_str()),
        (models[2], 1, "tried")
    );
    assert_eq!(stand.store.model("insects").await.unwrap().id, models[1]);
    stand
        .store
        .edit_model(models[2], edit("insects"), None)
        .await
        .unwrap();
    assert_eq!(
        stand.store.model("insects").await.unwrap().version,
        4,
        "3 is never used again"
    );
    let gone = stand
        .store
        .edit_model(ModelId::new(), edit("x"), None)
        .await
        .unwrap_err();
    assert_eq!(gone.slug(), "not-found");
}

#[tokio::test]
async fn importing_the_same_again_makes_no_second_model() {
    let (stand, models) = with_models().await;
    let model = stand.store.model(&models[1].to_string()).await.unwrap();
    let again = |text: &str| NewModel {
        name: name(text),
        card: model.card.clone(),
        sha256: model.sha256.clone(),
        bytes: model.bytes,
        card_blob: model.card_blob.clone(),
        evaluation_blob: None,
    };
    let repeated = stand
        .store
        .import_model(again("insects"), file(), None)
        .await
        .unwrap();
    assert_eq!(repeated, ImportedModel::Existing(models[1]));
    let renamed = stand
        .store
        .import_model(again("other"), file(), None)
        .await
        .unwrap();
    assert!(matches!(renamed, ImportedModel::Created(_)));
}

/// A job's metadata are the first of its model.
#[tokio::test]
async fn a_model_begins_with_the_metadata_of_its_job() {
    let stand = Stand::new().await;
    let dataset = stand.dataset("pictures").await;
    let job = stand
        .submit(&dataset, json!({"metadata": {"ticket": "42"}}))
        .await;
    let claimed = stand
        .store
        .claim_job(vec!["cpu".to_owned()], false)
        .await
        .unwrap()
        .unwrap();
    let new = NewModel {
        name: name("birds"),
        card: card(claimed.spec.training().unwrap(), &dataset),
        sha256: dataset.sha256.clone(),
        bytes: 1,
        card_blob: dataset.sha256.clone(),
        evaluation_blob: None,
    };
    let completed = stand
        .store
        .complete_job(job, 1, new, StopReason::Completed)
        .await
        .unwrap();
    let model = stand.store.model(&completed.unwrap().to_string()).await.unwrap();
    assert_eq!(model.metadata["ticket"], "42");
    assert_eq!((model.source, model.job), (ModelSource::Trained, Some(job)));
}

#[tokio::test]
async fn a_database_of_before_the_registry_goes_on_working() {
    let stand = Stand::new().await;
    let dataset = stand.dataset("pictures").await;
    let job = stand.submit(&dataset, json!({"name": "birds"})).await;
    let spec = stand.store.job(&job.to_string()).await.unwrap().spec;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("finetuned.db");
    let pool = sqlx::SqlitePool::connect_with(
        sqlx::sqlite::SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true),
    )
    .await
    .unwrap();
    let mut migrator = sqlx::migrate!();
    migrator.migrations = migrator.iter().filter(|step| step.version < 7).cloned().collect();
    migrator.run(&pool).await.unwrap();
    let id = ModelId::new();
    let card = card(spec.training().unwrap(), &dataset);
    sqlx::query(
        "insert into models (id, name, version, job_id, created_at, sha256, bytes, card_blob, card, evaluation_blob)
        values ($1, 'birds', 3, $2, 1000, $3, 7, $4, $5, $6)",
    )
    .bind(id.to_string())
    .bind(job.to_string())
    .bind(crate::files::digest::of_bytes(b"weights"))
    .bind(crate::files::digest::of_bytes(b"card"))
    .bind(row::to_json(&card).unwrap())
    .bind(crate::files::digest::of_bytes(b"evaluation"))
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query("insert into model_names (name, last_version) values ('birds', 5)")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;

    let store = Store::open(&file).await.unwrap();
    let model = store.model("birds").await.unwrap();
    assert_eq!(
        (model.id, model.version, model.source, model.job),
        (id, 3, ModelSource::Trained, Some(job))
    );
    assert_eq!(
        (model.card, model.metadata.len(), model.aliases.len()),
        (card, 0, 0)
    );
    let blobs = store.model_blobs(id).await.unwrap();
    assert_eq!(
        blobs.evaluation,
        Some(crate::files::digest::of_bytes(b"evaluation"))
    );
    assert_eq!(store.referenced_blobs().await.unwrap().len(), 3);
    let set = store
        .set_alias(name("production"), id, Presumed::Nothing, BOUNDS)
        .await
        .unwrap();
    assert_eq!(set, AliasSet::Created);
    let rename = |text: &str| ModelEdit {
        name: Some(name(text)),
        ..ModelEdit::default()
    };
    store.edit_model(id, rename("owls"), None).await.unwrap();
    store.edit_model(id, rename("birds"), None).await.unwrap();
    assert_eq!(store.model("production").await.unwrap().version, 6);
}

#[tokio::test]
async fn a_model_belongs_to_the_owner_of_its_job_or_to_whoever_imported_it() {
    let stand = Stand::new().await;
    let (dataset, team) = (stand.dataset("pictures").await, holder("team"));
    let job = stand.submit_as(Some(&team), &dataset, json!({})).await;
    let free = vec!["cpu".to_owned()];
    let claimed = stand.store.claim_job(free, false).await.unwrap().unwrap();
    let new = |text: &str| NewModel {
        name: name(text),
        card: card(claimed.spec.training().unwrap(), &dataset),
        sha256: dataset.sha256.clone(),
        bytes: 1,
        card_blob: dataset.sha256.clone(),
        evaluation_blob: None,
    };
    let made = stand
        .store
        .complete_job(job, 1, new("birds"), StopReason::Completed)
        .await
        .unwrap()
        .unwrap();
    let owner = async |id: ModelId| stand.store.model(&id.to_string()).await.unwrap().owner;
    assert_eq!(owner(made).await, Some(team.clone()));
    let import = async |text: &str, owner: Option<&Holder>| {
        let imported = stand.store.import_model(new(text), file(), owner.cloned()).await;
        let ImportedModel::Created(id) = imported.unwrap() else {
            panic!("it is there already");
        };
        id
    };
    let (of_team, of_nobody) = (import("bees", Some(&team)).await, import("ants", None).await);
    assert_eq!(owner(of_team).await, Some(team.clone()));
    assert_eq!(owner(of_nobody).await, None);
    // Also under another name.
    let renamed = ModelEdit {
        name: Some(name("wasps")),
        metadata: None,
    };
    stand.store.edit_model(of_team, renamed, None).await.unwrap();
    let page = PageRequest {
        limit: 9,
        after: None,
        order: Order::Asc,
    };
    let of = async |owner: Option<&str>| {
        let models = stand.store.models(None, owner, &page).await.unwrap();
        models.data.iter().map(|model| model.id).collect::<Vec<_>>()
    };
    assert_eq!(of(Some("team")).await, [made, of_team]);
    assert_eq!(of(Some(&team.id.to_string())).await, [made, of_team]);
    assert_eq!(of(Some("none")).await, [of_nobody]);
    assert!(of(Some("somebody")).await.is_empty());
    assert_eq!(of(None).await.len(), 3);
}

#[tokio::test]
async fn the_base_of_adapters_is_there_as_long_as_one_of_them() {
    let stand = Stand::new().await;
    let store = &stand.store;
    let dataset = stand.dataset("flowers").await;
    let document = json!({"dataset": "flowers", "adapt": "norm_only"});
    let spec = crate::domain::spec::JobSpec::parse(&document).unwrap();
    let architecture = spec.backbone.architecture;
    let base = crate::files::digest::of_bytes(b"base");
    let mut adapters = Vec::new();
    for text in ["one", "other"] {
        let mut card = card(&spec, &dataset);
        card.adapter = Some(Box::new(Adapter {
            adapt: spec.adapt,
            parameters: 7,
            base_sha256: base.clone(),
            base_bytes: 100,
        }));
        let new = NewModel {
            name: name(text),
            card,
            sha256: crate::files::digest::of_bytes(text.as_bytes()),
            bytes: 10,
            card_blob: crate::files::digest::of_bytes(b"card"),
            evaluation_blob: None,
        };
        let ImportedModel::Created(id) = store.import_model(new, file(), None).await.unwrap() else {
            panic!("it is new");
        };
        let blobs = store.model_blobs(id).await.unwrap();
        assert_eq!(blobs.base.as_ref(), Some(&base));
        let model = store.model(text).await.unwrap();
        assert_eq!(
            (model.base_blob(), model.whole_bytes()),
            (Some(base.as_str()), 110)
        );
        adapters.push(id);
    }
    let cards = store.cards_beside_a_base(architecture).await.unwrap();
    let bases = cards.iter().filter_map(|card| card.adapter.as_ref());
    assert_eq!(
        bases.map(|adapter| &adapter.base_sha256).collect::<Vec<_>>(),
        [&base, &base]
    );
    let of_others = store.cards_beside_a_base(Architecture::Vgg16).await.unwrap();
    assert!(of_others.is_empty());
    for id in adapters {
        assert!(store.referenced_blobs().await.unwrap().contains(&base));
        store.delete_model(id, None).await.unwrap();
    }
    assert!(store.cards_beside_a_base(architecture).await.unwrap().is_empty());
    let ledger = store.ledger().await.unwrap();
    assert!(!ledger.named.contains(&base) && ledger.released.contains_key(&base));
}
