//! `finetuned-worker predict` over real pipes, with a network of random weights.

use std::path::Path;

use finetuned::{
    domain::{
        model::{DatasetLineage, ModelCard, ModelMetrics},
        name::Name,
        spec::JobSpec,
    },
    id::DatasetId,
    protocol::frames::{self, ModelFiles, PredictRequest},
    worker::{bundle, child::RunDir, device, nets::Network},
};
use serde_json::{Value, json};

use crate::{child::Worker, drawn};

fn card() -> ModelCard {
    let document = json!({"dataset": "drawn", "image": {"size": 32}, "backbone": {"weights": "none"}});
    let spec = JobSpec::parse(&document).unwrap();
    ModelCard {
        format: ModelCard::FORMAT,
        architecture: spec.backbone.architecture,
        classes: drawn::CLASSES.map(str::to_owned).to_vec(),
        preprocessing: spec.preprocessing(),
        spec,
        metrics: ModelMetrics {
            epoch: 1,
            train_loss: 1.0,
            train_accuracy: 0.5,
            val_loss: None,
            val_accuracy: None,
            train_images: 4,
            val_images: 0,
        },
        dataset: DatasetLineage {
            id: DatasetId::new(),
            name: Name::parse("drawn").unwrap(),
            version: 1,
            sha256: "0".repeat(64),
        },
        base_weights: "none".into(),
        program: "test".into(),
        libtorch: device::LIBTORCH_VERSION.into(),
    }
}

fn random_model(folder: &Path) -> ModelFiles {
    let card = card();
    let network = Network::drawn(card.architecture, card.classes.len(), 5, tch::Device::Cpu);
    let dir = RunDir::new(folder);
    let files = bundle::write(&dir, network.state(), &card).unwrap();
    ModelFiles {
        sha256: files.weights.sha256,
        weights: dir.file(&files.weights.file),
        card: dir.file(&files.card.file),
    }
}

/// A request as it goes over the pipe.
pub fn frame(id: u64, model: &ModelFiles, body: &[u8]) -> Vec<u8> {
    let request = PredictRequest {
        id,
        model: model.clone(),
        top_k: 2,
        max_pixels: 1_000_000,
    };
    let header = serde_json::to_vec(&request).unwrap();
    let prefix = frames::prefix(header.len() as u32, body.len() as u32);
    [&prefix[..], &header, body].concat()
}

/// A predict child that has said that it is ready.
pub fn ready() -> Worker<Value> {
    let worker = Worker::with_frames(["predict", "--device", "cpu", "--threads", "2", "--max-batch", "4"]);
    assert_eq!(worker.next(), Some(json!({"device": "cpu"})));
    worker
}

#[test]
fn every_request_gets_one_reply_and_a_bad_one_hurts_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(folder.path());
    let unknown = ModelFiles {
        sha256: "ab".repeat(32),
        weights: folder.path().join("unknown.safetensors"),
        card: folder.path().join("unknown.json"),
    };
    let mut worker = ready();
    let expected = |id: u64| match id {
        7 => "unsupported_image",
        11 => "invalid_image",
        13 => "model_unusable",
        _ => "predicted",
    };
    for id in 0..40 {
        let whole = drawn::picture(id as usize % 2, id as u32);
        worker.write(&match id {
            7 => frame(id, &model, b"plain words"),
            11 => frame(id, &model, &whole[..whole.len() / 2]),
            13 => frame(id, &unknown, &whole),
            _ => frame(id, &model, &whole),
        });
    }
    let mut replies: Vec<Value> = (0..40).map(|_| worker.next().unwrap()).collect();
    replies.sort_by_key(|reply| reply["id"].as_u64());
    for (id, reply) in (0..40).zip(&replies) {
        assert_eq!(reply["id"], id);
        assert_eq!(reply["outcome"], expected(id), "{reply}");
        if expected(id) == "predicted" {
            let classes = reply["classes"].as_array().unwrap();
            let sum: f64 = classes
                .iter()
                .map(|class| class["probability"].as_f64().unwrap())
                .sum();
            assert!((sum - 1.0).abs() < 1e-6, "{reply}");
        }
    }
    worker.close_stdin();
    let (rest, status, errors) = worker.end();
    assert!(status.success(), "{errors}");
    assert!(rest.is_empty());
}

#[test]
fn what_was_asked_before_stdin_ended_is_still_answered() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(folder.path());
    let mut worker = ready();
    let frames: Vec<u8> = (0..6)
        .flat_map(|id| frame(id, &model, &drawn::picture(0, id as u32)))
        .collect();
    worker.write(&frames);
    worker.close_stdin();
    let (replies, status, errors) = worker.end();
    assert!(status.success(), "{errors}");
    assert_eq!(replies.len(), 6);
}
