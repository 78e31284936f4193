//! `finetuned weights fetch`

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};

use super::{FetchArgs, worker};
use crate::{
    client::text::printable,
    domain::architecture::{Architecture, catalogue::WeightSet},
    files::digest,
    protocol::{WeightsReport, WeightsRun, WeightsTask},
};

/// Where downloads are until they are complete; a later call resumes them.
const DOWNLOADS: &str = ".downloads";

pub fn run(args: FetchArgs) -> anyhow::Result<ExitCode> {
    let FetchArgs {
        architecture,
        mut weights,
        ..
    } = args;
    weights.check()?;
    let set = chosen(architecture, args.set.as_deref())?;
    let Some(folder) = args.into.or(weights.weights_dir.clone()) else {
        bail!("name the folder to put them into: --into FOLDER, or --weights-dir");
    };
    if weights.offline {
        bail!("nothing is fetched with --offline");
    }
    weights.read_pip_settings();
    let name = file_name(architecture, set);
    let downloads = folder.join(DOWNLOADS).join(&name);
    fs::create_dir_all(&downloads).with_context(|| format!("cannot create {}", downloads.display()))?;
    let cache = weights
        .weights_cache
        .clone()
        .unwrap_or_else(|| downloads.join("cache"));
    let cache = std::path::absolute(cache)?;
    let run_dir = tempfile_in(&downloads)?;
    let task = WeightsTask::Fetch {
        source: Box::new(weights.source_of(set, cache)),
        architecture,
    };
    let about = about(architecture, set);
    let program = worker::program(args.worker.as_ref())?;
    let outcome = worker::run(&program, &run_dir, WeightsRun { task, about });
    let report = match outcome {
        Ok(Ok(report)) => report,
        other => {
            // The run file may contain a token of the hub. What was downloaded stays for the next attempt.
            fs::remove_dir_all(&run_dir)?;
            bail!("{}", other?.err().unwrap_or_default());
        }
    };
    let path = place(&report, &run_dir, &folder, &name)?;
    // What is left is only the copy that they came from.
    let _ = fs::remove_dir_all(&downloads);
    let _ = fs::remove_dir(folder.join(DOWNLOADS));
    tell(&report, &path, set);
    Ok(ExitCode::SUCCESS)
}

fn chosen(architecture: Architecture, name: Option<&str>) -> anyhow::Result<&'static WeightSet> {
    let sets = architecture.weight_sets();
    let found = match name {
        None => sets.first(),
        Some(name) => architecture.weight_set(name),
    };
    let names: Vec<_> = sets.iter().map(|set| set.name).collect();
    match (found, names.is_empty()) {
        (Some(set), _) => Ok(set),
        (None, true) => bail!("there are no known weights for {architecture}"),
        (None, false) => bail!("the known weights for {architecture} are {}", names.join(", ")),
    }
}

/// What a server with this folder takes for the set.
fn file_name(architecture: Architecture, set: &WeightSet) -> String {
    match architecture.weight_sets().first() == Some(set) {
        true => format!("{architecture}.safetensors"),
        false => format!("{architecture}.{}.safetensors", set.name),
    }
}

fn about(architecture: Architecture, set: &WeightSet) -> BTreeMap<String, String> {
    let texts = [
        ("architecture", architecture.as_str()),
        ("set", set.name),
        ("author", set.author),
        ("licence", set.licence),
        ("repository", set.repository),
    ];
    texts
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into()
}

/// A new folder for the run.
fn tempfile_in(parent: &Path) -> anyhow::Result<PathBuf> {
    let folder = parent.join(format!("run-{}", std::process::id()));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir(&folder)?;
    Ok(std::path::absolute(folder)?)
}

/// Moves the file to its name, after its digest: a crash in between leaves a digest that does not fit, which `verify` says.
fn place(report: &WeightsReport, run_dir: &Path, folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let artifact = report.file.as_ref().context("the worker wrote no file")?;
    let made = run_dir.join(&artifact.file);
    if !digest::holds(&made, &artifact.sha256)? {
        bail!("the file was changed while it was written");
    }
    let path = folder.join(name);
    let sum = folder.join(format!("{name}.sha256"));
    let partial = run_dir.join("sha256");
    fs::write(&partial, format!("{}  {name}\n", artifact.sha256))?;
    fs::rename(partial, sum)?;
    fs::rename(made, &path)?;
    File::open(folder)?.sync_all()?;
    Ok(path)
}

fn tell(report: &WeightsReport, path: &Path, set: &WeightSet) {
    println!(
        "{}: {} tensors of {}, {} weights of {} ({}), from {}",
        path.display(),
        report.tensors,
        report.architecture,
        set.name,
        set.author,
        set.licence,
        printable(&report.origin),
    );
    for remark in &report.remarks {
        eprintln!("{}", printable(remark));
    }
}
