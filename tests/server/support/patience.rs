//! Waiting for what the server does behind its answers.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::Server;

/// How long anything is waited for, on a machine that is full.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until it `holds`, which `what` says in words.
pub async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until no work has a folder: who is told that it is done is told a moment before its folder goes.
pub async fn wait_until_no_work_is_left(server: &Server) {
    let runs = server.data_dir().join("runs");
    let left = || fs::read_dir(&runs).map_or(0, Iterator::count);
    wait_until("no folder is left in `runs`", async || left() == 0).await;
}
