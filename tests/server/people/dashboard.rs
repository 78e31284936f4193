//! The dashboard in a real browser, as a person uses it. The scripts that play the person are in `tests/browser`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{Server, pictures, proxy::Proxy};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_does_the_whole_job_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.png");
    fs::write(&picture, pictures::png(1, 77, 40)).unwrap();
    play("dashboard.py", &[archive(&folder, 2, 40), picture]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_does_the_whole_job_below_a_path_of_a_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.png");
    fs::write(&picture, pictures::png(1, 77, 40)).unwrap();
    let server = Server::start().await;
    let proxy = Proxy::before(&server.api, "/tools/finetuned").await;
    play_at(&proxy.base, "dashboard.py", &[archive(&folder, 2, 40), picture]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_of_the_api_needs_nothing_but_the_server() {
    play("reference.py", &[]).await;
    let server = Server::start().await;
    let proxy = Proxy::before(&server.api, "/tools/finetuned").await;
    play_at(&proxy.base, "reference.py", &[]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_job_with_the_settings_of_another_has_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    play("again.py", &[archive(&folder, 2, 20)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_moved_and_deleted_only_after_a_question() {
    let folder = tempfile::tempdir().unwrap();
    play("aliases.py", &[archive(&folder, 2, 20), archive(&folder, 3, 20)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_windows_share_the_few_connections_of_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    play("windows.py", &[archive(&folder, 2, 20)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_read_in_another_way_with_a_button() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dogs.zip");
    let places = [
        "poodle/indoor",
        "poodle/outdoor",
        "beagle/indoor",
        "beagle/outdoor",
    ];
    let names: Vec<String> = places
        .iter()
        .flat_map(|place| (0..3).map(move |n| format!("{place}/{n}.png")))
        .collect();
    let files = names
        .iter()
        .enumerate()
        .map(|(number, name)| (name.as_str(), pictures::png(number % 3, number, 40)));
    fs::write(&path, pictures::zip(files)).unwrap();
    play("readings.py", &[path]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_with_a_key_and_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let request = serde_json::json!({"name": "boss", "scopes": ["admin"]});
    let made = server.api.post("/v1/keys", request).await.expect(201).json();
    // Not on the command line, which everybody sees.
    let key = folder.path().join("key");
    fs::write(&key, made["secret"].as_str().unwrap()).unwrap();
    play_at(&server.api.base, "login.py", &[archive(&folder, 2, 20), key]).await;
    server.stop().await;
}

/// An archive with so many classes of so many pictures.
fn archive(folder: &TempDir, classes: usize, each: usize) -> PathBuf {
    let path = folder.path().join(format!("{classes}-classes.zip"));
    fs::write(&path, pictures::flat_archive(classes, each)).unwrap();
    path
}

/// Runs a script of `tests/browser` on a server of its own.
async fn play(script: &str, files: &[PathBuf]) {
    let server = Server::start().await;
    play_at(&server.api.base, script, files).await;
    server.stop().await;
}

/// Runs a script of `tests/browser` on the server at an address.
async fn play_at(base: &str, script: &str, files: &[PathBuf]) {
    let python = env::var("FINETUNED_BROWSER_PYTHON").expect(
        "FINETUNED_BROWSER_PYTHON names a Python with Playwright: `make test` sets it up and runs this",
    );
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let output = Command::new(python)
        // Without compiled copies of what the scripts share, in the sources' folder.
        .arg("-B")
        .arg(scripts.join(script))
        .arg(base)
        .args(files)
        .output()
        .await
        .unwrap();
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{told}");
}
