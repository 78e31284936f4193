//! Devices that failed: no job is started on one before it has computed something again, in a process of its own.

use std::{ffi::OsStr, sync::Arc, time::Duration};

use super::worker_command;
use crate::{domain::jobs::job::JobError, jobs::context::Context};

/// Between two probes: after the first, after the second, and so on.
const PAUSES: [u64; 5] = [1, 5, 15, 60, 300];
/// Loading a GPU's libraries takes a while, and a GPU that hangs answers nothing.
const DEADLINE: Duration = Duration::from_secs(120);

/// Whether a device that has just failed works. If not, it gets no job until it does.
pub async fn is_well_again(context: &Arc<Context>, device: &str, failure: &JobError) -> bool {
    context.slots.quarantine(device);
    match probed(context, device).await {
        Ok(()) => {
            context.slots.release(device);
            tracing::warn!(
                device,
                failure = failure.message,
                "a device failed, and works again"
            );
            true
        }
        Err(why) => {
            tracing::error!(
                device,
                failure = failure.message,
                why,
                "a device failed and gets no jobs until it works again"
            );
            let watching = watch(context.clone(), device.to_owned());
            context.tasks.spawn(watching);
            false
        }
    }
}

/// Probes a device until it works.
async fn watch(context: Arc<Context>, device: String) {
    for tries in 0.. {
        let pause = Duration::from_secs(PAUSES[PAUSES.len().min(tries + 1) - 1]);
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        match probed(&context, &device).await {
            Ok(()) => {
                tracing::info!(device, "a device works again and gets jobs");
                return context.slots.release(&device);
            }
            Err(why) => tracing::debug!(device, why, "a device still fails"),
        }
    }
}

/// # Errors
/// Why it does not work, in the worker's words.
async fn probed(context: &Context, device: &str) -> Result<(), String> {
    let arguments = ["probe", "--device", device].map(OsStr::new);
    let log = context.log(&"devices");
    let answer = worker_command::run(context, &arguments, log);
    // A server that stops does not wait for a GPU that hangs.
    let answer = tokio::select! {
        () = context.shutdown.cancelled() => return Err("the server stops".to_owned()),
        answer = tokio::time::timeout(DEADLINE, answer) => answer,
    };
    match answer {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}
