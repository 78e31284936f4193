//! Predictions, in this server's own API and in those of other servers.

pub mod embeddings;
pub mod explain;
pub mod images;
pub mod instances;
pub mod oip;
pub mod predict;
pub mod torchserve;

/// The reference to a model version. TorchServe and its clients write versions with a point: `1.0` is version 1.
fn of_version(model: &str, version: &str) -> String {
    let whole = version.trim_end_matches(".0");
    let is_number = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
    format!("{model}@{}", if is_number { whole } else { version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_may_have_a_point_and_zeros() {
        for (version, reference) in [
            ("1", "m@1"),
            ("1.0", "m@1"),
            ("10.0", "m@10"),
            ("2.0.0", "m@2"),
            ("20", "m@20"),
            ("1.1", "m@1.1"),
            ("1.10", "m@1.10"),
            ("v1.0", "m@v1.0"),
            (".0", "m@.0"),
            ("latest", "m@latest"),
        ] {
            assert_eq!(of_version("m", version), reference);
        }
    }
}
