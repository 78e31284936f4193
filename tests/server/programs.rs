//! The two programs as files: what they are linked with, what they refuse, what they print.

use std::{fs, path::Path, process::Command};

fn run(program: &str, arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_server_program_needs_no_torch() {
    let (ok, libraries, _) = run("/usr/bin/ldd", &[env!("CARGO_BIN_EXE_finetuned")]);
    assert!(ok && libraries.contains("libc.so"), "{libraries}");
    for name in ["torch", "c10", "cuda"] {
        assert!(
            !libraries.contains(name),
            "finetuned is linked with {name}:\n{libraries}"
        );
    }
}

#[test]
fn the_worker_program_finds_its_torch_without_any_variable() {
    let (ok, devices, errors) = run(env!("CARGO_BIN_EXE_finetuned-worker"), &["devices"]);
    assert!(ok, "{errors}");
    let devices: serde_json::Value = serde_json::from_str(&devices).unwrap();
    assert!(
        devices
            .as_array()
            .unwrap()
            .iter()
            .any(|device| device["name"] == "cpu"),
        "{devices:#}"
    );
}

#[test]
fn the_checked_in_description_is_the_one_of_the_code() {
    let (ok, printed, errors) = run(env!("CARGO_BIN_EXE_finetuned"), &["openapi"]);
    assert!(ok, "{errors}");
    let checked_in =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.yaml")).unwrap_or_default();
    assert!(
        printed == checked_in,
        "openapi.yaml has drifted: run `target/release/finetuned openapi > openapi.yaml`"
    );
}

#[test]
fn an_address_that_others_reach_is_refused_without_keys() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let (ok, _, errors) = run(
        env!("CARGO_BIN_EXE_finetuned"),
        &["serve", "--listen", "0.0.0.0:0", "--data-dir", data],
    );
    assert!(!ok && errors.contains("--allow-unauthenticated"), "{errors}");
}

#[test]
fn a_missing_worker_is_said_in_one_line() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        data,
        "--worker",
        "/nowhere/finetuned-worker",
    ];
    let (ok, _, errors) = run(env!("CARGO_BIN_EXE_finetuned"), &arguments);
    assert!(!ok && errors.contains("make build"), "{errors}");
}
