//! Asks the worker once for the list of devices. The server starts serving before that; only the claim loop waits.

use std::{ffi::OsStr, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};

use super::worker_command;
use crate::{domain::spec::DeviceChoice, jobs::context::Context, protocol::Device};

/// Loading a GPU's libraries from a cold disk takes a while.
const DEADLINE: Duration = Duration::from_secs(120);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub async fn run(context: Arc<Context>) {
    let mut wait = Duration::from_secs(1);
    loop {
        let answer = tokio::select! {
            () = context.shutdown.cancelled() => return,
            answer = tokio::time::timeout(DEADLINE, ask(&context)) => answer,
        };
        let answer =
            answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no response after {} s", DEADLINE.as_secs())));
        match answer {
            Ok(devices) => {
                let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
                tracing::info!(devices = names.join(", "), "devices are known");
                return context.slots.open(devices);
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    retry_in = wait.as_secs(),
                    "the worker did not list its devices; no job can start"
                );
            }
        }
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
        }
    }
}

async fn ask(context: &Context) -> anyhow::Result<Vec<Device>> {
    let log = context.log(&"devices");
    let list = worker_command::run(context, &[OsStr::new("devices")], log).await?;
    let devices: Vec<Device> = serde_json::from_slice(&list).context("its list cannot be read")?;
    check(&devices)?;
    Ok(devices)
}

/// The names are used in rows and on command lines.
fn check(devices: &[Device]) -> anyhow::Result<()> {
    if devices.is_empty() {
        bail!("its list is empty");
    }
    for (place, device) in devices.iter().enumerate() {
        let known = DeviceChoice::try_from(device.name.clone());
        if !matches!(known, Ok(DeviceChoice::Cpu | DeviceChoice::Cuda(_))) {
            bail!("it names a device that is neither `cpu` nor `cuda:N`");
        }
        if devices[..place].iter().any(|earlier| earlier.name == device.name) {
            bail!("it names {} twice", device.name);
        }
    }
    Ok(())
}
