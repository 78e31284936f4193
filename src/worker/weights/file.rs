//! A file of weights, detected by its content: safetensors, or the format of `torch.save`.
//!
//! Names are those of the network: the prefix `module.` of PyTorch's `DataParallel` is removed.

use std::{fs::File, io::Read, path::Path};

use super::torch_file::{self, TorchFileFault};
use crate::worker::files::state::{self, StateDict, StateFault};

/// Why a file could not be read. Messages name no path: the caller says which file it was.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    #[error(transparent)]
    Safetensors(#[from] StateFault),
    #[error(transparent)]
    Torch(#[from] TorchFileFault),
    #[error("it is neither a safetensors file nor one that `torch.save` wrote")]
    Unknown,
}

/// Reads every tensor of a file of weights into CPU memory, in its stored type.
///
/// # Errors
/// [`FileFault`], with what to do about it.
pub fn read(path: &Path) -> Result<StateDict, FileFault> {
    let state = match format(path)? {
        Format::Zip => torch_file::read(path)?,
        Format::Legacy => return Err(TorchFileFault::Legacy.into()),
        Format::Unknown if path.extension().is_none_or(|ending| ending != "safetensors") => {
            return Err(FileFault::Unknown);
        }
        // Its own reader says best what is wrong with such a file.
        Format::Safetensors | Format::Unknown => state::read(path)?,
    };
    Ok(without_prefix(state))
}

enum Format {
    Safetensors,
    Zip,
    Legacy,
    Unknown,
}

fn format(path: &Path) -> Result<Format, StateFault> {
    const TAR_MAGIC: usize = 257;
    let mut head = Vec::new();
    File::open(path)?.take(512).read_to_end(&mut head)?;
    Ok(match head.as_slice() {
        [b'P', b'K', 3, 4, ..] => Format::Zip,
        // The length of the header, then the header, which is JSON.
        [_, _, _, _, _, _, _, _, b'{', ..] => Format::Safetensors,
        // A pickle of protocol 2 to 5, or a tar archive.
        [0x80, 2..=5, ..] => Format::Legacy,
        _ if head
            .get(TAR_MAGIC..)
            .is_some_and(|rest| rest.starts_with(b"ustar")) =>
        {
            Format::Legacy
        }
        _ => Format::Unknown,
    })
}

fn without_prefix(state: StateDict) -> StateDict {
    const PREFIX: &str = "module.";
    if state.is_empty() || !state.keys().all(|name| name.starts_with(PREFIX)) {
        return state;
    }
    let bare = |(name, tensor): (String, tch::Tensor)| (name[PREFIX.len()..].to_owned(), tensor);
    state.into_iter().map(bare).collect()
}
