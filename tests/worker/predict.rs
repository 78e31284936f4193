//! `finetuned-worker predict` over real pipes, with a network of random weights.

use std::{ffi::OsStr, path::Path};

use finetuned::protocol::frames::{self, ModelFiles, PredictInput, PredictRequest, PredictTask};
use serde_json::{Value, json};

use crate::{child::Worker, drawn, jobs::random_model};

/// A request as it goes over the pipe.
pub fn frame(id: u64, model: &ModelFiles, body: &[u8]) -> Vec<u8> {
    let request = PredictRequest {
        id,
        model: model.clone(),
        task: PredictTask::Classify { top_k: 2 },
        input: PredictInput::Image,
        max_pixels: 1_000_000,
    };
    let header = serde_json::to_vec(&request).unwrap();
    let prefix = frames::prefix(header.len() as u32, body.len() as u32);
    [&prefix[..], &header, body].concat()
}

/// A predict child that has said that it is ready, for models in a folder.
pub fn ready(models: &Path) -> Worker<Value> {
    let options = [
        "predict",
        "--device",
        "cpu",
        "--threads",
        "2",
        "--max-batch",
        "4",
        "--models",
    ];
    let worker = Worker::with_frames(options.map(OsStr::new).into_iter().chain([models.as_os_str()]));
    assert_eq!(worker.next(), Some(json!({"device": "cpu"})));
    worker
}

#[test]
fn every_request_gets_one_reply_and_a_bad_one_hurts_no_other() {
    let (folder, model) = random_model();
    let unknown = ModelFiles {
        sha256: "ab".repeat(32),
        weights: folder.path().join("unknown.safetensors"),
        card: folder.path().join("unknown.json"),
        card_sha256: "ab".repeat(32),
        base: None,
    };
    let mut worker = ready(folder.path());
    let expected = |id: u64| match id {
        7 => "unsupported_image",
        11 => "invalid_image",
        13 => "model_damaged",
        _ => "predicted",
    };
    for id in 0..40 {
        let whole = drawn::image(id as usize % 2, id as u32);
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
    let (folder, model) = random_model();
    let mut worker = ready(folder.path());
    let frames: Vec<u8> = (0..6)
        .flat_map(|id| frame(id, &model, &drawn::image(0, id as u32)))
        .collect();
    worker.write(&frames);
    worker.close_stdin();
    let (replies, status, errors) = worker.end();
    assert!(status.success(), "{errors}");
    assert_eq!(replies.len(), 6);
}
