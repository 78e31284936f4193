//! Names of new datasets: chosen by whoever uploads them, or derived from a file name. Only a chosen name can be taken.

use crate::{
    domain::name::{GivenName, Name},
    error::{Error, FieldError, Result},
};

/// Endings of archives, which are no part of a name; the longer ones first.
const ENDINGS: [&str; 8] = [
    ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tgz", ".tar", ".zip", ".gz",
];

/// A name that somebody chose.
///
/// # Errors
/// `invalid` (422)
pub fn chosen(text: &str) -> Result<GivenName> {
    Name::parse(text)
        .map(GivenName::Chosen)
        .map_err(|fault| fault_of_name("range", fault.to_string()))
}

/// The name derived from a file name.
pub fn derived(file: &str) -> GivenName {
    let file = file.rsplit(['/', '\\']).next().unwrap_or(file);
    GivenName::Derived(Name::from_any(stem(file).unwrap_or(file), "dataset"))
}

/// The name at the end of an address, `/v1/datasets/flowers.zip`: with the ending of an archive it is a file's, as `curl -T` appends it, and
/// otherwise a name.
///
/// # Errors
/// `invalid` (422)
pub fn in_address(name: &str) -> Result<GivenName> {
    match stem(name) {
        Some(_) => Ok(derived(name)),
        None => chosen(name),
    }
}

/// An error of the field `name`.
pub fn fault_of_name(code: &str, message: impl Into<String>) -> Error {
    Error::fields(
        "the dataset name is invalid",
        vec![FieldError::new("/name", code, message)],
    )
}

/// `flowers.tar.gz` → `flowers`; `None` if it does not end like an archive.
fn stem(file: &str) -> Option<&str> {
    let lower = file.to_ascii_lowercase();
    let ending = ENDINGS.iter().find(|ending| lower.ends_with(**ending))?;
    Some(&file[..file.len() - ending.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_becomes_a_name() {
        for (file, name) in [
            ("C:\\pictures\\flowers.tar.gz", "flowers"),
            ("../cats & dogs.zip", "cats---dogs"),
            ("images/My Flowers.TGZ", "My-Flowers"),
            ("a.ZIP", "a"),
            ("v1.2.tar", "v1.2"),
            ("плодове.zip", "dataset"),
            ("画像.tar.gz", "dataset"),
            (".zip", "dataset"),
            ("imagenet.zip", "dataset-imagenet"),
            ("plain", "plain"),
        ] {
            let expected = GivenName::Derived(Name::parse(name).unwrap());
            assert_eq!(derived(file), expected, "{file}");
        }
    }

    #[test]
    fn what_ends_like_an_archive_in_an_address_is_a_file() {
        assert!(in_address("flowers.zip").unwrap().is_derived());
        assert!(in_address("Кошки.tar.gz").unwrap().is_derived());
        assert_eq!(in_address("flowers").unwrap(), chosen("flowers").unwrap());
        assert!(in_address("ds_1").is_err() && in_address("Кошки").is_err());
    }
}
