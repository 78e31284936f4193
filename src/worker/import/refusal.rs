//! Why a file is not a model, for whoever sent it. None of this is the server's fault, and retrying would not help.

use crate::{
    protocol,
    worker::{
        fault::TorchFault,
        files::state::StateFault,
        weights::{file::FileFault, torch_file::TorchFileFault},
    },
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
        Self(protocol::Refusal {
            pointer,
            ..protocol::Refusal::new(code, harmless(&message))
        })
    }

    pub fn into_refusal(self) -> protocol::Refusal {
        self.0
    }
}

/// A message of bounded length, on one line.
pub fn harmless(message: &str) -> String {
    let harmless = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = harmless.take(MAX_LENGTH).collect();
    if shown.len() < message.len() {
        shown.push('…');
    }
    shown
}

/// A refusal that follows what was changed already: whoever reads it should know which names it is about.
pub fn after(fault: anyhow::Error, remarks: &[String]) -> anyhow::Error {
    match fault.downcast::<Refusal>() {
        Ok(Refusal(refused)) if !remarks.is_empty() => {
            let message = harmless(&format!("{} (before: {})", refused.message, remarks.join("; ")));
            Refusal(protocol::Refusal { message, ..refused }).into()
        }
        Ok(refused) => refused.into(),
        Err(fault) => fault,
    }
}

/// What is wrong with a file of weights is for its owner to know, unless the disk fails.
pub fn of_file(fault: FileFault) -> anyhow::Error {
    match fault {
        FileFault::Safetensors(fault) => of_state(fault),
        FileFault::Torch(TorchFileFault::Io(fault)) => fault.into(),
        FileFault::Torch(TorchFileFault::Torch(fault)) => of_state(StateFault::Torch(fault)),
        FileFault::Torch(fault @ (TorchFileFault::Legacy | TorchFileFault::Foreign)) => {
            Refusal::unsupported(fault.to_string()).into()
        }
        fault => Refusal::new(fault.to_string()).into(),
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
