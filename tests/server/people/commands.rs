//! The client commands, against a real server: what a person types and what a script reads.

use std::{fs, process::Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::support::{Server, pictures};
use finetuned::files::digest;

async fn finetuned(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finetuned"));
    command
        .args(arguments)
        .env("FINETUNED_SERVER", &server.api.base)
        .stdin(Stdio::null());
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn submit_watch_and_predict_do_the_whole_job() {
    let server = Server::start().await;
    server.api.upload("things", pictures::flat_archive(2, 16)).await;
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("job.json");
    fs::write(&spec, r#"{"dataset":"things","name":"thing","backbone":{"weights":"none"},"image":{"size":32},"batch_size":8}"#).unwrap();
    let (code, out, errors) = finetuned(
        &server,
        &["submit", spec.to_str().unwrap(), "--set", "epochs=3", "--json"],
    )
    .await;
    assert_eq!(code, 0, "{errors}");
    let job: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(job["spec"]["epochs"], 3);

    let (code, out, errors) = finetuned(&server, &["watch", job["id"].as_str().unwrap(), "--json"]).await;
    assert_eq!(code, 0, "{errors}");
    let events: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let text = events.iter().map(Value::to_string).collect::<String>();
    assert!(
        text.contains("val_accuracy") && text.contains("succeeded"),
        "{out}"
    );
    let (code, out, _) = finetuned(&server, &["watch", "thing"]).await;
    assert_eq!(code, 0);
    assert!(out.contains('3'), "{out}");

    let picture = folder.path().join("picture.png");
    fs::write(&picture, pictures::png(0, 77, 40)).unwrap();
    let (code, out, errors) = finetuned(&server, &["predict", "thing", picture.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(out.contains("class-0") && out.contains("picture.png"), "{out}");
    let text_file = folder.path().join("text.png");
    fs::write(&text_file, "no image").unwrap();
    let (code, out, errors) = finetuned(
        &server,
        &[
            "predict",
            "thing",
            picture.to_str().unwrap(),
            text_file.to_str().unwrap(),
        ],
    )
    .await;
    assert_eq!(code, 1, "one of the two is no image");
    assert!(
        out.contains("class-0") && format!("{out}{errors}").contains("text.png"),
        "{out}{errors}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_spec_is_told_field_by_field() {
    let server = Server::start().await;
    let (code, _, errors) =
        finetuned(&server, &["submit", "--dataset", "nothing", "--set", "epochs=0"]).await;
    assert_eq!(code, 1);
    assert!(
        errors.contains("/dataset") && errors.contains("/epochs"),
        "{errors}"
    );
    server.stop().await;
}

/// Between the client and the server, and cuts the first connection that brings bytes of an upload.
async fn cutting_proxy(server: &Server) -> String {
    let target = server.api.base.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut has_cut = false;
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut upstream = TcpStream::connect(&target).await.unwrap();
            let mut buffer = vec![0; 4096];
            let mut passed = 0;
            // The creation is small and comes on the same connection as the bytes.
            while !has_cut && passed < 20_000 {
                tokio::select! {
                    read = client.read(&mut buffer) => {
                        let read = read.unwrap();
                        upstream.write_all(&buffer[..read]).await.unwrap();
                        passed += read;
                        if read == 0 { break }
                    }
                    answered = upstream.readable() => {
                        answered.unwrap();
                        let mut answer = vec![0; 4096];
                        if let Ok(read) = upstream.try_read(&mut answer) {
                            client.write_all(&answer[..read]).await.unwrap();
                            if read == 0 { break }
                        }
                    }
                }
            }
            if passed >= 20_000 {
                has_cut = true;
                continue;
            }
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut upstream).await });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_goes_on_where_it_was() {
    let server = Server::start().await;
    let proxy = cutting_proxy(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("My things.zip");
    let bytes = pictures::flat_archive(2, 40);
    assert!(bytes.len() > 40_000, "{}", bytes.len());
    fs::write(&archive, &bytes).unwrap();
    let upload = [
        "upload",
        archive.to_str().unwrap(),
        "--resume-from",
        "0",
        "--json",
    ];
    let (code, out, errors) = finetuned(&server, &[&upload[..], &["--server", &proxy]].concat()).await;
    assert_eq!(code, 0, "{errors}");
    assert!(errors.contains("retrying"), "{errors}");
    let dataset: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&dataset["status"], &dataset["name"], &dataset["sha256"]),
        (
            &Value::from("ready"),
            &Value::from("My-things"),
            &Value::from(digest::of_bytes(&bytes))
        )
    );
    let (code, out, errors) = finetuned(&server, &upload).await;
    assert_eq!(code, 0, "{errors}");
    let again: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(again["id"], dataset["id"]);
}
