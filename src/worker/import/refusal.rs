//! Why a file is not a model, for whoever sent it. None of this is the server's fault, and retrying would not help.

use crate::{
    protocol,
    worker::{fault::TorchFault, files::state::StateFault},
};

/// Longest message, in characters: names of tensors are untrusted, and may be as long as the file.
const MAX_LENGTH: usize = 600;

#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Refusal(protocol::Refusal);

impl Refusal {
    /// The file is of a supported kind, but invalid.
    pub fn new(message: impl Into<String>) -> Self {
        Self::with("invalid", None, message.into())
    }

    /// A field of the request does not match the file.
    pub fn of(pointer: &str, message: impl Into<String>) -> Self {
        Self::with("conflict", Some(pointer.to_owned()), message.into())
    }

    /// The file is of an unsupported kind.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::with(protocol::Refusal::UNSUPPORTED, None, message.into())
    }

    fn with(code: &str, pointer: Option<String>, message: String) -> Self {
        let harmless = message.chars().map(|c| if c.is_control() { ' ' } else { c });
        let mut shown: String = harmless.take(MAX_LENGTH).collect();
        if shown.len() < message.len() {
            shown.push('…');
        }
        Self(protocol::Refusal {
            pointer,
            ..protocol::Refusal::new(code, shown)
        })
    }

    pub fn into_refusal(self) -> protocol::Refusal {
        self.0
    }
}

/// What is wrong with a safetensors file is for its owner to know; a failing disk or insufficient memory is not.
pub fn of_state(fault: StateFault) -> anyhow::Error {
    let ours = match &fault {
        StateFault::Io(_) => true,
        StateFault::Torch(fault) => {
            matches!(TorchFault::read(&fault.to_string()), TorchFault::OutOfMemory(_))
        }
        StateFault::Invalid(_) | StateFault::UnsupportedType { .. } => false,
    };
    match fault {
        fault if ours => fault.into(),
        StateFault::Torch(_) => Refusal::new("a tensor's shape is impossible").into(),
        fault => Refusal::new(fault.to_string()).into(),
    }
}
