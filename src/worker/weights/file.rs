//! A file of weights, detected by its content: safetensors, or the format of `torch.save`.
//!
//! Names are those of the file; `fit` makes them the network's.

use std::{fs::File, io::Read, path::Path};

use super::{
    contents::Contents,
    torch_file::{self, TorchFileFault},
};
use crate::worker::files::state::{self, StateFault};

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
pub fn read(path: &Path) -> Result<Contents, FileFault> {
    match format(path)? {
        Format::Zip => Ok(torch_file::read(path)?),
        Format::Legacy => Err(TorchFileFault::Legacy.into()),
        Format::Unknown if path.extension().is_none_or(|ending| ending != "safetensors") => {
            Err(FileFault::Unknown)
        }
        // Its own reader says best what is wrong with such a file.
        Format::Safetensors | Format::Unknown => Ok(Contents {
            state: state::read(path)?,
            told: Vec::new(),
            guessed: false,
        }),
    }
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
