//! The predict child with pipes that the test holds, a network with random weights and images drawn here.

use std::{
    io::{self, Cursor, Read, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use image::{ImageFormat, RgbImage};

use super::{batch_size::BatchSize, place::Options, run};
use crate::{
    domain::{models::prediction::ClassProbability, spec::Architecture},
    protocol::frames::{
        self, ModelFiles, PredictInput, PredictOutcome, PredictReply, PredictRequest, PredictTask,
    },
    worker::{
        files::{
            bundle::{self, tests::card},
            state::StateDict,
        },
        nets::Network,
        pixels,
        process::run_dir::RunDir,
    },
};

/// A model of two classes with weights that the seed decides.
fn model(folder: &Path, seed: u64, change: impl FnOnce(&mut StateDict)) -> ModelFiles {
    let network = Network::drawn(Architecture::Resnet18, 2, seed, tch::Device::Cpu);
    let mut state: StateDict = network
        .state()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.copy()))
        .collect();
    change(&mut state);
    let folder = folder.join(seed.to_string());
    std::fs::create_dir(&folder).unwrap();
    let dir = RunDir::new(folder);
    bundle::write(&dir, &state, &card(&["ants", "bees"]))
        .unwrap()
        .at(&dir)
}

/// An image in which everything depends on the seed.
fn image(seed: u32) -> Vec<u8> {
    let pixel = |x: u32, y: u32| {
        let value = x.wrapping_mul(7 + seed) ^ y.wrapping_mul(3 + 2 * seed);
        image::Rgb([value as u8, (x * seed) as u8, (y + 31 * seed) as u8])
    };
    let image = RgbImage::from_fn(40 + seed % 9, 36, pixel);
    let mut bytes = Vec::new();
    image
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .unwrap();
    bytes
}

fn frame(id: u64, model: &ModelFiles, body: &[u8]) -> Vec<u8> {
    let task = PredictTask::Classify { top_k: 2 };
    frame_of(id, model, task, PredictInput::Image, body)
}

fn frame_of(id: u64, model: &ModelFiles, task: PredictTask, input: PredictInput, body: &[u8]) -> Vec<u8> {
    let request = PredictRequest {
        id,
        model: model.clone(),
        task,
        input,
        max_pixels: 1_000_000,
    };
    let header = serde_json::to_vec(&request).unwrap();
    let prefix = frames::prefix(header.len() as u32, body.len() as u32);
    [&prefix[..], &header, body].concat()
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn options(max_batch: usize) -> Options {
    Options {
        device: "cpu".into(),
        threads: 2,
        max_batch: Some(max_batch),
        model_bytes: None,
    }
}

/// Everything that the child says to this input, in the order of ids, after its first frame.
fn replies_to(input: Vec<u8>, options: &Options) -> Vec<PredictReply> {
    let replies = replies_with_bodies(input, options).into_iter();
    replies
        .map(|(reply, body)| {
            assert_eq!(body, b"");
            reply
        })
        .collect()
}

fn replies_with_bodies(input: Vec<u8>, options: &Options) -> Vec<(PredictReply, Vec<u8>)> {
    let output = Output::default();
    run(options, Cursor::new(input), output.clone()).unwrap();
    let bytes = output.0.lock().unwrap().clone();
    let mut rest = bytes.as_slice();
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let mut prefix = [0; frames::PREFIX];
        rest.read_exact(&mut prefix).unwrap();
        let (header, body) = frames::lengths(prefix).unwrap();
        let text = serde_json::from_slice::<serde_json::Value>(&rest[..header]).unwrap();
        frames.push((text, rest[header..header + body].to_vec()));
        rest = &rest[header + body..];
    }
    assert_eq!(frames.remove(0).0, serde_json::json!({"device": "cpu"}));
    let replies = frames
        .into_iter()
        .map(|(header, body)| (serde_json::from_value(header).unwrap(), body));
    let mut replies: Vec<(PredictReply, Vec<u8>)> = replies.collect();
    replies.sort_by_key(|(reply, _)| reply.id);
    replies
}

fn predicted(reply: &PredictReply) -> &[ClassProbability] {
    match &reply.outcome {
        PredictOutcome::Predicted { classes, timing } => {
            assert!(timing.queue >= 0.0 && timing.decode > 0.0 && timing.forward > 0.0);
            classes
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_in_a_batch_is_the_answer_alone() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), 1, |_| {});
    let input: Vec<u8> = (0..12)
        .flat_map(|id| frame(id, &model, &image(id as u32)))
        .collect();
    let alone = replies_to(input.clone(), &options(1));
    let together = replies_to(input, &options(5));
    assert_eq!(alone.len(), 12);
    let batches = |replies: &[PredictReply]| -> Vec<u32> {
        let told = replies.iter().map(|reply| reply.batch);
        told.filter(|images| *images > 0).collect()
    };
    assert_eq!(batches(&alone), [1; 12]);
    let sizes = batches(&together);
    assert_eq!(
        sizes.iter().sum::<u32>(),
        12,
        "each image is in one batch: {sizes:?}"
    );
    assert!(sizes.iter().any(|images| *images > 1) && sizes.iter().all(|images| *images <= 5));
    let mut distinct = Vec::new();
    for (alone, together) in alone.iter().zip(&together) {
        assert_eq!(alone.id, together.id);
        let (alone, together) = (predicted(alone), predicted(together));
        assert_eq!(alone.len(), 2);
        assert!(alone[0].probability >= alone[1].probability);
        for (a, b) in alone.iter().zip(together) {
            assert_eq!(a.label, b.label);
            assert!((a.probability - b.probability).abs() < 1e-5, "{a:?} {b:?}");
        }
        distinct.push((alone[0].probability * 1e9) as i64);
    }
    distinct.sort_unstable();
    distinct.dedup();
    assert!(distinct.len() > 6, "different images have different answers");
}

#[test]
fn questions_of_all_kinds_share_a_batch_and_each_gets_its_own_answer() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), 10, |_| {});
    let file = image(1);
    let recipe = card(&["ants", "bees"]).preprocessing;
    let rgb = pixels::prepare(&file, &recipe, 1_000_000).unwrap().rgb;
    let side = recipe.crop as usize;
    let normalised: Vec<u8> = (0..3)
        .flat_map(|channel| {
            let values = rgb.iter().skip(channel).step_by(3);
            let scaled = move |byte: &u8| {
                let value = f32::from(*byte) / 255.0;
                (value - recipe.mean[channel]) / recipe.std[channel]
            };
            values.map(scaled).collect::<Vec<_>>()
        })
        .flat_map(f32::to_le_bytes)
        .collect();
    let classify = PredictTask::Classify { top_k: 2 };
    let explain = |class| PredictTask::Explain { class };
    let with_nan = [&f32::NAN.to_le_bytes(), &normalised[4..]].concat();
    let (image, tensor) = (PredictInput::Image, PredictInput::Tensor);
    let asked: [(PredictTask, PredictInput, &[u8]); 9] = [
        (classify, image, &file),
        (classify, tensor, &normalised),
        (PredictTask::Embed { normalize: false }, image, &file),
        (PredictTask::Embed { normalize: true }, tensor, &normalised),
        (explain(None), image, &file),
        (explain(Some(9)), image, &file),
        (explain(None), tensor, &normalised),
        (classify, tensor, &normalised[4..]),
        (classify, tensor, &with_nan),
    ];
    let frames = asked.iter().zip(0..);
    let frames = frames.map(|((task, input, body), id)| frame_of(id, &model, *task, *input, body));
    let replies = replies_with_bodies(frames.flatten().collect(), &options(8));
    let (by_image, by_tensor) = (predicted(&replies[0].0), predicted(&replies[1].0));
    assert!((by_image[0].probability - by_tensor[0].probability).abs() < 1e-5);
    let floats = |body: &[u8]| -> Vec<f32> {
        let words = body.chunks_exact(4);
        words
            .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
            .collect()
    };
    let (plain, normal) = (floats(&replies[2].1), floats(&replies[3].1));
    assert_eq!(plain.len(), 512);
    let length = plain.iter().map(|value| value * value).sum::<f32>().sqrt();
    for (plain, normal) in plain.iter().zip(&normal) {
        assert!((plain / length - normal).abs() < 1e-5);
    }
    match &replies[4].0.outcome {
        PredictOutcome::Explained { class, .. } => {
            assert_eq!(class.label, by_image[0].label);
            assert!((class.probability - by_image[0].probability).abs() < 1e-5);
        }
        other => panic!("{other:?}"),
    }
    let drawn = image::load_from_memory(&replies[4].1).unwrap();
    assert_eq!(drawn.width() as usize, side);
    for ((reply, _), word) in replies[5..].iter().zip(["class 9", "draw on", "shape", "finite"]) {
        match &reply.outcome {
            PredictOutcome::InvalidImage { message } => assert!(message.contains(word), "{message}"),
            other => panic!("{word}: {other:?}"),
        }
    }
}

#[test]
fn a_bad_image_hurts_only_its_own_reply() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), 2, |_| {});
    let cut_short = &image(3)[..60];
    let mut huge = PredictRequest {
        id: 4,
        model: model.clone(),
        task: PredictTask::Classify { top_k: 1 },
        input: PredictInput::Image,
        max_pixels: 100,
    };
    huge.max_pixels = 100;
    let header = serde_json::to_vec(&huge).unwrap();
    let body = image(4);
    let input = [
        frame(0, &model, &image(0)),
        frame(1, &model, b"this is no image"),
        frame(2, &model, cut_short),
        frame(3, &model, b""),
        frames::prefix(header.len() as u32, body.len() as u32).to_vec(),
        header,
        body,
        frame(5, &model, &image(5)),
    ];
    let replies = replies_to(input.concat(), &options(4));
    assert_eq!(replies.len(), 6);
    predicted(&replies[0]);
    predicted(&replies[5]);
    let unsupported = |reply: &PredictReply| matches!(reply.outcome, PredictOutcome::UnsupportedImage { .. });
    let invalid = |reply: &PredictReply| matches!(reply.outcome, PredictOutcome::InvalidImage { .. });
    assert!(unsupported(&replies[1]), "{:?}", replies[1]);
    assert!(invalid(&replies[2]), "{:?}", replies[2]);
    assert!(unsupported(&replies[3]), "{:?}", replies[3]);
    assert!(invalid(&replies[4]), "{:?}", replies[4]);
}

#[test]
fn models_that_cannot_be_used_are_told_and_hurt_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let good = model(folder.path(), 3, |_| {});
    let gone = ModelFiles {
        weights: folder.path().join("gone.safetensors"),
        ..good.clone()
    };
    let gone = ModelFiles {
        sha256: "ab".repeat(32),
        ..gone
    };
    let without_card = ModelFiles {
        card: folder.path().join("gone.json"),
        ..good.clone()
    };
    let changed = ModelFiles {
        sha256: "0".repeat(64),
        ..good.clone()
    };
    // Finite weights whose product is not: every load check passes, and the output is no number.
    let overflowing = model(folder.path(), 4, |state| {
        for name in ["fc.weight", "layer4.1.bn2.weight"] {
            let _ = state
                .get_mut(name)
                .unwrap()
                .g_mul_scalar_(1e38)
                .g_add_scalar_(1e38);
        }
    });
    let short = model(folder.path(), 5, |state| {
        state.remove("layer3.0.conv1.weight");
    });
    let models = [&good, &gone, &without_card, &changed, &overflowing, &short, &good];
    let frames = models
        .iter()
        .zip(0..)
        .map(|(model, id)| frame(id, model, &image(1)));
    let replies = replies_to(frames.flatten().collect(), &options(4));
    assert_eq!(replies.len(), models.len());
    predicted(&replies[0]);
    predicted(&replies[6]);
    for (reply, word) in replies[1..6]
        .iter()
        .zip(["weights", "card", "weights", "finite", "layer3.0.conv1"])
    {
        match &reply.outcome {
            PredictOutcome::ModelDamaged { message } => {
                assert!(message.contains(word) && message.contains("damaged"), "{message}");
                assert!(reply.id < 4, "{message}");
            }
            PredictOutcome::ModelUnusable { message } => {
                assert!(message.contains(word) && reply.id >= 4, "{message}");
            }
            other => panic!("{word}: {other:?}"),
        }
    }
}

#[test]
fn a_model_that_could_not_be_loaded_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), 6, |_| {});
    let away = folder.path().join("away");
    std::fs::rename(&model.weights, &away).unwrap();
    let (input, mut server) = io::pipe().unwrap();
    let (mut replies, output) = io::pipe().unwrap();
    let child = std::thread::spawn(move || run(&options(4), input, output));
    let mut read = || {
        let mut prefix = [0; frames::PREFIX];
        replies.read_exact(&mut prefix).unwrap();
        let mut header = vec![0; frames::lengths(prefix).unwrap().0];
        replies.read_exact(&mut header).unwrap();
        serde_json::from_slice::<serde_json::Value>(&header).unwrap()["outcome"].clone()
    };
    assert!(read().is_null(), "the first frame says that the child is ready");
    server.write_all(&frame(0, &model, &image(1))).unwrap();
    assert_eq!(read(), "model_damaged");
    std::fs::rename(&away, &model.weights).unwrap();
    server.write_all(&frame(1, &model, &image(1))).unwrap();
    assert_eq!(read(), "predicted");
    drop(server);
    child.join().unwrap().unwrap();
}

#[test]
fn a_model_is_loaded_once_however_many_ask() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), 11, |_| {});
    let (input, mut server) = io::pipe().unwrap();
    let (mut replies, output) = io::pipe().unwrap();
    let child = std::thread::spawn(move || run(&options(1), input, output));
    let mut read = || {
        let mut prefix = [0; frames::PREFIX];
        replies.read_exact(&mut prefix).unwrap();
        let mut header = vec![0; frames::lengths(prefix).unwrap().0];
        replies.read_exact(&mut header).unwrap();
        serde_json::from_slice::<serde_json::Value>(&header).unwrap()["outcome"].clone()
    };
    assert!(read().is_null());
    // Both lanes at once: one loads it, the other waits for that.
    for id in 0..4 {
        server.write_all(&frame(id, &model, &image(1))).unwrap();
    }
    assert!((0..4).all(|_| read() == "predicted"));
    // From now on it could not be loaded.
    std::fs::remove_file(&model.weights).unwrap();
    for id in 4..12 {
        server.write_all(&frame(id, &model, &image(2))).unwrap();
    }
    assert!((4..12).all(|_| read() == "predicted"));
    drop(server);
    child.join().unwrap().unwrap();
}

#[test]
fn more_models_than_memory_are_served_in_turn() {
    let folder = tempfile::tempdir().unwrap();
    let models = [model(folder.path(), 7, |_| {}), model(folder.path(), 8, |_| {})];
    let one_at_a_time = Options {
        model_bytes: Some(50 << 20),
        ..options(2)
    };
    let input: Vec<u8> = (0..6)
        .flat_map(|id| frame(id, &models[id as usize % 2], &image(1)))
        .collect();
    let replies = replies_to(input, &one_at_a_time);
    assert_eq!(replies.len(), 6);
    for pair in replies.chunks(2) {
        let top = |reply: &PredictReply| predicted(reply)[0].probability;
        assert_ne!(top(&pair[0]), top(&pair[1]));
        assert!((top(&pair[0]) - top(&replies[0])).abs() < 1e-5);
    }
}

#[test]
fn a_server_that_speaks_something_else_ends_the_child_with_an_error() {
    for nonsense in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [&frames::prefix(2, 0)[..], b"{}"].concat(),
    ] {
        let output = Output::default();
        let fault = run(&options(1), Cursor::new(nonsense), output).unwrap_err();
        assert!(fault.to_string().contains("stdin"), "{fault}");
    }
    // An end in the middle of a frame is an end like any other.
    assert!(replies_to(frames::prefix(100, 0).to_vec(), &options(1)).is_empty());
}

#[test]
fn nobody_listening_ends_the_child() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), 9, |_| {});
    let (input, mut server) = io::pipe().unwrap();
    let (replies, output) = io::pipe().unwrap();
    drop(replies);
    let child = std::thread::spawn(move || run(&options(1), input, output));
    // The pipe may break while this writes; what counts is that the child leaves although its input goes on.
    let _ = server.write_all(&frame(0, &model, &image(0)));
    child.join().unwrap().unwrap();
}

#[test]
fn batches_are_large_only_where_many_wait() {
    let size = BatchSize { usual: 4, most: 8 };
    let sizes = [1, 4, 15, 16, 40].map(|waiting| size.now(waiting, 2));
    assert_eq!(sizes, [4, 4, 4, 8, 8]);
    assert_eq!(BatchSize::up_to(3).now(100, 1), 3);
}
