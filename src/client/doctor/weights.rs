//! Pretrained weights: which are in the cache and in the operator's own folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::finding::{Finding, size};
use crate::config::Config;

const CHECK: &str = "weights";

/// Files with weights.
#[derive(Debug, Default, PartialEq)]
struct Found {
    files: u64,
    bytes: u64,
    /// Downloads that were interrupted; the next one goes on with them.
    unfinished: u64,
}

pub fn examine(config: &Config) -> Finding {
    let cached = look(&config.weights_cache());
    let own = config
        .weights
        .weights_dir
        .as_deref()
        .map(look)
        .unwrap_or_default();
    let mut text = format!("{} files in the cache ({})", cached.files, size(cached.bytes));
    if config.weights.weights_dir.is_some() {
        text += &format!(", {} in --weights-dir", own.files);
    }
    if cached.unfinished > 0 {
        text += &format!(
            ", {} unfinished downloads, which the next job resumes",
            cached.unfinished
        );
    }
    if config.weights.offline && cached.files + own.files == 0 {
        return Finding::warning(
            CHECK,
            format!("{text}, and --offline"),
            "trainings with pretrained weights fail: fetch some with `finetuned weights fetch` where there is a network, and name their \
            folder with --weights-dir",
        );
    }
    Finding::ok(CHECK, text)
}

fn look(root: &Path) -> Found {
    let mut found = Found::default();
    let mut folders = vec![PathBuf::from(root)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) if is_weights(&name) => {
                    found.files += 1;
                    found.bytes += metadata.len();
                }
                Ok(_) if name.ends_with(".partial") => found.unfinished += 1,
                _ => {}
            }
        }
    }
    found
}

fn is_weights(name: &str) -> bool {
    [".safetensors", ".pth", ".pt", ".bin", ".whl"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::doctor::finding::State;

    #[test]
    fn a_server_without_network_and_weights_is_warned() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::for_data_dir(folder.path());
        assert!(config.weights.offline);
        assert_eq!(examine(&config).state, State::Warning);
        config.weights.offline = false;
        assert_eq!(examine(&config).state, State::Ok);
        let cache = config.weights_cache().join("timm/resnet18/main");
        fs::create_dir_all(&cache).unwrap();
        for name in [
            "model.safetensors",
            "model.safetensors.sha256",
            "other.safetensors.partial",
        ] {
            fs::write(cache.join(name), "text").unwrap();
        }
        let expected = Found {
            files: 1,
            bytes: 4,
            unfinished: 1,
        };
        assert_eq!(look(&config.weights_cache()), expected);
        config.weights.offline = true;
        assert_eq!(examine(&config).state, State::Ok);
    }
}
