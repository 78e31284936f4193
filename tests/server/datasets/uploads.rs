//! Resumable uploads (tus 1.0): what a client may do, in which order it may fail, and that no acknowledged byte is sent twice.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Api, Server, api::Answer, patience::wait_until, pictures, program::Program};
use finetuned::{config::Config, files::digest};

const BYTES: &str = "application/offset+octet-stream";

fn asked(api: &Api, method: &str, path: &str) -> RequestBuilder {
    let method = method.parse::<Method>().unwrap();
    api.request(method, path).header("tus-resumable", "1.0.0")
}

fn metadata(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{key} {}", STANDARD.encode(value)))
        .collect();
    pairs.join(",")
}

fn creation(api: &Api, bytes: usize, pairs: &[(&str, &str)]) -> RequestBuilder {
    asked(api, "POST", "/v1/uploads")
        .header("upload-length", bytes)
        .header("upload-metadata", metadata(pairs))
}

/// Begins an upload; its address.
async fn begin(api: &Api, bytes: usize, pairs: &[(&str, &str)]) -> String {
    let created = api.send(creation(api, bytes, pairs)).await.expect(201);
    header(&created, "location").to_owned()
}

fn patch(api: &Api, path: &str, offset: usize, bytes: &[u8]) -> RequestBuilder {
    asked(api, "PATCH", path)
        .header("upload-offset", offset)
        .header("content-type", BYTES)
        .body(bytes.to_vec())
}

async fn head(api: &Api, path: &str) -> Answer {
    api.send(asked(api, "HEAD", path)).await
}

/// Where an upload stands.
async fn offset(api: &Api, path: &str) -> usize {
    header(&head(api, path).await.expect(200), "upload-offset")
        .parse()
        .unwrap()
}

#[track_caller]
fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let value = answer.headers.get(name);
    value.unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

/// Announces bytes and sends only some of them.
async fn send_some(api: &Api, path: &str, offset: usize, announced: usize, bytes: &[u8]) -> TcpStream {
    let address = api.base.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "PATCH {path} HTTP/1.1\r\nhost: {address}\r\ntus-resumable: 1.0.0\r\nupload-offset: {offset}\r\n\
        content-type: {BYTES}\r\ncontent-length: {announced}\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection.write_all(bytes).await.unwrap();
    connection.flush().await.unwrap();
    connection
}

/// Sends the rest of an archive; the dataset that it becomes.
async fn send_rest(api: &Api, path: &str, archive: &[u8]) -> String {
    let from = offset(api, path).await;
    let last = api
        .send(patch(api, path, from, &archive[from..]))
        .await
        .expect(204);
    assert_eq!(header(&last, "upload-offset"), archive.len().to_string());
    header(&last, "upload-dataset").to_owned()
}

fn files_of_uploads(server: &Server) -> usize {
    let folder = server.data_dir().join("uploads");
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_in_parts_becomes_a_dataset_with_its_last_byte() {
    let server = Server::start().await;
    let api = &server.api;
    let archive = pictures::flat_archive(2, 3);
    let abilities = api
        .send(api.request(Method::OPTIONS, "/v1/uploads"))
        .await
        .expect(204);
    assert_eq!(header(&abilities, "tus-version"), "1.0.0");
    assert_eq!(header(&abilities, "tus-max-size"), (8u64 << 30).to_string());
    for extension in ["creation", "checksum", "expiration", "termination"] {
        assert!(header(&abilities, "tus-extension").contains(extension));
    }

    let sha256 = digest::of_bytes(&archive);
    let pairs = [
        ("filename", "My things.zip"),
        ("sha256", &sha256),
        ("type", "zip"),
    ];
    let path = begin(api, archive.len(), &pairs).await;
    let begun = head(api, &path).await.expect(200);
    assert_eq!(header(&begun, "upload-offset"), "0");
    assert_eq!(header(&begun, "upload-length"), archive.len().to_string());
    assert_eq!(header(&begun, "upload-metadata"), metadata(&pairs));
    assert_eq!(header(&begun, "cache-control"), "no-store");
    assert_eq!(header(&begun, "tus-resumable"), "1.0.0");
    assert!(header(&begun, "upload-expires").ends_with(" GMT"));

    // The first part is too short to tell what it begins.
    for (from, to) in [(0, 100), (100, 700), (700, 701)] {
        let sent = api
            .send(patch(api, &path, from, &archive[from..to]))
            .await
            .expect(204);
        assert_eq!(header(&sent, "upload-offset"), to.to_string());
        assert!(!sent.headers.contains_key("upload-dataset"));
    }
    let half = api.get(&path).await.expect(200).json();
    assert_eq!(
        (&half["status"], &half["received"], &half["dataset"]),
        (&json!("receiving"), &json!(701), &json!(null))
    );
    let dataset = send_rest(api, &path, &archive).await;

    let ready = api
        .get(&format!("/v1/datasets/{dataset}?wait=60"))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&ready["status"], &ready["name"], &ready["sha256"]),
        (&json!("ready"), &json!("My-things"), &json!(sha256)),
        "{ready:#}"
    );
    // Whoever missed the last answer finds out.
    let complete = head(api, &path).await.expect(200);
    assert_eq!(header(&complete, "upload-offset"), archive.len().to_string());
    assert_eq!(header(&complete, "upload-dataset"), dataset);
    let again = api.send(patch(api, &path, archive.len(), b"")).await.expect(204);
    assert_eq!(header(&again, "upload-dataset"), dataset);
    let list = api.get("/v1/uploads").await.expect(200).json();
    assert_eq!(
        (&list["data"][0]["status"], &list["data"][0]["dataset"]),
        (&json!("complete"), &json!(dataset))
    );
    assert_eq!(files_of_uploads(&server), 0);

    // The same bytes under the same name are the same dataset, as everywhere.
    let path = begin(api, archive.len(), &pairs).await;
    assert_eq!(send_rest(api, &path, &archive).await, dataset);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_bytes_may_come_with_the_creation() {
    let server = Server::start().await;
    let api = &server.api;
    let archive = pictures::flat_archive(2, 3);
    let created = creation(api, archive.len(), &[("name", "with-bytes")])
        .header("content-type", BYTES)
        .body(archive[..1000].to_vec());
    let created = api.send(created).await.expect(201);
    assert_eq!(header(&created, "upload-offset"), "1000");
    let path = header(&created, "location").to_owned();
    let dataset = send_rest(api, &path, &archive).await;
    let whole = creation(api, archive.len(), &[("name", "at-once")])
        .header("content-type", BYTES)
        .header("repr-digest", repr_digest(&archive))
        .body(archive.clone());
    let at_once = api.send(whole).await.expect(201);
    assert_ne!(header(&at_once, "upload-dataset"), dataset);
    server.stop().await;
}

fn repr_digest(bytes: &[u8]) -> String {
    let hexadecimal = digest::of_bytes(bytes);
    let bytes: Vec<u8> = (0..32)
        .map(|i| u8::from_str_radix(&hexadecimal[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    format!("sha-256=:{}:", STANDARD.encode(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_changes_nothing() {
    let server = Server::with(|config| {
        config.limits.max_archive_bytes = 1_000_000;
        config.limits.max_unfinished_uploads = 2;
    })
    .await;
    let api = &server.api;
    let archive = pictures::flat_archive(2, 3);
    api.upload("taken", archive.clone()).await;

    let other_version = api
        .request(Method::POST, "/v1/uploads")
        .header("tus-resumable", "0.2.2")
        .header("upload-length", 5);
    let refused = api.send(other_version).await;
    refused.problem(412, "tus-version");
    assert_eq!(header(&refused, "tus-version"), "1.0.0");
    assert_eq!(header(&refused, "tus-resumable"), "1.0.0");
    let no_version = api
        .request(Method::POST, "/v1/uploads")
        .header("upload-length", 5);
    api.send(no_version).await.problem(412, "tus-version");

    let named = [("name", "new")];
    api.send(asked(api, "POST", "/v1/uploads").header("upload-metadata", metadata(&named)))
        .await
        .problem(400, "header-invalid");
    api.send(creation(api, 5, &named).header("upload-defer-length", "1"))
        .await
        .problem(400, "header-invalid");
    api.send(creation(api, 1_000_001, &named))
        .await
        .problem(413, "too-large");
    api.send(creation(api, 0, &named))
        .await
        .problem(415, "archive-unsupported");
    for (pairs, status, slug) in [
        (&[][..], 422, "invalid"),
        (&[("name", "../up")], 422, "invalid"),
        (&[("name", "taken")], 409, "name-taken"),
        (&[("name", "new"), ("sha256", "abc")], 400, "digest-invalid"),
    ] {
        api.send(creation(api, archive.len(), pairs))
            .await
            .problem(status, slug);
    }
    assert_eq!(api.get("/v1/uploads").await.expect(200).json()["data"], json!([]));

    let path = begin(api, archive.len(), &named).await;
    let part = &archive[..600];
    api.send(patch(api, &path, 1, part))
        .await
        .problem(409, "offset-mismatch");
    let untyped = asked(api, "PATCH", &path)
        .header("upload-offset", 0)
        .body(part.to_vec());
    api.send(untyped).await.problem(415, "bytes-expected");
    let without_offset = asked(api, "PATCH", &path).header("content-type", BYTES);
    api.send(without_offset).await.problem(400, "header-invalid");
    let mut longer = archive.clone();
    longer.push(0);
    api.send(patch(api, &path, 0, &longer))
        .await
        .problem(413, "too-large");
    assert_eq!(offset(api, &path).await, 0);
    api.send(patch(api, &path, 0, part)).await.expect(204);
    api.send(patch(api, &path, 0, part))
        .await
        .problem(409, "offset-mismatch");
    assert_eq!(offset(api, &path).await, part.len());

    // No archive: told by the first bytes, and nothing is left of it.
    let text = begin(api, 5000, &[("name", "text")]).await;
    begin_is_refused(api).await;
    api.send(patch(api, &text, 0, &[b'x'; 400])).await.expect(204);
    api.send(patch(api, &text, 400, &[b'x'; 400]))
        .await
        .problem(415, "archive-unsupported");
    assert_eq!(head(api, &text).await.status, 404);
    assert_eq!(files_of_uploads(&server), 1);
    let unknown = "/v1/uploads/upl_019ab3c4d5e67f8091a2b3c4d5e6f708";
    assert_eq!(head(api, unknown).await.status, 404);
    assert_eq!(head(api, "/v1/uploads/..%2F..%2Fetc").await.status, 404);
    server.stop().await;
}

async fn begin_is_refused(api: &Api) {
    api.send(creation(api, 5000, &[("name", "third")]))
        .await
        .problem(429, "too-many-uploads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_and_a_restart_cost_only_what_was_not_acknowledged() {
    let server = Server::start().await;
    let archive = pictures::flat_archive(2, 40);
    let path = begin(&server.api, archive.len(), &[("name", "things")]).await;
    let third = archive.len() / 3;
    let connection = send_some(&server.api, &path, 0, archive.len(), &archive[..third]).await;
    drop(connection);
    // What had arrived counts as soon as the server has noticed.
    wait_until("what came before the connection broke counts", async || {
        offset(&server.api, &path).await >= third
    })
    .await;

    let server = Server::on(server.stop().await, |_| {}).await;
    assert_eq!(offset(&server.api, &path).await, third);
    // The server stops while bytes come: it writes down what it has.
    let _connection = send_some(
        &server.api,
        &path,
        third,
        archive.len() - third,
        &archive[third..2 * third],
    )
    .await;
    let server = Server::on(server.stop().await, |_| {}).await;
    let stands = offset(&server.api, &path).await;
    assert!((third..=2 * third).contains(&stands), "{stands}");
    let dataset = send_rest(&server.api, &path, &archive).await;
    let dataset = server
        .api
        .get(&format!("/v1/datasets/{dataset}?wait=60"))
        .await
        .expect(200)
        .json();
    assert_eq!(dataset["sha256"], digest::of_bytes(&archive));
    assert_eq!(dataset["status"], "ready", "{dataset:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_goes_on_from_what_it_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    // Only its beginning is that of an archive; it is long enough to be brought to the disk on the way.
    let long: Vec<u8> = (0..40_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let archive = [pictures::flat_archive(2, 2), long].concat();
    let program = Program::start(data.path());
    let path = begin(&program.api, archive.len(), &[("name", "things")]).await;
    let part = 1_000_000;
    program
        .api
        .send(patch(&program.api, &path, 0, &archive[..part]))
        .await
        .expect(204);
    let sent = 38_000_000;
    let _connection = send_some(
        &program.api,
        &path,
        part,
        archive.len() - part,
        &archive[part..sent],
    )
    .await;
    // Long before the request ends some of it counts.
    wait_until("some of it counts before the request ends", async || {
        offset(&program.api, &path).await > part
    })
    .await;
    let acknowledged = offset(&program.api, &path).await;
    program.kill();

    let program = Program::start(data.path());
    let stands = offset(&program.api, &path).await;
    assert!(
        (acknowledged..=sent).contains(&stands),
        "{stands}, not from {acknowledged} to {sent}"
    );
    let dataset = send_rest(&program.api, &path, &archive).await;
    let dataset = program
        .api
        .get(&format!("/v1/datasets/{dataset}"))
        .await
        .expect(200)
        .json();
    assert_eq!(dataset["sha256"], digest::of_bytes(&archive));
    program.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_at_a_time_writes_and_a_silent_one_gives_way() {
    let server = Server::start().await;
    let api = &server.api;
    let archive = pictures::flat_archive(2, 3);
    let path = begin(api, archive.len(), &[("name", "things")]).await;
    let mut first = send_some(api, &path, 0, archive.len(), &archive[..1000]).await;
    // Only what the server has read holds the upload; until then the second one is let in.
    let second = async {
        loop {
            let second = api.send(patch(api, &path, 0, b"")).await;
            if second.status != 204 {
                return second;
            }
            // It may also have been in the first one's way, which has been answered then.
            if timeout(Duration::from_millis(50), first.peek(&mut [0]))
                .await
                .is_ok()
            {
                first = send_some(api, &path, 0, archive.len(), &archive[..1000]).await;
            }
        }
    };
    let second = timeout(Duration::from_secs(60), second)
        .await
        .expect("nothing holds the upload");
    second.problem(423, "upload-locked");
    let deletion = api.send(asked(api, "DELETE", &path)).await;
    deletion.problem(423, "upload-locked");
    // Its client has gone away without a word: after a while another one gets through.
    let dataset = async {
        loop {
            let answer = api.send(patch(api, &path, 1000, &archive[1000..])).await;
            if answer.status == 204 {
                return header(&answer, "upload-dataset").to_owned();
            }
            assert!([409, 423].contains(&answer.status), "{}", answer.text);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let dataset = timeout(Duration::from_secs(30), dataset)
        .await
        .expect("a silent request holds its upload for ever");
    let mut refused = [0; 64];
    let read = timeout(Duration::from_secs(30), first.read(&mut refused))
        .await
        .expect("the silent one gets no answer")
        .unwrap();
    let refused = String::from_utf8_lossy(&refused[..read]).into_owned();
    assert!(refused.starts_with("HTTP/1.1 423 "), "{refused}");
    let dataset = api
        .get(&format!("/v1/datasets/{dataset}"))
        .await
        .expect(200)
        .json();
    assert_eq!(dataset["sha256"], digest::of_bytes(&archive));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_were_changed_on_the_way_are_dropped() {
    let server = Server::start().await;
    let api = &server.api;
    let archive = pictures::flat_archive(2, 3);
    let path = begin(api, archive.len(), &[("name", "things")]).await;
    let part = &archive[..900];
    let checksum = format!("sha256 {}", &repr_digest(part)[9..].trim_end_matches(':'));
    let mut torn = part.to_vec();
    torn[800] ^= 1;
    for (name, value) in [
        ("upload-checksum", checksum),
        ("content-digest", repr_digest(part)),
    ] {
        let sent = patch(api, &path, 0, &torn).header(name, value);
        api.send(sent).await.problem(460, "checksum-mismatch");
        assert_eq!(offset(api, &path).await, 0);
    }
    let unknown = patch(api, &path, 0, part).header("upload-checksum", "crc32 AAAAAA==");
    api.send(unknown).await.problem(400, "header-invalid");
    let right = patch(api, &path, 0, part).header("content-digest", repr_digest(part));
    api.send(right).await.expect(204);
    send_rest(api, &path, &archive).await;

    // The digest of the whole, told at the beginning or at the end.
    let wanted = digest::of_bytes(b"something else");
    let path = begin(api, archive.len(), &[("name", "wrong"), ("sha256", &wanted)]).await;
    let refused = api
        .send(patch(api, &path, 0, &archive))
        .await
        .problem(400, "digest-mismatch");
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.contains(&wanted) && detail.contains(&digest::of_bytes(&archive)),
        "{detail}"
    );
    assert_eq!(head(api, &path).await.status, 410);
    let failed = api.get(&path).await.expect(200).json();
    assert_eq!(
        (&failed["status"], &failed["error"]["code"]),
        (&json!("failed"), &json!("digest_mismatch"))
    );
    let path = begin(api, archive.len(), &[("name", "wrong")]).await;
    let sent = patch(api, &path, 0, &archive).header("repr-digest", repr_digest(b"something else"));
    api.send(sent).await.problem(400, "digest-mismatch");
    assert_eq!(files_of_uploads(&server), 0);
    api.get("/v1/datasets/wrong").await.problem(404, "not-found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_given_up_or_forgotten_leaves_nothing() {
    let server = Server::start().await;
    let api = &server.api;
    let archive = pictures::flat_archive(2, 3);
    let path = begin(api, archive.len(), &[("name", "given-up")]).await;
    api.send(patch(api, &path, 0, &archive[..900])).await.expect(204);
    assert_eq!(files_of_uploads(&server), 1);
    api.delete(&path).await.expect(204);
    assert_eq!(head(api, &path).await.status, 404);
    api.send(patch(api, &path, 900, &archive[900..]))
        .await
        .problem(404, "not-found");
    // For clients that can only POST.
    let path = begin(api, archive.len(), &[("name", "posted")]).await;
    let posted = asked(api, "POST", &path)
        .header("x-http-method-override", "PATCH")
        .header("upload-offset", 0)
        .header("content-type", BYTES)
        .body(archive[..900].to_vec());
    api.send(posted).await.expect(204);
    assert_eq!(offset(api, &path).await, 900);
    api.send(asked(api, "POST", &path))
        .await
        .problem(400, "header-invalid");
    let deletion = asked(api, "POST", &path).header("x-http-method-override", "DELETE");
    api.send(deletion).await.expect(204);
    assert_eq!(files_of_uploads(&server), 0);

    let path = begin(api, archive.len(), &[("name", "forgotten")]).await;
    api.send(patch(api, &path, 0, &archive[..900])).await.expect(204);
    let at_once = |config: &mut Config| config.limits.upload_expiry_seconds = 0;
    let server = Server::on(server.stop().await, at_once).await;
    let api = &server.api;
    api.send(patch(api, &path, 900, &archive[900..901]))
        .await
        .expect(204);
    assert_eq!(files_of_uploads(&server), 1);
    wait_until("it expires", async || head(api, &path).await.status == 410).await;
    // The start sweeps.
    let server = Server::on(server.stop().await, at_once).await;
    wait_until("the file of an upload that has expired goes", async || {
        files_of_uploads(&server) == 0
    })
    .await;
    assert_eq!(head(&server.api, &path).await.status, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_room_on_the_disk_is_told_before_anything_is_sent() {
    let server = Server::with(|config| config.limits.min_free_bytes = u64::MAX).await;
    let api = &server.api;
    api.send(creation(api, 5000, &[("name", "things")]))
        .await
        .problem(507, "insufficient-storage");
    server.stop().await;
}
