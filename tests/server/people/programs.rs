//! The two programs as files: what they are linked with, what they refuse, what they print.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use futures_util::future::join_all;

use crate::support::{pictures, program::Program};

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
    // With their beginnings: the addresses beside them are hexadecimal, and one of them may hold `c10`.
    for name in ["libtorch", "libc10", "libcuda"] {
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

/// jemalloc itself says so: libtorch's tensors, too, only go where these settings say.
#[test]
fn both_programs_allocate_with_jemalloc_and_their_own_settings() {
    for (program, arguments, settings) in [
        (
            env!("CARGO_BIN_EXE_finetuned"),
            "openapi",
            ["opt.narenas: 1", "opt.dirty_decay_ms: 5000"],
        ),
        (
            env!("CARGO_BIN_EXE_finetuned-worker"),
            "devices",
            ["opt.oversize_threshold: 0", "opt.dirty_decay_ms: -1"],
        ),
    ] {
        let output = Command::new(program)
            .arg(arguments)
            .env_clear()
            .env("MALLOC_CONF", "stats_print:true")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        for setting in settings {
            assert!(
                told.lines().any(|line| line.trim().starts_with(setting)),
                "{program}: {setting} is not in\n{told}"
            );
        }
    }
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
fn an_address_that_others_reach_is_refused_without_keys_and_with_the_command_that_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("it's data");
    let serve = [
        "serve",
        "--offline",
        "--listen",
        "0.0.0.0:0",
        "--data-dir",
        data.to_str().unwrap(),
    ];
    let program = env!("CARGO_BIN_EXE_finetuned");
    let (ok, _, errors) = run(program, &serve);
    assert!(!ok && errors.contains("--allow-unauthenticated"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    // The command as it stands there, in a shell.
    let command = errors.split('`').nth(1).unwrap();
    let here = Path::new(program).parent().unwrap();
    let made = Command::new("/bin/sh")
        .args(["-c", command])
        .env_clear()
        .env("PATH", here)
        .output()
        .unwrap();
    assert!(made.status.success(), "{command}: {made:?}");
    assert!(made.stdout.starts_with(b"ft_"), "{made:?}");
    let mut server = Command::new(program)
        .args(serve)
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(line.starts_with("listening on http://0.0.0.0:"), "{line:?}");
    // A key that is no longer good opens nothing to anybody.
    let (ok, ..) = run(
        program,
        &["keys", "revoke", "admin", "--data-dir", data.to_str().unwrap()],
    );
    assert!(ok);
    let (ok, _, errors) = run(program, &serve);
    assert!(!ok && errors.contains("finetuned keys create"), "{errors}");
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

#[tokio::test(flavor = "multi_thread")]
async fn many_uploads_at_once_leave_no_heap_for_each_thread() {
    let data = tempfile::tempdir().unwrap();
    let program = Program::start(data.path());
    let archive = pictures::flat_archive(2, 2);
    // Each is written and hashed by a thread of its own, and then refused, so that nothing is read.
    let path = format!("/v1/datasets?name=things&sha256={}", "0".repeat(64));
    let uploads = (0..24).map(|_| program.api.put(&path, archive.clone()));
    for answer in join_all(uploads).await {
        answer.expect(400);
    }
    let heaps = program.further_heaps();
    assert!(heaps <= 2, "{heaps} heaps besides the first one");
    program.kill();
}
