//! The key that the commands send: from a file, or from the environment. It is never part of a message.
//! [`connect`] sends it only to a server that proves who it is, where the address says so (`https://`).

use std::{fs, path::Path};

use reqwest::header::HeaderValue;

use super::{
    ServerArgs,
    api::{Api, Failure},
    text::printable,
    trust,
};
use crate::{config::keys::key_in_environment, domain::access::Secret};

/// The server that a command names, with its key.
///
/// # Errors
/// What should be the key or the certificates is none.
pub fn connect(args: &ServerArgs) -> Result<Api, Failure> {
    let key = find(args.key_file.as_deref())?;
    let authorities = trust::authorities(args.ca_cert.as_deref(), &args.server)?;
    Api::with(&args.server, key.as_ref().map(header_value), authorities)
}

/// The key in a file or, without one, in `FINETUNED_KEY`; none if neither is given.
///
/// # Errors
/// The file cannot be read, or what is there is no key.
fn find(file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    let (text, place) = match file {
        Some(path) => {
            let place = printable(&path.display().to_string());
            let text = fs::read_to_string(path).map_err(|source| Failure::File {
                path: place.clone(),
                source,
            })?;
            (text, place)
        }
        None => match key_in_environment() {
            Some(text) => (text, "FINETUNED_KEY".to_owned()),
            None => return Ok(None),
        },
    };
    Secret::parse(text.trim())
        .map(Some)
        .map_err(|fault| Failure::Usage(format!("what is in {place} is not a key: {fault}")))
}

/// The header `Authorization` with a key, which is not printed with other headers.
fn header_value(key: &Secret) -> HeaderValue {
    let text = format!("Bearer {}", key.reveal());
    let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| unreachable!("a key is plain text"));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_a_file_and_what_is_none_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = Secret::draw().unwrap();
        fs::write(&path, format!("{}\n", key.reveal())).unwrap();
        assert_eq!(find(Some(&path)).unwrap(), Some(key.clone()));
        let header = header_value(&key);
        assert_eq!(header.to_str().unwrap(), format!("Bearer {}", key.reveal()));
        assert!(!format!("{header:?}").contains("ft_"));

        fs::write(&path, &key.reveal()[..70]).unwrap();
        let failure = find(Some(&path)).unwrap_err().to_string();
        assert!(
            failure.contains("not a key") && !failure.contains(&key.reveal()[3..20]),
            "{failure}"
        );
        let missing = find(Some(&folder.path().join("none"))).unwrap_err();
        assert!(matches!(missing, Failure::File { .. }));
    }
}
