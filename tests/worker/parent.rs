//! A worker whose parent is gone, where the kernel was not asked to kill it with that one.

use std::{
    io::Read,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_worker_leaves_after_whoever_started_it_although_its_stdin_stays_open() {
    let mut shell = Command::new("sh")
        .args([
            "-c",
            r#"exec 3<&0; "$0" predict --device cpu --threads 1 <&3 & wait"#,
        ])
        .arg(env!("CARGO_BIN_EXE_finetuned-worker"))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdin = shell.stdin.take().unwrap();
    let mut stdout = shell.stdout.take().unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut heard = [0; 1024];
        while let Ok(count) = stdout.read(&mut heard) {
            let _ = tell.send(count);
            if count == 0 {
                return;
            }
        }
    });
    let ready = told.recv_timeout(PATIENCE).expect("the worker becomes ready");
    assert!(ready > 0, "the worker ended before it was ready");
    shell.kill().unwrap();
    shell.wait().unwrap();
    let ended = || told.recv_timeout(PATIENCE).expect("the worker leaves") == 0;
    while !ended() {}
    drop(stdin);
}
