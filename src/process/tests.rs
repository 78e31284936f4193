//! Children as the operating system sees them: who kills them, who holds their folder.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;
use crate::fixtures::{PATIENCE, soon};

/// Starts a shell script in a folder; its output is where it says that it has begun.
async fn shell(dir: &TempDir, script: &str) -> (ChildGroup, ChildStdin, BufReader<ChildStdout>) {
    let arguments = ["-c", script].map(OsStr::new);
    let started = spawn(
        Path::new("/bin/sh"),
        &arguments,
        dir.path(),
        FreedMemory::GivenBack,
        None,
    );
    let (child, pipes) = started.await.unwrap();
    (child, pipes.stdin, BufReader::new(pipes.stdout))
}

async fn line(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    soon(output.read_line(&mut line)).await.unwrap();
    line.trim().to_owned()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_alive(pid: &str) -> bool {
    // A process that nobody has asked about yet is there although it is dead.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_child_outlives_the_thread_that_asked_for_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_keep_alive(Duration::from_millis(1))
        .enable_all()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let asked = runtime.spawn_blocking(move || {
        let runtime = tokio::runtime::Handle::current();
        let started = runtime.block_on(shell(&dir, "echo begun; cat > /dev/null; exit 7"));
        (started, std::fs::read_link("/proc/thread-self").unwrap(), dir)
    });
    let ((mut child, stdin, mut output), thread, _dir) = runtime.block_on(asked).unwrap();
    runtime.block_on(async { assert_eq!(line(&mut output).await, "begun") });
    let thread = PathBuf::from("/proc").join(thread);
    wait_until("the runtime's thread ends", || !thread.exists());
    // The kernel has told the children of that thread by now.
    drop(stdin);
    let status = runtime.block_on(async { soon(child.wait()).await }).unwrap();
    assert_eq!(status.code(), Some(7), "{}", describe(status));
}

#[tokio::test]
async fn a_child_is_killed_with_the_one_who_cares_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (child, _stdin, mut output) = shell(&dir, "echo $$; kill -STOP $$").await;
    let pid = line(&mut output).await;
    assert!(lock::is_held(dir.path()).unwrap());
    drop(child);
    wait_until("the child ends", || !is_alive(&pid));
    assert!(!lock::is_held(dir.path()).unwrap());
}

#[tokio::test]
async fn a_folder_is_held_as_long_as_anybody_lives_whom_its_child_started() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(!lock::is_held(dir.path()).unwrap());
    // In a session of its own it is out of the group's reach, and stopped it hears nothing.
    let script = r#"setsid sh -c 'echo $$; kill -STOP $$' & read -r _; exit 3"#;
    let (mut child, stdin, mut output) = shell(&dir, script).await;
    let (bystander, _stdin, mut its_output) = shell(&other, "echo $$; cat").await;
    let (escaped, bystander_pid) = (line(&mut output).await, line(&mut its_output).await);
    drop(stdin);
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(3));
    assert!(lock::is_held(dir.path()).unwrap());
    lock::vacate(dir.path(), PATIENCE).await.unwrap();
    assert!(!lock::is_held(dir.path()).unwrap());
    wait_until("who escaped is gone", || !is_alive(&escaped));
    assert!(is_alive(&bystander_pid), "only this folder was to be vacated");
    drop(bystander);
}

#[tokio::test]
async fn nobody_is_started_beside_somebody_of_an_earlier_time() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _stdin, mut output) =
        shell(&dir, "trap '' TERM; echo $$; while :; do sleep 600; done").await;
    let pid = line(&mut output).await;
    let (_second, _, mut output) = shell(
        &dir,
        &format!("kill -0 {pid} 2> /dev/null && echo beside || echo alone"),
    )
    .await;
    let status = soon(first.wait()).await.unwrap();
    assert_eq!(status.status.signal(), Some(9));
    // It may not be asked about yet, but then it is nobody any more.
    let alone = line(&mut output).await;
    assert!(alone == "alone" || !is_alive(&pid), "{alone}");
}

#[tokio::test]
async fn a_child_leaves_the_servers_other_files_alone() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_bystander, _stdin, mut its_output) = shell(&other, "echo begun; cat").await;
    line(&mut its_output).await;
    let (_child, _, mut output) = shell(
        &dir,
        "for file in /proc/$$/fd/*; do readlink $file; done; echo end",
    )
    .await;
    let mut locks = Vec::new();
    loop {
        match line(&mut output).await.as_str() {
            "end" => break,
            file if file.ends_with(lock::FILE) => locks.push(file.to_owned()),
            _ => {}
        }
    }
    let own = dir.path().canonicalize().unwrap().join(lock::FILE);
    assert_eq!(locks, [own.to_str().unwrap()]);
}

#[test]
fn who_was_killed_from_outside_did_not_break_down() {
    for (raw, by_others) in [
        (9, true),
        (15, true),
        (6, false),
        (11, false),
        (7, false),
        (3 << 8, false),
        (0, false),
    ] {
        let status = ExitStatus::from_raw(raw);
        assert_eq!(was_ended_by_others(status), by_others, "{}", describe(status));
    }
}
