//! The common prefix of a network's names: what stands before the names that the network itself has.

use super::names::Names;
use crate::worker::files::state::StateDict;

/// Parts that wrappers add anywhere in a name, of torch.compile, of FSDP, of activation checkpointing, of DataParallel.
pub const WRAPPERS: [&str; 4] = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "module",
];

/// Words for copies of a network that follow it while it is trained: the network itself is what a file is about.
const FOLLOWERS: [&str; 6] = ["ema", "momentum", "target", "teacher", "key", "k"];

pub struct Found {
    /// Ends with a dot, or is empty.
    pub prefix: String,
    /// Other prefixes with a whole network.
    pub others: Vec<String>,
}

/// A name without wrappers within it; those before it are a prefix, which is told as such.
pub fn without_wrappers(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let begins = parts
        .iter()
        .position(|part| !WRAPPERS.contains(part))
        .unwrap_or(0);
    let (before, rest) = parts.split_at(begins);
    let rest = rest.iter().filter(|part| !WRAPPERS.contains(part));
    let kept: Vec<&str> = before.iter().chain(rest).copied().collect();
    kept.join(".")
}

/// How many names of the backbone there are under one prefix, at most.
pub fn most(state: &StateDict, names: &Names) -> usize {
    let prefixes = possible(state, &names.backbone).into_iter();
    prefixes
        .map(|prefix| count(state, names, &prefix))
        .max()
        .unwrap_or_default()
}

fn count(state: &StateDict, names: &Names, prefix: &str) -> usize {
    let there = |name: &&String| state.contains_key(&format!("{prefix}{name}"));
    names.backbone.iter().filter(there).count()
}

/// The prefix under which there is the whole backbone; if there is none, that of the most of it, so that what is told to be missing is
/// missing.
pub fn find(state: &StateDict, names: &Names) -> Option<Found> {
    let mut counted: Vec<(usize, String)> = possible(state, &names.backbone)
        .into_iter()
        .map(|prefix| (count(state, names, &prefix), prefix))
        .collect();
    counted.sort_by_key(|(there, prefix)| {
        (
            std::cmp::Reverse(*there),
            follows(prefix),
            prefix.len(),
            prefix.clone(),
        )
    });
    let (most, _) = counted.first()?;
    let most = *most;
    let mut prefixes = counted
        .into_iter()
        .filter(|(there, _)| *there == most)
        .map(|(_, prefix)| prefix);
    let prefix = prefixes.next()?;
    match most == names.backbone.len() {
        true => Some(Found {
            prefix,
            others: prefixes.collect(),
        }),
        false => (most * 2 > names.backbone.len()).then_some(Found {
            prefix,
            others: Vec::new(),
        }),
    }
}

/// What stands before the network's first name, wherever that occurs.
pub fn possible(state: &StateDict, backbone: &[String]) -> Vec<String> {
    let Some(first) = backbone.first() else {
        return Vec::new();
    };
    let prefixes = state.keys().filter_map(|name| name.strip_suffix(first.as_str()));
    prefixes
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        .map(str::to_owned)
        .collect()
}

fn follows(prefix: &str) -> bool {
    prefix.split(['.', '_']).any(|word| FOLLOWERS.contains(&word))
}
