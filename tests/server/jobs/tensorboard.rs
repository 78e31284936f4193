//! Event files: what is in them is what the events say, by a reader of our own and by TensorBoard's.

use std::{collections::BTreeMap, env, fs, path::Path};

use reqwest::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Api, Server, pictures, stream::Stream};

/// By tag: time, step and value.
type Scalars = BTreeMap<String, Vec<(f64, u64, f64)>>;

/// The name and the bytes of a job's event file.
async fn download(api: &Api, job: &Value) -> (String, Vec<u8>) {
    let path = format!("/v1/jobs/{}/tensorboard", job["id"].as_str().unwrap());
    let response = api.request(reqwest::Method::GET, &path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let header = |name| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header(CONTENT_TYPE), "application/octet-stream");
    let disposition = header(CONTENT_DISPOSITION);
    let name = disposition.strip_prefix("attachment; filename=\"").unwrap();
    let name = name.strip_suffix('"').unwrap().to_owned();
    assert!(name.starts_with("events.out.tfevents."), "{name}");
    (name, response.bytes().await.unwrap().to_vec())
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |state, byte| {
        (0..8).fold(state ^ u32::from(*byte), |state, _| match state & 1 {
            1 => state >> 1 ^ 0x82f6_3b78,
            _ => state >> 1,
        })
    })
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The data of each record, whose checksums hold.
fn records(mut file: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !file.is_empty() {
        let (length, rest) = file.split_at(8);
        let (sum, rest) = rest.split_at(4);
        assert_eq!(masked(length), u32::from_le_bytes(sum.try_into().unwrap()));
        let (data, rest) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let (sum, rest) = rest.split_at(4);
        assert_eq!(masked(data), u32::from_le_bytes(sum.try_into().unwrap()));
        found.push(data);
        file = rest;
    }
    found
}

/// The fields of a protobuf message, whatever they mean: number and bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let end = message.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (digits, rest) = message.split_at(end);
        *message = rest;
        digits
            .iter()
            .rev()
            .fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut message).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (value, rest) = message.split_at(length);
        found.push((key >> 3, value.to_vec()));
        message = rest;
    }
    found
}

fn field(message: &[(u64, Vec<u8>)], number: u64) -> &[u8] {
    let found = message.iter().find(|(one, _)| *one == number);
    &found
        .unwrap_or_else(|| panic!("no field {number}: {message:?}"))
        .1
}

fn double(bytes: &[u8]) -> f64 {
    f64::from_le_bytes(bytes.try_into().unwrap())
}

fn scalars(file: &[u8]) -> Scalars {
    let mut found = Scalars::new();
    let records = records(file);
    let first = fields(records[0]);
    assert_eq!(field(&first, 3), b"brain.Event:2");
    for record in &records[1..] {
        let event = fields(record);
        let (at, step) = (double(field(&event, 1)), field(&event, 2));
        let step = u64::from_le_bytes(step.try_into().unwrap());
        for (_, value) in fields(field(&event, 5)) {
            let value = fields(&value);
            let tag = String::from_utf8(field(&value, 1).to_vec()).unwrap();
            let value = f32::from_le_bytes(field(&value, 2).try_into().unwrap());
            found.entry(tag).or_default().push((at, step, f64::from(value)));
        }
    }
    found
}

/// What TensorBoard reads in it.
async fn by_tensorboard(name: &str, file: &[u8]) -> Scalars {
    let python = env::var("FINETUNED_TENSORBOARD_PYTHON").expect(
        "FINETUNED_TENSORBOARD_PYTHON names a Python with TensorBoard: `make test` sets it up and runs this",
    );
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), file).unwrap();
    let output = Command::new(python)
        .arg("-B")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/event_file.py"))
        .arg(folder.path())
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the events say of a field, with the same precision.
async fn told(api: &Api, job: &Value, kind: &str, name: &str) -> Vec<(f64, u64, f64)> {
    let path = format!("/v1/jobs/{}/events?limit=1000", job["id"].as_str().unwrap());
    let events = api.get(&path).await.expect(200).json();
    let events = events["data"].as_array().unwrap().iter();
    let point = |event: &Value| {
        let at: finetuned::domain::time::Timestamp =
            serde_json::from_value(event["created_at"].clone()).unwrap();
        let value = event["data"][name].as_f64()? as f32;
        Some((
            at.0 as f64 / 1000.0,
            event["data"]["step"].as_u64()?,
            f64::from(value),
        ))
    };
    events
        .filter(|event| event["kind"] == kind)
        .filter_map(point)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tensorboard_reads_the_curves_of_a_job() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 16)).await;
    let spec = json!({"dataset": "things", "name": "base", "backbone": {"architecture": "resnet20", "weights": "none"},
        "image": {"size": 32}, "split": {"val": 0.25}, "epochs": 3, "batch_size": 8});
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    let (name, file) = download(api, &job).await;
    let found = scalars(&file);
    for (tag, kind, field) in [
        ("train/loss", "step", "train_loss"),
        ("lr", "step", "lr"),
        ("images_per_second", "step", "images_per_second"),
        ("train/epoch_loss", "epoch", "train_loss"),
        ("train/accuracy", "epoch", "train_accuracy"),
        ("val/loss", "epoch", "val_loss"),
        ("val/accuracy", "epoch", "val_accuracy"),
        ("data_wait", "epoch", "data_wait"),
    ] {
        let told = told(api, &job, kind, field).await;
        assert!(!told.is_empty(), "{tag}");
        assert_eq!(found[tag], told, "{tag}");
    }
    assert_eq!((found.len(), found["val/loss"].len()), (8, 3), "{found:?}");
    assert_eq!(by_tensorboard(&name, &file).await, found);

    // A head that is solved has no steps.
    let spec = json!({"dataset": "things", "name": "solved", "image": {"size": 32}, "split": {"val": 0.25}, "freeze": "backbone",
        "backbone": {"architecture": "resnet20", "weights": "base"}, "head": {"solver": "lbfgs"}});
    let solved = api.finished(&api.submit(spec).await).await;
    assert_eq!(solved["status"], "succeeded", "{solved:#}");
    let (name, file) = download(api, &solved).await;
    let found = scalars(&file);
    assert_eq!(
        found["train/loss"],
        told(api, &solved, "epoch", "train_loss").await
    );
    assert!(found.contains_key("val/accuracy") && !found.contains_key("train/epoch_loss"));
    assert_eq!(by_tensorboard(&name, &file).await, found);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_file_of_a_job_that_has_not_ended_has_what_there_is() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 8)).await;
    let spec = |device: &str| {
        json!({"dataset": "things", "backbone": {"architecture": "resnet20", "weights": "none"}, "image": {"size": 32},
            "split": {"val": 0.25}, "epochs": 5000, "batch_size": 8, "device": device})
    };
    let waiting = api.submit(spec("cuda:9")).await;
    let (name, file) = download(api, &waiting).await;
    assert!(scalars(&file).is_empty() && by_tensorboard(&name, &file).await.is_empty());

    let running = api.submit(spec("cpu")).await;
    let path = format!("/v1/jobs/{}/events", running["id"].as_str().unwrap());
    let mut stream = Stream::of(api.open_stream(&path, None).await);
    stream.until("epoch").await;
    let found = scalars(&download(api, &running).await.1);
    assert!(!found["val/loss"].is_empty());
    let more = async || {
        let later = scalars(&download(api, &running).await.1);
        later["val/loss"].len() > found["val/loss"].len()
    };
    stream.until("epoch").await;
    crate::support::patience::wait_until("the file grows", more).await;
    for job in [&waiting, &running] {
        let cancel = format!("/v1/jobs/{}/cancel", job["id"].as_str().unwrap());
        api.post(&cancel, json!({})).await;
    }
    server.stop().await;
}
