//! The real pictures and weights that lie beside the repository where the project is developed.

use std::path::PathBuf;

/// A file of the shared folder, where there is one.
pub fn file(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(name);
    path.exists().then_some(path)
}
