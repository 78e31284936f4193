//! `finetuned weights list`

use std::process::ExitCode;

use super::ListArgs;
use crate::domain::architecture::{Architecture, WeightSetDescription};

pub fn run(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let wanted = Architecture::ALL
        .into_iter()
        .filter(|known| args.architecture.is_none_or(|wanted| wanted == *known));
    let rows: Vec<(Architecture, WeightSetDescription)> = wanted
        .flat_map(|architecture| {
            let sets = architecture.weight_sets().iter();
            sets.map(move |set| (architecture, set.describe(architecture)))
        })
        .collect();
    if args.json {
        let described: Vec<_> = rows
            .iter()
            .map(|(architecture, set)| serde_json::json!({"architecture": architecture, "set": set}))
            .collect();
        println!("{}", serde_json::to_string_pretty(&described)?);
        return Ok(ExitCode::SUCCESS);
    }
    if let (Some(architecture), true) = (args.architecture, rows.is_empty()) {
        println!("There are no known weights for {architecture}.");
    }
    for (architecture, set) in &rows {
        println!("{}", line(*architecture, set));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(architecture: Architecture, set: &WeightSetDescription) -> String {
    let package = set
        .package
        .as_ref()
        .map(|package| format!(", or package {package}"))
        .unwrap_or_default();
    format!(
        "{:<20} {:<12} {:>6.1} MB  {:<14} {}, {} px, {}{package}",
        architecture.as_str(),
        set.name,
        set.bytes as f64 / 1e6,
        set.licence,
        set.author,
        set.input_size,
        set.repository,
    )
}
