//! Aliases against a real database: moves, histories, preconditions, names.

use serde_json::json;

use super::*;
use crate::{
    domain::models::{
        model::ModelSource,
        model_import::{ImportFormat, ImportedFile},
    },
    fixtures::Stand,
    store::{ImportedModel, ModelEdit, NewModel},
};

pub(in crate::store) const BOUNDS: AliasBounds = AliasBounds {
    aliases: 3,
    history: 4,
};

pub(in crate::store) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// A stand with a trained model and two imported ones of the same name.
pub(in crate::store) async fn with_models() -> (Stand, Vec<ModelId>) {
    let stand = Stand::new().await;
    let first = stand.model().await;
    let mut models = vec![first.id];
    for number in 2..=3 {
        let new = NewModel {
            name: first.name.clone(),
            card: first.card.clone(),
            sha256: crate::files::digest::of_bytes(&[number]),
            bytes: 1,
            card_blob: first.card_blob.clone(),
            evaluation_blob: None,
        };
        let ImportedModel::Created(id) = stand.store.import_model(new, file(), None).await.unwrap() else {
            panic!("it was not there");
        };
        models.push(id);
    }
    (stand, models)
}

pub(in crate::store) fn file() -> ImportedFile {
    ImportedFile {
        format: ImportFormat::Bundle,
        sha256: crate::files::digest::of_bytes(b"bundle"),
        bytes: 6,
        file_name: None,
        remarks: Vec::new(),
    }
}

async fn set(stand: &Stand, alias: &str, model: ModelId) -> Result<AliasSet> {
    stand
        .store
        .set_alias(name(alias), model, Presumed::Nothing, BOUNDS)
        .await
}

async fn roll_back(stand: &Stand, alias: &str) -> Option<ModelId> {
    let seen = stand.store.alias(alias).await.unwrap();
    let to = seen.previous()?.clone();
    stand
        .store
        .roll_back_alias(name(alias), seen.revision, to.clone())
        .await
        .unwrap();
    Some(to.model)
}

#[tokio::test]
async fn an_alias_is_a_model_wherever_it_points() {
    let (stand, models) = with_models().await;
    assert_eq!(
        set(&stand, "production", models[0]).await.unwrap(),
        AliasSet::Created
    );
    assert_eq!(stand.store.model("production").await.unwrap().id, models[0]);
    assert_eq!(
        set(&stand, "production", models[0]).await.unwrap(),
        AliasSet::Unchanged
    );
    assert_eq!(
        set(&stand, "production", models[2]).await.unwrap(),
        AliasSet::Moved
    );
    let model = stand.store.model("production").await.unwrap();
    assert_eq!((model.id, model.aliases), (models[2], vec![name("production")]));
    assert_eq!((model.source, model.job), (ModelSource::Imported, None));
    assert!(stand.store.model("production@1").await.is_err());
    // The name still means the newest.
    assert_eq!(stand.store.model("insects").await.unwrap().id, models[2]);
    assert_eq!(stand.store.model("insects@1").await.unwrap().id, models[0]);
    let alias = stand.store.alias("production").await.unwrap();
    assert_eq!(
        (alias.revision, alias.model_version, alias.history.len()),
        (2, 3, 1)
    );
    let unknown = set(&stand, "production", ModelId::new()).await.unwrap_err();
    assert_eq!(unknown.slug(), "not-found");
}

#[tokio::test]
async fn rollbacks_walk_back_and_deleted_models_are_skipped() {
    let (stand, models) = with_models().await;
    for model in [0, 1, 0, 2, 1] {
        set(&stand, "production", models[model]).await.unwrap();
    }
    let history = |alias: Alias| {
        alias
            .history
            .iter()
            .map(|former| former.model)
            .collect::<Vec<_>>()
    };
    let alias = stand.store.alias("production").await.unwrap();
    assert_eq!(history(alias), [models[2], models[0], models[1], models[0]]);
    // Another move, and the oldest is forgotten.
    set(&stand, "production", models[0]).await.unwrap();
    let alias = stand.store.alias("production").await.unwrap();
    assert_eq!(history(alias), [models[1], models[2], models[0], models[1]]);
    assert_eq!(roll_back(&stand, "production").await, Some(models[1]));
    stand.store.delete_model(models[2], None).await.unwrap();
    assert_eq!(roll_back(&stand, "production").await, Some(models[0]));
    assert_eq!(roll_back(&stand, "production").await, Some(models[1]));
    assert_eq!(roll_back(&stand, "production").await, None);
    // Without the model between them, two of the same are one step.
    set(&stand, "production", models[0]).await.unwrap();
    set(&stand, "production", models[1]).await.unwrap();
    let alias = stand.store.alias("production").await.unwrap();
    assert_eq!(alias.revision, 11);
}

#[tokio::test]
async fn a_rollback_goes_back_to_another_model_than_the_one_of_now() {
    let (stand, models) = with_models().await;
    for model in [1, 0, 2, 0] {
        set(&stand, "production", models[model]).await.unwrap();
    }
    stand.store.delete_model(models[2], None).await.unwrap();
    assert_eq!(roll_back(&stand, "production").await, Some(models[1]));
    assert!(stand.store.alias("production").await.unwrap().history.is_empty());
}

#[tokio::test]
async fn who_has_not_seen_the_last_move_moves_nothing() {
    let (stand, models) = with_models().await;
    let presuming = async |presumed| {
        stand
            .store
            .set_alias(name("production"), models[1], presumed, BOUNDS)
            .await
    };
    let refused = presuming(Presumed::At(Some(vec![1]))).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.slug()),
        (Kind::Precondition, "alias-changed")
    );
    assert_eq!(presuming(Presumed::Absent).await.unwrap(), AliasSet::Created);
    assert_eq!(
        presuming(Presumed::Absent).await.unwrap_err().slug(),
        "alias-changed"
    );
    assert_eq!(
        presuming(Presumed::At(Some(vec![7, 1]))).await.unwrap(),
        AliasSet::Unchanged
    );
    set(&stand, "production", models[0]).await.unwrap();
    assert_eq!(
        presuming(Presumed::At(Some(vec![1]))).await.unwrap_err().slug(),
        "alias-changed"
    );
    assert_eq!(presuming(Presumed::At(None)).await.unwrap(), AliasSet::Moved);
    let seen = stand.store.alias("production").await.unwrap();
    let to = seen.previous().unwrap().clone();
    set(&stand, "production", models[2]).await.unwrap();
    let late = stand
        .store
        .roll_back_alias(name("production"), seen.revision, to)
        .await
        .unwrap_err();
    assert_eq!((late.kind(), late.slug()), (Kind::Conflict, "alias-changed"));
    let delete = async |presumed| stand.store.delete_alias(name("production"), presumed).await;
    assert_eq!(
        delete(Presumed::At(Some(vec![3]))).await.unwrap_err().slug(),
        "alias-changed"
    );
    delete(Presumed::At(Some(vec![4]))).await.unwrap();
    assert_eq!(delete(Presumed::Nothing).await.unwrap_err().slug(), "not-found");
    // What was seen of it before means nothing of the next one of this name.
    set(&stand, "production", models[0]).await.unwrap();
    assert_eq!(stand.store.alias("production").await.unwrap().revision, 5);
}

#[tokio::test]
async fn a_name_is_a_models_or_an_aliass() {
    let (stand, models) = with_models().await;
    assert_eq!(
        set(&stand, "insects", models[0]).await.unwrap_err().slug(),
        "name-taken"
    );
    let dataset = stand.dataset("pictures").await;
    stand.submit(&dataset, json!({"name": "birds"})).await;
    assert_eq!(
        set(&stand, "birds", models[0]).await.unwrap_err().slug(),
        "name-taken"
    );
    set(&stand, "production", models[0]).await.unwrap();
    let rename = |text: &str| {
        let edit = ModelEdit {
            name: Some(name(text)),
            ..ModelEdit::default()
        };
        stand.store.edit_model(models[1], edit, None)
    };
    assert_eq!(rename("production").await.unwrap_err().slug(), "name-taken");
    let model = stand.store.model(&models[1].to_string()).await.unwrap();
    let new = NewModel {
        name: name("production"),
        card: model.card,
        sha256: model.sha256,
        bytes: 1,
        card_blob: model.card_blob,
        evaluation_blob: None,
    };
    assert_eq!(
        stand
            .store
            .import_model(new, file(), None)
            .await
            .unwrap_err()
            .slug(),
        "name-taken"
    );
    assert_eq!(
        stand
            .store
            .check_model_name(&name("production"))
            .await
            .unwrap_err()
            .slug(),
        "name-taken"
    );
    rename("beetles").await.unwrap();
    assert_eq!(
        set(&stand, "beetles", models[0]).await.unwrap_err().slug(),
        "name-taken"
    );
    set(&stand, "staging", models[0]).await.unwrap();
    set(&stand, "canary", models[0]).await.unwrap();
    assert_eq!(
        set(&stand, "fourth", models[0]).await.unwrap_err().slug(),
        "too-many-aliases"
    );
    let page = stand.store.aliases(None, 2).await.unwrap();
    let names: Vec<_> = page.data.iter().map(|alias| alias.name.as_str()).collect();
    assert_eq!(
        (names.as_slice(), page.has_more),
        (&["canary", "production"][..], true)
    );
    let rest = stand.store.aliases(Some("production"), 2).await.unwrap();
    assert_eq!((rest.data[0].name.as_str(), rest.has_more), ("staging", false));
}

#[tokio::test]
async fn a_training_cannot_be_named_as_an_alias_is() {
    let (stand, models) = with_models().await;
    set(&stand, "production", models[0]).await.unwrap();
    let dataset = stand.dataset("pictures").await;
    let spec =
        crate::domain::spec::Spec::parse(&json!({"dataset": dataset.id, "name": "production"})).unwrap();
    let job = crate::store::NewJob {
        name: name("production"),
        spec,
        dataset: crate::domain::jobs::job::DatasetVersion {
            id: dataset.id,
            version: 1,
            content_sha256: None,
        },
        owner: None,
        max_queued: 9,
        key: None,
        trace: None,
    };
    assert_eq!(
        stand.store.create_job(job).await.unwrap_err().slug(),
        "name-taken"
    );
    let free = async || stand.store.name_beside_aliases(name("production")).await.unwrap();
    assert_eq!(free().await, name("production-2"), "nobody chose this one");
    set(&stand, "production-2", models[0]).await.unwrap();
    assert_eq!(free().await, name("production-3"));
}

#[tokio::test]
async fn a_model_that_an_alias_names_stays() {
    let (stand, models) = with_models().await;
    set(&stand, "production", models[0]).await.unwrap();
    set(&stand, "canary", models[0]).await.unwrap();
    let refused = stand.store.delete_model(models[0], None).await.unwrap_err();
    assert_eq!((refused.kind(), refused.slug()), (Kind::Conflict, "model-in-use"));
    assert!(refused.detail().contains("`canary`, `production`"), "{refused}");
    set(&stand, "production", models[1]).await.unwrap();
    stand
        .store
        .delete_alias(name("canary"), Presumed::Nothing)
        .await
        .unwrap();
    stand.store.delete_model(models[0], None).await.unwrap();
    assert!(stand.store.alias("production").await.unwrap().history.is_empty());
}
