//! `finetuned weights verify`

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};

use super::{VerifyArgs, worker};
use crate::{
    client::text::printable,
    domain::{architecture::Architecture, spec::Weights},
    protocol::{WeightsReport, WeightsRun, WeightsTask},
};

pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let files = files(&args.path)?;
    if files.is_empty() {
        bail!(
            "{} contains no weights ({})",
            args.path.display(),
            Weights::FILE_ENDINGS.join(", ")
        );
    }
    let program = worker::program(args.worker.as_ref())?;
    let mut all_fit = true;
    for path in files {
        let shown = printable(&path.display().to_string());
        match verified(&program, &path)? {
            Ok(report) => println!("{shown}: {}", summary(&report)),
            Err(why) => {
                all_fit = false;
                println!("{shown}: {}", printable(&why));
            }
        }
    }
    Ok(if all_fit {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The file, or the files of weights in the folder.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let is_weights = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.is_file() && Weights::FILE_ENDINGS.iter().any(|ending| name.ends_with(ending))
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(is_weights)
        .collect();
    files.sort();
    Ok(files)
}

fn verified(program: &Path, path: &Path) -> anyhow::Result<Result<WeightsReport, String>> {
    let run_dir = std::env::temp_dir().join(format!("finetuned-weights-{}", std::process::id()));
    fs::create_dir(&run_dir).with_context(|| format!("cannot create {}", run_dir.display()))?;
    let task = WeightsTask::Verify {
        path: std::path::absolute(path)?,
        architecture: named(path),
    };
    let about = Default::default();
    let report = worker::run(program, &run_dir, WeightsRun { task, about });
    fs::remove_dir_all(&run_dir)?;
    report
}

/// The architecture that a server takes a file of this name for: `resnet18.safetensors`, `resnet18-f37072fd.pth`,
/// `vit_small_patch14.dinov2.safetensors`.
fn named(path: &Path) -> Option<Architecture> {
    let name = path.file_name()?.to_str()?;
    let stem = name.split('.').next()?;
    let stem = stem.split_once('-').map_or(stem, |(stem, _)| stem);
    Architecture::ALL.into_iter().find(|known| known.as_str() == stem)
}

fn summary(report: &WeightsReport) -> String {
    let head = match report.outputs {
        0 => "no head".to_owned(),
        outputs => format!("a head for {outputs} classes"),
    };
    let digest = match report.has_digest {
        true => "as its .sha256 says",
        false => "no .sha256 beside it",
    };
    let mut text = format!(
        "{}, {} tensors, {head}; {digest}",
        report.architecture, report.tensors
    );
    for remark in &report.remarks {
        text += &format!("; {}", printable(remark));
    }
    text
}
