//! Files of `torch.save` (`.pth`): a zip archive of a pickle that describes tensors, and of their raw data.
//!
//! Read by `weights/file.rs`. Nothing in such a file is ever executed (see `pickle.rs`), every size, stride and offset is checked before
//! memory is allocated or read, and violations are a [`TorchFileFault`]. The data of each storage is read once; tensors are views of it, so
//! that a file cannot ask for more memory than it has bytes.

mod legacy;
mod pickle;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use tch::{Device, Kind, TchError, Tensor};
use zip::{CompressionMethod, ZipArchive, read::ZipFile, result::ZipError};

pub use self::legacy::read as read_legacy;
use self::pickle::{Described, Dictionary, PickleFault, Storage, shown};
use super::contents::Contents;
use crate::worker::files::state::{self, StateDict};

/// Most bytes of tensor data that are read. A ResNet-152 has 242 MB.
const MAX_BYTES: u64 = 2 << 30;
/// Most files in the archive; each tensor has one.
const MAX_FILES: usize = 1 << 16;
/// Most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;

/// Why a file of `torch.save` cannot be read. Messages name no path: the caller says which file it was.
#[derive(Debug, thiserror::Error)]
pub enum TorchFileFault {
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the file is truncated or damaged ({0}); copy it again")]
    Damaged(String),
    #[error("it is a zip archive that `torch.save` did not write")]
    Foreign,
    #[error(
        "it is in the format of PyTorch before 1.6, which is not read here. Convert it where you trust it: \
         python -c \"import torch; torch.save(torch.load('old.pth', map_location='cpu', weights_only=True), 'new.pth')\""
    )]
    Legacy,
    #[error("{0}. Save the tensors alone: torch.save(model.state_dict(), 'weights.pth')")]
    Pickle(#[from] PickleFault),
    #[error("it was saved on a machine with another byte order")]
    ByteOrder,
    #[error("tensor `{name}` {why}")]
    Tensor { name: String, why: String },
    #[error("it contains more than {MAX_BYTES} bytes of tensors")]
    TooLarge,
    #[error(
        "it contains no tensors by name, neither at its top nor in a dictionary in it, but {held}. Save the tensors alone: \
         torch.save(model.state_dict(), 'weights.pth')"
    )]
    NoTensors { held: String },
    #[error("cannot create a tensor: {0}")]
    Torch(#[from] TchError),
}

impl From<ZipError> for TorchFileFault {
    fn from(fault: ZipError) -> Self {
        match fault {
            ZipError::Io(fault) => of_reading(fault),
            _ => TorchFileFault::Damaged("its table of contents is missing or damaged".to_owned()),
        }
    }
}

/// Missing or changed bytes reported by an archive reader are not the disk's fault.
fn of_reading(fault: io::Error) -> TorchFileFault {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    match fault.kind() {
        InvalidData | InvalidInput | Other | UnexpectedEof => {
            TorchFileFault::Damaged("some of its bytes are missing or changed".to_owned())
        }
        _ => TorchFileFault::Io(fault),
    }
}

/// Reads the tensors of a dictionary, or of one in it, into CPU memory, in their stored type.
///
/// # Errors
/// [`TorchFileFault`] for anything that is not an intact file of tensors in a dictionary.
pub fn read(path: &Path) -> Result<Contents, TorchFileFault> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let archive = ZipArchive::new(BufReader::with_capacity(1 << 16, file))?;
    let mut archive = Archive::of(archive, bytes)?;
    archive.check_byte_order()?;
    let pickle = archive.bytes("data.pkl", pickle::MAX_BYTES)?;
    let mut dictionary = pickle::read(&pickle)?;
    if dictionary.tensors.is_empty() {
        return Err(no_tensors(&dictionary));
    }
    let told = choices(&dictionary);
    // Of two with one name the later counts, as in Python.
    let described: BTreeMap<String, Described> =
        std::mem::take(&mut dictionary.tensors).into_iter().collect();
    let mut storages = BTreeMap::new();
    let mut state = StateDict::new();
    for (name, described) in described {
        check(&described).map_err(|why| TorchFileFault::Tensor {
            name: shown(&name),
            why: why.to_owned(),
        })?;
        let storage = archive.storage(&mut storages, &described.storage)?;
        let tensor = storage.f_as_strided(&described.shape, &described.strides, described.offset)?;
        state.insert(name, tensor);
    }
    Ok(Contents {
        state,
        told,
        guessed: !dictionary.alternatives.is_empty(),
    })
}

fn choices(dictionary: &Dictionary) -> Vec<String> {
    let mut told = Vec::new();
    if !dictionary.under.is_empty() {
        let others = dictionary
            .alternatives
            .iter()
            .map(|other| format!("`{}`", shown(other)));
        let others: Vec<String> = others.collect();
        let but = if others.is_empty() {
            String::new()
        } else {
            format!(", not those under {}", others.join(", "))
        };
        told.push(format!(
            "the file is a checkpoint: the {} tensors under `{}` are used{but}",
            dictionary.tensors.len(),
            shown(&dictionary.under)
        ));
    }
    if !dictionary.others.is_empty() {
        told.push(format!(
            "what is no tensor beside them is left out ({})",
            some(&dictionary.others)
        ));
    }
    told
}

fn no_tensors(dictionary: &Dictionary) -> TorchFileFault {
    let held = match dictionary.others.is_empty() {
        true => "nothing".to_owned(),
        false => some(&dictionary.others),
    };
    TorchFileFault::NoTensors { held }
}

/// A few names, for a message.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let names: Vec<_> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{}`", shown(name)))
        .collect();
    names.join(", ") + more
}

/// Whether all of a tensor's data is within its storage, without overlap.
fn check(tensor: &Described) -> Result<(), &'static str> {
    let Described {
        storage,
        offset,
        shape,
        strides,
    } = tensor;
    let negative = |numbers: &[i64]| numbers.iter().any(|number| *number < 0);
    if shape.len() != strides.len() || shape.len() > MAX_DIMENSIONS {
        return Err("has a shape and strides that do not match");
    }
    if storage.count < 0 || *offset < 0 || negative(shape) || negative(strides) {
        return Err("has a negative size");
    }
    let absurd = "has an impossible shape";
    // The sizes of an empty tensor must be possible too.
    let mut count = 1i64;
    for size in shape {
        count = count.checked_mul((*size).max(1)).ok_or(absurd)?;
    }
    let mut end = *offset;
    if !shape.contains(&0) {
        for (size, stride) in shape.iter().zip(strides) {
            let span = (size - 1).checked_mul(*stride).ok_or(absurd)?;
            end = end.checked_add(span).ok_or(absurd)?;
        }
        end = end.checked_add(1).ok_or(absurd)?;
        if count > storage.count {
            return Err("has more numbers than were saved for it");
        }
    }
    if end > storage.count {
        return Err("reaches beyond the numbers that were saved for it");
    }
    Ok(())
}

/// The archive: files in one folder.
struct Archive {
    zip: ZipArchive<BufReader<File>>,
    folder: String,
    /// Length of the whole.
    bytes: u64,
    /// Bytes of tensor data read so far.
    read: u64,
}

impl Archive {
    fn of(zip: ZipArchive<BufReader<File>>, bytes: u64) -> Result<Self, TorchFileFault> {
        if zip.len() > MAX_FILES {
            return Err(TorchFileFault::Foreign);
        }
        let folder = zip.file_names().find_map(|name| {
            let name = name.ok()?;
            let folder = name.strip_suffix("/data.pkl")?;
            (!folder.contains('/')).then(|| folder.to_owned())
        });
        let folder = folder.ok_or(TorchFileFault::Foreign)?;
        Ok(Self {
            zip,
            folder,
            bytes,
            read: 0,
        })
    }

    /// Files from before PyTorch 2.1 do not state it: they always came from little-endian machines.
    fn check_byte_order(&mut self) -> Result<(), TorchFileFault> {
        let name = format!("{}/byteorder", self.folder);
        if self.zip.index_for_name(&name).is_none() {
            return Ok(());
        }
        match self.bytes("byteorder", 16)?.as_slice() {
            b"little" => Ok(()),
            _ => Err(TorchFileFault::ByteOrder),
        }
    }

    /// The bytes of a small file.
    fn bytes(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, TorchFileFault> {
        let mut file = self.open(name)?;
        let length = file.size();
        if length > limit {
            let message = format!("its {name} has {length} bytes, but at most {limit} are allowed");
            return Err(TorchFileFault::Damaged(message));
        }
        let mut bytes = vec![0; length as usize];
        fill(&mut file, &mut bytes)?;
        Ok(bytes)
    }

    fn storage<'a>(
        &mut self,
        known: &'a mut BTreeMap<String, (Storage, Tensor)>,
        wanted: &Storage,
    ) -> Result<&'a Tensor, TorchFileFault> {
        let (storage, tensor) = match known.entry(wanted.key.clone()) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => place.insert((wanted.clone(), self.numbers(wanted)?)),
        };
        if storage != wanted {
            let message = format!("the storage `{}` is described in two ways", shown(&wanted.key));
            return Err(TorchFileFault::Damaged(message));
        }
        Ok(tensor)
    }

    /// The data of a storage.
    fn numbers(&mut self, storage: &Storage) -> Result<Tensor, TorchFileFault> {
        let name = format!("data/{}", shown(&storage.key));
        let (length, read) = (self.bytes, self.read);
        let mut file = self.open(&name)?;
        let size = file.size();
        let described = (storage.count as u64).checked_mul(storage.kind.elt_size_in_bytes() as u64);
        if described != Some(size) || size > length {
            let message = format!(
                "{name} has {size} bytes, but should contain {} numbers",
                storage.count
            );
            return Err(TorchFileFault::Damaged(message));
        }
        let read = read + size;
        if read > MAX_BYTES {
            return Err(TorchFileFault::TooLarge);
        }
        let mut tensor = Tensor::f_empty([storage.count], (storage.kind, Device::Cpu))?;
        // SAFETY: it was just created, so no other tensor shares its memory.
        let bytes = unsafe { state::bytes_mut(&mut tensor) };
        fill(&mut file, bytes)?;
        if storage.kind == Kind::Bool && bytes.iter().any(|byte| *byte > 1) {
            let message = format!("{name} contains values that are neither true nor false");
            return Err(TorchFileFault::Damaged(message));
        }
        drop(file);
        self.read = read;
        Ok(tensor)
    }

    fn open(&mut self, name: &str) -> Result<ZipFile<'_, BufReader<File>>, TorchFileFault> {
        let path = format!("{}/{name}", self.folder);
        let Some(index) = self.zip.index_for_name(&path) else {
            return Err(TorchFileFault::Damaged(format!("{name} is missing")));
        };
        let file = self.zip.by_index(index)?;
        if file.compression() != CompressionMethod::Stored {
            return Err(TorchFileFault::Foreign);
        }
        Ok(file)
    }
}

/// Reads exactly this many bytes and expects the end after them, where the archive's checksum is compared.
fn fill(file: &mut impl Read, bytes: &mut [u8]) -> Result<(), TorchFileFault> {
    file.read_exact(bytes).map_err(of_reading)?;
    match file.read(&mut [0]).map_err(of_reading)? {
        0 => Ok(()),
        _ => Err(TorchFileFault::Damaged(
            "a file in it is longer than declared".to_owned(),
        )),
    }
}
