//! Reads the certificate and its key again when their files change, or on SIGHUP. Whatever renews them needs no restart, and a pair that
//! cannot be used changes nothing.

use std::{sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    certificate::{self, shown},
    current::Tls,
    stamp::Stamp,
};

/// How often the files are looked at. They are read when they have not changed from one look to the next: who renews them writes one after
/// the other.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Tls {
    /// Runs until the server stops.
    pub async fn keep_current(self: Arc<Self>, stopping: CancellationToken) {
        let (mut used, mut seen) = (self.seen_at_start.clone(), self.seen_at_start.clone());
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                () = stopping.cancelled() => return,
                _ = look.tick() => false,
                () = hung_up(&mut hangup) => true,
            };
            let now = Stamp::of(&self.files);
            let has_settled = now == seen;
            seen = now.clone();
            if asked || (now != used && has_settled) {
                used = now;
                self.reload().await;
            }
        }
    }

    async fn reload(&self) {
        let files = self.files.clone();
        let loaded = match spawn_blocking(move || certificate::load(&files)).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(refused)) => {
                error!("the certificate was not replaced, and the former one stays in use: {refused:#}");
                return;
            }
            Err(panicked) => {
                error!(%panicked, "the certificate was not replaced, and the former one stays in use");
                return;
            }
        };
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        self.replace(loaded.config);
        info!(
            certificate = shown(&self.files.certificate),
            "the certificate was read again"
        );
    }
}

/// Never without the signal.
async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}
