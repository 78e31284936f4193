//! The worker program, libtorch, which it is linked with, its devices, and the driver of the GPUs.

use std::{ffi::OsStr, fs, path::Path, time::Duration};

use anyhow::{Context, bail};
use tokio::{io::AsyncReadExt, time::timeout};

use super::finding::{Finding, size};
use crate::{
    config::Config,
    process::{self, FreedMemory, log},
    protocol::Device,
};

/// Loading a GPU's libraries from a cold disk takes a while.
const DEADLINE: Duration = Duration::from_secs(60);
const LONGEST_OUTPUT: u64 = 1 << 20;
const DRIVER: &str = "/proc/driver/nvidia/version";

pub async fn examine(config: &Config) -> Vec<Finding> {
    let program = match config.worker_program() {
        Ok(program) => program,
        Err(error) => {
            let advice = "install both programs in one directory, or name the worker with --worker";
            return vec![Finding::problem("worker", format!("{error:#}"), advice)];
        }
    };
    let (version, devices) = (ask(&program, "--version").await, ask(&program, "devices").await);
    let mut findings = Vec::new();
    match devices.and_then(|text| Ok(serde_json::from_str::<Vec<Device>>(&text)?)) {
        Ok(devices) => {
            findings.push(versions(&program, version));
            findings.push(Finding::ok("libtorch", "loads, and lists devices"));
            findings.push(list(&devices));
            findings.push(driver(&devices, Path::new(DRIVER)));
        }
        Err(error) => findings.push(broken(&format!("{error:#}"))),
    }
    findings
}

/// What the worker prints, run as the server runs it.
async fn ask(program: &Path, command: &str) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let run = async {
        let arguments = [OsStr::new(command)];
        let (mut child, pipes) =
            process::spawn(program, &arguments, folder.path(), FreedMemory::GivenBack, None)
                .await
                .with_context(|| format!("{} cannot be started", program.display()))?;
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let (mut stdout, mut stderr) = (
            pipes.stdout.take(LONGEST_OUTPUT),
            pipes.stderr.take(LONGEST_OUTPUT),
        );
        let (read, _, status) = tokio::join!(
            stdout.read_to_end(&mut out),
            stderr.read_to_end(&mut errors),
            child.wait()
        );
        read?;
        let status = status?;
        if !status.success() {
            let errors = String::from_utf8_lossy(&errors);
            let last = errors.lines().rfind(|line| !line.trim().is_empty());
            let last = log::harmless(last.unwrap_or("it says nothing").as_bytes());
            bail!("{}: {last}", process::describe(status));
        }
        Ok(String::from_utf8_lossy(&out).into_owned())
    };
    match timeout(DEADLINE, run).await {
        Ok(answer) => answer,
        Err(_) => bail!("no answer after {} s", DEADLINE.as_secs()),
    }
}

fn versions(program: &Path, version: anyhow::Result<String>) -> Finding {
    let mine = env!("CARGO_PKG_VERSION");
    let shown = program.display();
    match version {
        Ok(text) if text.split_whitespace().any(|word| word == mine) => {
            Finding::ok("worker", format!("{shown}, version {mine}"))
        }
        Ok(text) => Finding::problem(
            "worker",
            format!(
                "{shown} is `{}`, and this program is {mine}",
                log::harmless(text.trim().as_bytes())
            ),
            "install both programs of one version",
        ),
        Err(error) => Finding::warning(
            "worker",
            format!("{shown} does not say its version: {error:#}"),
            "install both programs of one version",
        ),
    }
}

fn broken(error: &str) -> Finding {
    let advice = if error.contains("shared librar") {
        "libtorch is not where the worker looks for it: set LD_LIBRARY_PATH to its lib folder, or install libtorch beside the worker"
    } else if error.contains("no answer") {
        "the disk or the GPU's driver may hang: try `finetuned-worker devices` by hand"
    } else {
        "run `finetuned-worker devices` by hand: it prints a JSON list where all is well"
    };
    Finding::problem(
        "libtorch",
        format!("the worker cannot list its devices: {error}"),
        advice,
    )
}

fn list(devices: &[Device]) -> Finding {
    let each: Vec<String> = devices
        .iter()
        .map(|device| {
            let memory = size(device.memory_bytes);
            format!("{} ({}, {memory})", device.name, device.description.trim())
        })
        .collect();
    match each.is_empty() {
        true => Finding::problem(
            "devices",
            "none",
            "not even the processor is one: the worker is damaged, install it again",
        ),
        false => Finding::ok("devices", each.join(", ")),
    }
}

/// A GPU that nobody uses is the mistake that is noticed last.
fn driver(devices: &[Device], driver: &Path) -> Finding {
    const CHECK: &str = "driver";
    let has_gpu = devices.iter().any(|device| device.name.starts_with("cuda:"));
    let version = fs::read_to_string(driver).ok();
    let first = version.as_deref().and_then(|text| text.lines().next());
    match (first, has_gpu) {
        (Some(version), true) => Finding::ok(CHECK, version.trim()),
        (None, true) => Finding::ok(CHECK, "of the GPUs works"),
        (None, false) => Finding::ok(CHECK, "no NVIDIA driver: everything runs on the processor"),
        (Some(version), false) => Finding::warning(
            CHECK,
            format!("{}, but the worker sees no GPU", version.trim()),
            "install libtorch with CUDA beside the worker, and look at CUDA_VISIBLE_DEVICES: see docs/GPU.md",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::doctor::finding::State;

    #[test]
    fn a_driver_whose_gpus_nobody_sees_is_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let (there, missing) = (folder.path().join("version"), folder.path().join("nothing"));
        fs::write(&there, "NVRM version: 570.1\nGCC version: 12\n").unwrap();
        let device = |name: &str| Device {
            name: name.to_owned(),
            description: "a device".to_owned(),
            threads: 1,
            memory_bytes: 3 << 30,
            pci_bus_id: None,
        };
        let (gpu, cpu) = ([device("cuda:0"), device("cpu")], [device("cpu")]);
        for (devices, file, expected) in [
            (&gpu[..], &there, State::Ok),
            (&gpu, &missing, State::Ok),
            (&cpu, &missing, State::Ok),
            (&cpu, &there, State::Warning),
        ] {
            let found = driver(devices, file);
            assert_eq!(found.state, expected, "{found:?}");
        }
        assert!(list(&gpu).text.contains("cuda:0 (a device, 3.0 GiB)"));
        assert_eq!(list(&[]).state, State::Problem);
    }

    #[test]
    fn two_versions_and_a_missing_library_are_problems_with_advice() {
        let at = |text: &str| versions(Path::new("worker"), Ok(text.to_owned())).state;
        let mine = concat!("finetuned-worker ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!(at(mine), State::Ok);
        assert_eq!(at("finetuned-worker 99.0.0"), State::Problem);
        let missing = broken("exit status 127: error while loading shared libraries: libtorch.so");
        assert!(missing.advice.unwrap().contains("LD_LIBRARY_PATH"));
    }
}
