//! The real pictures and weights that lie beside the repository where the project is developed and where its CI runs. The worker's own
//! tests take this file in by its path.
//!
//! Whoever has a clone alone cannot have them: what needs them is skipped there, and says so. CI is to have them, and fails without.

use std::{
    env,
    ffi::OsStr,
    io::{self, Write},
    path::PathBuf,
    thread,
};

/// Says that tests may be skipped for want of these files even where `CI` is set.
const WITHOUT: &str = "FINETUNED_WITHOUT_SHARED";

/// A file of the shared folder. Where there is none, whoever asks is to skip what needs it.
#[track_caller]
pub fn file(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    let missing = format!("there is no ../shared/{name} beside the repository");
    assert!(
        may_skip(env::var_os("CI").as_deref(), env::var_os(WITHOUT).as_deref()),
        "{missing}, and CI is set; {WITHOUT}=1 skips what needs it"
    );
    skipped(&missing);
    None
}

/// Only where CI is set something is missed, and not if that is wanted.
fn may_skip(ci: Option<&OsStr>, without: Option<&OsStr>) -> bool {
    let is_set = |value: Option<&OsStr>| value.is_some_and(|value| !value.is_empty());
    !is_set(ci) || is_set(without)
}

/// Says it past the test harness, which keeps to itself what a test prints that passes.
pub fn skipped(why: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("skipped in {test}: {why}\n");
    // A closed standard error is no reason to fail.
    let _ = io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_may_be_skipped_outside_of_ci_or_where_that_is_wanted() {
        let (none, empty, set) = (None, Some(OsStr::new("")), Some(OsStr::new("1")));
        assert!(may_skip(none, none));
        assert!(may_skip(empty, none), "an empty variable is none");
        assert!(!may_skip(set, none));
        assert!(!may_skip(set, empty));
        assert!(may_skip(set, set));
    }
}
