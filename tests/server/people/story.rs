//! The three commands of the README, as they are typed: upload, submit, predict.

use serde_json::json;

use crate::support::{Server, hub::Hub, pictures, shared, stream::Stream};

/// Everything through curl's eyes: on real photographs and real base weights where they lie beside the repository, and on drawn
/// pictures from scratch otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn three_commands_turn_a_folder_of_images_into_a_served_classifier() {
    let real =
        shared::file("data/hymenoptera.zip").zip(shared::file("weights/resnet18-cifar10-64.safetensors"));
    let (archive, hub, weights) = match &real {
        Some((archive, weights)) => {
            let hub = Hub::serving("timm/resnet18.tv_in1k", std::fs::read(weights).unwrap()).await;
            (std::fs::read(archive).unwrap(), Some(hub), "imagenet")
        }
        None => (pictures::flat_archive(2, 30), None, "none"),
    };
    let server = Server::with(|config| {
        if let Some(hub) = &hub {
            config.weights.hub_endpoint = hub.endpoint.clone();
            config.weights.offline = false;
        }
    })
    .await;
    let api = &server.api;

    let dataset = api.upload("insects-or-not", archive).await;
    assert_eq!(dataset["status"], "ready", "{dataset:#}");
    if real.is_some() {
        assert_eq!(dataset["splits"], json!({"train": 244, "val": 153, "test": 0}));
        assert_eq!(
            dataset["classes"][0],
            json!({"name": "ants", "index": 0, "images": 193, "splits": {"train": 123, "val": 70, "test": 0}})
        );
        assert_eq!(
            dataset["classes"][1],
            json!({"name": "bees", "index": 1, "images": 204, "splits": {"train": 121, "val": 83, "test": 0}})
        );
    }

    let spec = json!({
        "dataset": "insects-or-not", "name": "insects", "epochs": 4, "image": {"size": 64},
        "backbone": {"weights": weights}, "optimizer": {"lr": 0.01}
    });
    let job = api.submit(spec).await;
    let path = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let mut stream = Stream::of(api.open_stream(&path, None).await);
    let events = stream.rest().await;
    assert_eq!(stream.retry, Some(3000));
    assert!(
        events
            .iter()
            .enumerate()
            .all(|(index, event)| event.id == index as i64 + 1),
        "gaps in the stream"
    );
    assert_eq!(events.last().unwrap().kind, "end", "{events:#?}");
    assert_eq!(events.last().unwrap().data["status"], "succeeded", "{events:#?}");
    let losses: Vec<f64> = events
        .iter()
        .filter(|event| event.kind == "epoch")
        .map(|event| event.data["train_loss"].as_f64().unwrap())
        .collect();
    assert_eq!(losses.len(), 4);
    assert!(losses[3] < losses[0], "the loss does not fall: {losses:?}");
    assert!(events.iter().any(|event| event.kind == "step"));

    let job = api.finished(&job).await;
    assert_eq!(job["best"]["val_accuracy"].as_f64(), {
        let best = job["best"]["epoch"].as_u64().unwrap();
        let epoch = events
            .iter()
            .find(|event| event.kind == "epoch" && event.data["epoch"] == best)
            .unwrap();
        epoch.data["val_accuracy"].as_f64()
    });
    let picture = match &real {
        Some((archive, _)) => first_picture(archive, "val/bees/"),
        None => pictures::png(1, 99, 40),
    };
    let answer = api.put("/v1/models/insects/predict", picture).await.expect(200);
    assert!(
        answer.headers["server-timing"]
            .to_str()
            .unwrap()
            .contains("forward;dur=")
    );
    let prediction = answer.json();
    assert_eq!(prediction["model"], job["model"]);
    let probabilities: Vec<f64> = prediction["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|class| class["probability"].as_f64().unwrap())
        .collect();
    assert_eq!(probabilities.len(), 2);
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5 && probabilities[0] >= probabilities[1]);
    if let Some(hub) = &hub {
        assert_eq!(hub.downloads(), 1);
    }
    server.stop().await;
}

fn first_picture(archive: &std::path::Path, folder: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(archive).unwrap()).unwrap();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let name = entry.name().unwrap().into_owned();
        if name.starts_with(folder) && name.ends_with(".jpg") {
            let mut bytes = Vec::new();
            std::io::copy(&mut entry, &mut bytes).unwrap();
            return bytes;
        }
    }
    panic!("no picture in {folder}");
}
