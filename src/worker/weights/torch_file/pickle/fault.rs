//! What is wrong with a pickle.

pub type Outcome<T> = Result<T, PickleFault>;

/// Why a pickle cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleFault {
    #[error("it asks for `{0}`, and only tensors are read here, never code")]
    Forbidden(String),
    #[error("its pickle {0}")]
    Malformed(String),
}

/// A name from a file, for people.
pub fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(80).collect()
}
