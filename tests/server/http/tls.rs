//! TLS: which protocols are spoken, when a certificate is read again, what is said of one that cannot be used, and that handshakes are held to
//! what holds for connections.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::Method;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;
use tokio::time::interval;

use crate::support::{
    Server,
    certificate::Certificate,
    patience::wait_until,
    pictures,
    raw::{ELSEWHERE, HERE, Raw},
    tls::{HTTP_1, HTTP_2, Tls, client_hello},
};

#[tokio::test(flavor = "multi_thread")]
async fn https_speaks_http_1_and_2_whichever_the_client_prefers() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |_| {}).await;
    for (offered, chosen) in [
        (&[HTTP_2, HTTP_1][..], Some(HTTP_2)),
        (&[HTTP_1], Some(HTTP_1)),
        (&[], None),
    ] {
        let connection = Tls::open(&server.api, &certificate, offered).await;
        assert_eq!(connection.protocol(), chosen, "{offered:?}");
    }
    // Who offers none speaks HTTP/1.1, and is checked for what is ambiguous as ever.
    let mut plain = Tls::open(&server.api, &certificate, &[]).await;
    plain
        .send("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    assert!(plain.rest().await.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let mut ambiguous = Tls::open(&server.api, &certificate, &[HTTP_1]).await;
    ambiguous.send("GET /healthz HTTP/1.1\nhost: localhost\n\n").await;
    assert!(ambiguous.rest().await.starts_with(b"HTTP/1.1 400 "));
    // The whole of a client's work.
    let api = &server.api;
    let dataset = api.upload("things", pictures::flat_archive(2, 3)).await;
    assert_eq!(dataset["status"], "ready");
    api.get("/").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |_| {}).await;
    let api = &server.api;
    let served = async || Tls::open(api, &certificate, &[HTTP_1]).await.certificate();
    let on_disk = || {
        CertificateDer::from_pem_file(certificate.file())
            .unwrap()
            .to_vec()
    };
    let first = on_disk();
    assert_eq!(served().await, first);
    let mut kept = Tls::open(api, &certificate, &[HTTP_1]).await;
    certificate.renew();
    let second = on_disk();
    assert_ne!(first, second);
    wait_until("the new certificate is served", async || served().await == second).await;
    // Who was connected before is not disturbed.
    kept.send("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    assert!(kept.rest().await.starts_with(b"HTTP/1.1 200 OK\r\n"));
    // A key of another certificate, and then none at all: three looks pass, and nothing has changed.
    let other = Certificate::new();
    fs::copy(other.key(), certificate.key()).unwrap();
    for _ in 0..2 {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) {
            assert_eq!(served().await, second);
        }
        fs::write(certificate.key(), "").unwrap();
    }
    certificate.renew();
    let third = on_disk();
    wait_until("it is mended", async || served().await == third).await;
    server.stop().await;
}

/// What a server says that does not start, or, if it starts, what it says until then.
fn said(data: &Path, arguments: &[&str]) -> (bool, String) {
    let mut server = Command::new(env!("CARGO_BIN_EXE_finetuned"))
        .args(["serve", "--listen", "127.0.0.1:0", "--offline", "--data-dir"])
        .arg(data)
        .args(["--worker", env!("CARGO_BIN_EXE_finetuned-worker")])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let listens = line.starts_with("listening on https://127.0.0.1:");
    let _ = server.kill();
    let output = server.wait_with_output().unwrap();
    (listens, String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_that_cannot_be_used_are_refused_in_one_line() {
    let certificate = Certificate::new();
    let data = tempfile::tempdir().unwrap();
    let folder = certificate.folder();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (own, key) = (certificate.file(), certificate.key());
    let (own, key) = (own.to_str().unwrap(), key.to_str().unwrap());
    let other = Certificate::new();
    let other_key = other.key();
    let missing = folder.join("missing.pem");
    let (missing, empty) = (missing.to_str().unwrap(), write("empty.pem", b"\n"));
    let text = write("text.pem", b"this is not PEM");
    let der = write(
        "own.der",
        &CertificateDer::from_pem_file(certificate.file()).unwrap(),
    );
    let encrypted = write(
        "encrypted.pem",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let old_encrypted = write(
        "old.pem",
        b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n-----END RSA PRIVATE KEY-----\n",
    );
    let damaged = write(
        "damaged.pem",
        b"-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----\n",
    );
    let folder_name = folder.to_str().unwrap();
    for (chain, private, told) in [
        (own, other_key.to_str().unwrap(), "do not belong together"),
        (missing, key, "missing.pem (--tls-cert) does not exist"),
        (own, missing, "missing.pem (--tls-key) does not exist"),
        (&empty, key, "empty.pem (--tls-cert) is empty"),
        (own, &empty, "empty.pem (--tls-key) is empty"),
        (own, &encrypted, "openssl pkey -in"),
        (own, &old_encrypted, "is encrypted"),
        (own, &damaged, "is damaged"),
        (key, own, "interchanged"),
        (own, own, "holds a certificate and no key"),
        (&text, key, "-----BEGIN CERTIFICATE-----"),
        (own, &text, "-----BEGIN PRIVATE KEY-----"),
        (&der, key, "openssl x509 -inform der"),
        (folder_name, key, "is not a file"),
    ] {
        let (listens, errors) = said(data.path(), &["--tls-cert", chain, "--tls-key", private]);
        assert!(!listens, "{chain} {private}: {errors}");
        assert!(
            errors.starts_with("finetuned: ") && errors.contains(told),
            "{errors}"
        );
        assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
    }
    for (alone, file) in [("--tls-cert", own), ("--tls-key", key)] {
        let (listens, errors) = said(data.path(), &[alone, file]);
        assert!(!listens && errors.contains("needs --tls-"), "{errors}");
    }
    // Nothing was made before: the pair is read first.
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_will_not_like_about_a_pair_is_told_and_served() {
    let certificate = Certificate::new();
    let data = tempfile::tempdir().unwrap();
    let (own, key) = (certificate.file(), certificate.key());
    let arguments = [
        "--tls-cert",
        own.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    let (listens, errors) = said(data.path(), &arguments);
    assert!(listens && !errors.contains("WARN"), "{errors}");
    certificate.expire();
    let (listens, errors) = said(data.path(), &arguments);
    assert!(
        listens && errors.contains("expired at 2020-02-03T00:00:00"),
        "{errors}"
    );
    certificate.issue(|params| params.not_before = rcgen::date_time_ymd(2101, 1, 1));
    let (listens, errors) = said(data.path(), &arguments);
    assert!(
        listens && errors.contains("valid from 2101-01-01T00:00:00"),
        "{errors}"
    );
    certificate.issue(|params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    let (listens, errors) = said(data.path(), &arguments);
    assert!(listens && errors.contains("CA:FALSE"), "{errors}");
    certificate.renew();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (listens, errors) = said(data.path(), &arguments);
    assert!(
        listens && errors.contains("open to every user") && errors.contains("chmod o="),
        "{errors}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_where_tls_is_needed_is_told_so() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |_| {}).await;
    for request in [
        "GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}",
        // Nor in the reserve of what is always answered: it is the wrong port.
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ] {
        let mut connection = Raw::open(&server.api).await;
        connection.send(request).await;
        let answer = connection.answer().await;
        let problem = answer.problem(400, "tls-needed");
        assert!(problem["detail"].as_str().unwrap().contains("https://"));
        assert!(answer.says("connection: close"), "{}", answer.head);
        connection.ended().await;
    }
    let mut nonsense = Raw::open(&server.api).await;
    nonsense.send([0; 64]).await;
    let mut garbled = Raw::open(&server.api).await;
    // The head of a record of TLS, and no handshake in it.
    garbled.send([22, 3, 1, 0, 4, 9, 9, 9, 9]).await;
    server.api.get("/healthz").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_has_its_time_and_so_has_the_first_request_after_it() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |config| config.limits.header_seconds = 1).await;
    let api = &server.api;
    let hello = client_hello(&certificate);
    let begun = Instant::now();
    let mut silent = Raw::open(api).await;
    let mut half = Raw::open(api).await;
    half.send(&hello[..hello.len() / 2]).await;
    let mut unanswered = Raw::open(api).await;
    unanswered.send(&hello).await;
    let mut shaken = Tls::open(api, &certificate, &[HTTP_2]).await;
    let mut shaken_for_http_1 = Tls::open(api, &certificate, &[HTTP_1]).await;
    silent.ended().await;
    half.ended().await;
    unanswered.closed().await;
    shaken.rest().await;
    shaken_for_http_1.rest().await;
    // Drops are no better than silence.
    let mut dripping = Raw::open(api).await;
    let mut pace = interval(Duration::from_millis(100));
    for byte in hello.iter().take(hello.len() - 1).cycle() {
        pace.tick().await;
        if dripping.has_ended() || dripping.stream.try_write(&[*byte]).is_err() {
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "a handshake may drip for ever"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unfinished_handshakes_costs_others_nothing() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |config| config.limits.max_connections = 60).await;
    let api = &server.api;
    let hello = client_hello(&certificate);
    let is_served = async |address: &str, path: &str| {
        let asked = Instant::now();
        let mut connection = Tls::from(api, &certificate, &[HTTP_1], address).await;
        connection
            .send(format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
            ))
            .await;
        let answer = connection.rest().await;
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{path}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    };
    let mut flood = Vec::new();
    for round in 0..150 {
        let mut connection = Raw::open(api).await;
        match round % 3 {
            0 => {}
            1 => connection.send(&hello[..100]).await,
            _ => connection.send(&hello).await,
        }
        flood.push(connection);
        if round % 30 == 29 {
            is_served(ELSEWHERE, "/v1/jobs").await;
            is_served(HERE, "/healthz").await;
        }
    }
    // An address has half of all.
    wait_until("an address has more than its share", async || {
        let open = flood.iter_mut().map(Raw::is_closed).filter(|closed| !closed);
        open.count() <= 30
    })
    .await;
    let open = flood.iter_mut().map(Raw::is_closed).filter(|closed| !closed);
    assert!(open.count() >= 20);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_handshake_does_not_delay_a_stop() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |_| {}).await;
    let mut half = Raw::open(&server.api).await;
    half.send(&client_hello(&certificate)[..50]).await;
    let mut shaken = Tls::open(&server.api, &certificate, &[HTTP_2]).await;
    let begun = Instant::now();
    server.stop().await;
    half.ended().await;
    shaken.rest().await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_cookie_of_a_session_is_secure() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |_| {}).await;
    let made = json!({"name": "boss", "scopes": ["admin"]});
    let key = server.api.post("/v1/keys", made).await.expect(201).json();
    let login = server
        .api
        .request(Method::POST, "/v1/session")
        .json(&json!({"key": key["secret"]}));
    let answer = server.api.send(login).await.expect(200);
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(
        cookie.contains("; Path=/;") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    server.stop().await;
}

/// A client command, with this in its environment.
async fn finetuned(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_finetuned"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code().unwrap_or(-1), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_talk_to_a_server_that_proves_who_it_is_and_to_no_other() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |_| {}).await;
    let (address, authority) = (server.api.base.clone(), certificate.authority());
    let (address, authority) = (address.as_str(), authority.to_str().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("things.zip");
    fs::write(&archive, pictures::flat_archive(2, 3)).unwrap();
    let archive = archive.to_str().unwrap();
    let upload = ["upload", archive, "--name", "things"];
    let (code, said) = finetuned(&upload, &[("FINETUNED_SERVER", address)]).await;
    assert!(code == 1 && said.contains("--ca-cert"), "{said}");
    let other = Certificate::new();
    let another = other.authority();
    let wrong = [
        ("FINETUNED_SERVER", address),
        ("FINETUNED_CA_CERT", another.to_str().unwrap()),
    ];
    let (code, said) = finetuned(&upload, &wrong).await;
    assert!(code == 1 && said.contains("nobody who is trusted here"), "{said}");
    let trusting = [("FINETUNED_SERVER", address), ("FINETUNED_CA_CERT", authority)];
    let (code, said) = finetuned(&upload, &trusting).await;
    assert!(code == 0 && said.contains("6 images in 2 classes"), "{said}");
    let submit = async |server: &str, environment: &[(&str, &str)]| {
        let spec = ["--set", "device=cuda:9", "--set", "backbone.weights=none"];
        let arguments = [&["submit", "--dataset", "things", "--server", server], &spec[..]].concat();
        finetuned(&arguments, environment).await
    };
    let trusting = [("FINETUNED_CA_CERT", authority)];
    let (code, said) = submit(&address.replace("127.0.0.1", "localhost"), &trusting).await;
    assert_eq!(code, 0, "{said}");
    // Without TLS on one side.
    let plain = address.replace("https://", "http://");
    let (code, said) = submit(&plain, &[]).await;
    assert!(code == 1 && said.contains("https://"), "{said}");
    let (code, said) = submit(&plain, &trusting).await;
    assert!(code == 2 && said.contains("--ca-cert"), "{said}");
    let (code, said) = submit(address, &[("FINETUNED_CA_CERT", archive)]).await;
    assert!(code == 2 && said.contains("holds no certificate"), "{said}");
    let without = Server::start().await;
    let (code, said) = submit(&without.api.base.replace("http://", "https://"), &trusting).await;
    assert!(code == 1 && said.contains("does not speak TLS"), "{said}");
    without.stop().await;
    let refused = async |told: &str| {
        wait_until(told, async || {
            let (code, said) = submit(address, &trusting).await;
            code == 1 && said.contains(told)
        })
        .await;
    };
    certificate.expire();
    refused("its certificate has expired").await;
    certificate.issue(|params| {
        let other = "models.example.org".try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::DnsName(other)];
    });
    refused("its certificate is for another name").await;
    certificate.issue(|params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    refused("(CA:TRUE)").await;
    server.stop().await;
}
