//! The dashboard in a real browser, as a person uses it. The script that plays the person is `tests/browser/dashboard.py`.

use std::{env, fs, path::Path};

use tokio::process::Command;

use crate::support::{Server, pictures};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_does_the_whole_job_in_a_browser() {
    let python = env::var("FINETUNED_BROWSER_PYTHON").expect(
        "FINETUNED_BROWSER_PYTHON names a Python with Playwright: `make test` sets it up and runs this",
    );
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (archive, picture) = (
        folder.path().join("things.zip"),
        folder.path().join("picture.png"),
    );
    fs::write(&archive, pictures::flat_archive(2, 40)).unwrap();
    fs::write(&picture, pictures::png(1, 77, 40)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/dashboard.py");
    let output = Command::new(python)
        .arg(script)
        .arg(&server.api.base)
        .arg(&archive)
        .arg(&picture)
        .output()
        .await
        .unwrap();
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{told}");
    server.stop().await;
}
