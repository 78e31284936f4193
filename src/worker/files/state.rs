//! Named tensors as safetensors files: base weights, checkpoints and trained models are all read and written here.
//!
//! Reading trusts nothing: every length in the header is checked against the file before memory is allocated for it, and no code from a
//! file is ever run. Writing is durable and deterministic, because a model is identified by its hash.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    slice,
};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::{Serializer, ser::SerializeMap};
use tch::{Device, Kind, TchError, Tensor};

use crate::files::digest::Hasher;

/// Tensors by name, in the order of their names.
pub type StateDict = BTreeMap<String, Tensor>;

/// Largest header that is read, in bytes; a ResNet-152's is below 100 KB.
const MAX_HEADER: u64 = 16 << 20;
/// Bytes before the header: its length, little-endian.
const PREFIX: u64 = 8;
/// The file's own key for metadata.
const METADATA_KEY: &str = "__metadata__";

/// Why a safetensors file cannot be read or written. Messages name no path: the caller says which file it was.
#[derive(Debug, thiserror::Error)]
pub enum StateFault {
    #[error("the file cannot be read or written: {0}")]
    Io(#[from] io::Error),
    #[error("the file is not a whole safetensors file: {0}")]
    Invalid(String),
    #[error("tensor `{name}` has the type {dtype}, which is not supported")]
    UnsupportedType { name: String, dtype: String },
    #[error("a tensor cannot be made or copied: {0}")]
    Torch(#[from] TchError),
}

/// Reads every tensor of a safetensors file into CPU memory, in its stored type.
///
/// # Errors
/// [`StateFault`] for a file that is truncated, too long, has a wrong header, or contains a type other than F32, F16, BF16, F64, I64, I32,
/// U8 and BOOL.
pub fn read(path: &Path) -> Result<StateDict, StateFault> {
    let (mut file, metadata) = open(path)?;
    let mut state = StateDict::new();
    for name in metadata.offset_keys() {
        if let Some(info) = metadata.info(&name) {
            let tensor = read_tensor(&mut file, &name, info)?;
            state.insert(name, tensor);
        }
    }
    Ok(state)
}

/// Reads only the file's metadata, such as `format`.
///
/// # Errors
/// As [`read`], as far as visible from the header.
pub fn read_metadata(path: &Path) -> Result<BTreeMap<String, String>, StateFault> {
    let (_, metadata) = open(path)?;
    let texts = metadata.metadata().iter().flatten();
    Ok(texts.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// Writes tensors of any device and memory layout, durably, by rename: the file appears complete or not at all. The same tensors and texts
/// always produce the same bytes.
///
/// # Errors
/// [`StateFault`] if the disk fails, or a tensor has a type that [`read`] would not accept.
pub fn write(path: &Path, state: &StateDict, metadata: &BTreeMap<String, String>) -> Result<(), StateFault> {
    let entries = layout(state)?;
    let header = header_bytes(&entries, metadata)?;
    let partial = partial_path(path);
    let written = write_partial(&partial, &entries, &header);
    if written.is_err() {
        // On a full disk it would occupy the space that everybody is waiting for.
        let _ = fs::remove_file(&partial);
    }
    written?;
    fs::rename(&partial, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

/// SHA-256, hexadecimal, and length of the file that [`write()`] would write.
///
/// # Errors
/// As [`write()`], but for the disk.
pub fn digest(state: &StateDict, metadata: &BTreeMap<String, String>) -> Result<(String, u64), StateFault> {
    let entries = layout(state)?;
    let mut hasher = Hasher::new();
    write_all(&mut hasher, &entries, &header_bytes(&entries, metadata)?)?;
    let bytes = hasher.bytes();
    Ok((hasher.finish(), bytes))
}

fn write_partial(partial: &Path, entries: &[Entry<'_>], header: &[u8]) -> Result<(), StateFault> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(partial)?);
    write_all(&mut out, entries, header)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(())
}

fn write_all(out: &mut impl Write, entries: &[Entry<'_>], header: &[u8]) -> Result<(), StateFault> {
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header)?;
    for entry in entries {
        write_tensor(out, entry.tensor)?;
    }
    Ok(())
}

/// Opens a file, reads and checks its header, and positions it at the first byte of data.
fn open(path: &Path) -> Result<(File, Metadata), StateFault> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut prefix = [0; PREFIX as usize];
    if length < PREFIX {
        return Err(StateFault::Invalid("it is shorter than a header".into()));
    }
    file.read_exact(&mut prefix)?;
    let header_length = u64::from_le_bytes(prefix);
    if header_length > MAX_HEADER || header_length > length - PREFIX {
        let message = format!("the length of its header, {header_length} bytes, is impossible");
        return Err(StateFault::Invalid(message));
    }
    let mut header = vec![0; header_length as usize];
    file.read_exact(&mut header)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|fault| StateFault::Invalid(fault.to_string()))?;
    let data = length - PREFIX - header_length;
    if metadata.data_len() as u64 != data {
        let message = format!(
            "its header announces {} bytes of data, but there are {data}",
            metadata.data_len()
        );
        return Err(StateFault::Invalid(message));
    }
    Ok((file, metadata))
}

fn read_tensor(file: &mut File, name: &str, info: &TensorInfo) -> Result<Tensor, StateFault> {
    let kind = kind_of(info.dtype).ok_or_else(|| StateFault::UnsupportedType {
        name: name.to_owned(),
        dtype: info.dtype.to_string(),
    })?;
    let shape: Option<Vec<i64>> = info.shape.iter().map(|&size| i64::try_from(size).ok()).collect();
    let shape = shape.ok_or_else(|| StateFault::Invalid(format!("the shape of `{name}` is impossible")))?;
    let mut tensor = Tensor::f_empty(&shape, (kind, Device::Cpu))?;
    // SAFETY: it was just created, so no other tensor shares its memory.
    let bytes = unsafe { bytes_mut(&mut tensor) };
    file.read_exact(bytes)?;
    if kind == Kind::Bool && bytes.iter().any(|byte| *byte > 1) {
        let message = format!("`{name}` contains values that are neither true nor false");
        return Err(StateFault::Invalid(message));
    }
    Ok(tensor)
}

fn write_tensor(out: &mut impl Write, tensor: &Tensor) -> Result<(), StateFault> {
    let plain = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    // SAFETY: nothing writes to a state dictionary while it is saved.
    out.write_all(unsafe { bytes_of(&plain) })?;
    Ok(())
}

/// A tensor and its position in the file.
struct Entry<'a> {
    name: &'a str,
    tensor: &'a Tensor,
    info: TensorInfo,
}

/// Wide types first, so that every tensor is aligned (as in the safetensors library), then by name.
fn layout(state: &StateDict) -> Result<Vec<Entry<'_>>, StateFault> {
    let mut entries = Vec::with_capacity(state.len());
    for (name, tensor) in state {
        let kind = tensor.f_kind()?;
        let dtype = dtype_of(kind).ok_or_else(|| StateFault::UnsupportedType {
            name: name.clone(),
            dtype: format!("{kind:?}"),
        })?;
        if name == METADATA_KEY {
            return Err(StateFault::Invalid(format!(
                "a tensor cannot be named `{METADATA_KEY}`"
            )));
        }
        let shape = tensor.size().into_iter().map(|size| size as usize).collect();
        let data_offsets = (0, tensor.numel() * kind.elt_size_in_bytes());
        let info = TensorInfo {
            dtype,
            shape,
            data_offsets,
        };
        entries.push(Entry { name, tensor, info });
    }
    entries.sort_by(|a, b| b.info.dtype.cmp(&a.info.dtype).then(a.name.cmp(b.name)));
    let mut begin = 0;
    for entry in &mut entries {
        let end = begin + entry.info.data_offsets.1;
        entry.info.data_offsets = (begin, end);
        begin = end;
    }
    Ok(entries)
}

/// The header as JSON, padded to eight bytes. The library's own writer orders texts by a hash map, which differs from run to run
/// (safetensors issue 584); here the order depends only on the content.
fn header_bytes(entries: &[Entry], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, StateFault> {
    let mut header = Vec::new();
    let fill = |header: &mut Vec<u8>| -> serde_json::Result<()> {
        let mut json = serde_json::Serializer::new(header);
        let mut map = json.serialize_map(None)?;
        if !metadata.is_empty() {
            map.serialize_entry(METADATA_KEY, metadata)?;
        }
        for entry in entries {
            map.serialize_entry(entry.name, &entry.info)?;
        }
        map.end()
    };
    fill(&mut header).map_err(|fault| StateFault::Invalid(fault.to_string()))?;
    header.resize(header.len().next_multiple_of(PREFIX as usize), b' ');
    Ok(header)
}

fn partial_path(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// The memory of a contiguous CPU tensor. safetensors is little-endian, and so is every machine that libtorch is built for.
///
/// # Panics
/// If it is not contiguous or not on the CPU.
///
/// # Safety
/// Nothing writes to its memory, through this tensor or another that shares it, while the bytes are borrowed.
pub unsafe fn bytes_of(tensor: &Tensor) -> &[u8] {
    match contiguous_bytes(tensor) {
        0 => &[],
        // SAFETY: a contiguous tensor on the CPU has so many bytes here, which it keeps as long as it is borrowed, and nothing writes to them.
        count => unsafe { slice::from_raw_parts(tensor.data_ptr().cast(), count) },
    }
}

/// As [`bytes_of`], to write to.
///
/// # Panics
/// If it is not contiguous or not on the CPU.
///
/// # Safety
/// No other tensor shares its memory.
pub unsafe fn bytes_mut(tensor: &mut Tensor) -> &mut [u8] {
    match contiguous_bytes(tensor) {
        0 => &mut [],
        // SAFETY: as in `bytes_of`, and nothing else uses them.
        count => unsafe { slice::from_raw_parts_mut(tensor.data_ptr().cast(), count) },
    }
}

fn contiguous_bytes(tensor: &Tensor) -> usize {
    assert!(
        tensor.device() == Device::Cpu && tensor.is_contiguous(),
        "the tensor is not contiguous on the CPU"
    );
    tensor.numel() * tensor.kind().elt_size_in_bytes()
}

pub(super) fn kind_of(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F64 => Kind::Double,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}

fn dtype_of(kind: Kind) -> Option<Dtype> {
    Some(match kind {
        Kind::Float => Dtype::F32,
        Kind::Half => Dtype::F16,
        Kind::BFloat16 => Dtype::BF16,
        Kind::Double => Dtype::F64,
        Kind::Int64 => Dtype::I64,
        Kind::Int => Dtype::I32,
        Kind::Uint8 => Dtype::U8,
        Kind::Bool => Dtype::BOOL,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect()
    }

    /// One tensor of each type, including a scalar, an empty one and one in channels-last layout.
    fn every_kind() -> StateDict {
        let floats = Tensor::arange(48, (Kind::Float, Device::Cpu)).view([2, 3, 2, 4]) - 7.5;
        let channels_last = floats.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        assert!(!channels_last.is_contiguous());
        [
            ("a.float", channels_last),
            ("b.half", floats.to_kind(Kind::Half)),
            ("c.bfloat", floats.to_kind(Kind::BFloat16)),
            ("d.double", floats.to_kind(Kind::Double)),
            ("e.long", Tensor::from_slice(&[i64::MIN, 0, i64::MAX])),
            ("f.int", Tensor::from_slice(&[1i32, -2])),
            ("g.byte", Tensor::from_slice(&[1u8, 2, 255])),
            ("h.bool", Tensor::from_slice(&[true, false])),
            ("i.scalar", Tensor::from(3i64)),
            ("j.empty", Tensor::zeros([0, 4], (Kind::Float, Device::Cpu))),
        ]
        .into_iter()
        .map(|(name, tensor)| (name.to_string(), tensor))
        .collect()
    }

    fn written(state: &StateDict, metadata: &BTreeMap<String, String>) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        write(&path, state, metadata).unwrap();
        fs::read(&path).unwrap()
    }

    fn read_bytes(bytes: &[u8]) -> Result<StateDict, StateFault> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        fs::write(&path, bytes).unwrap();
        read(&path)
    }

    fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn what_is_written_reads_back_in_its_own_type_and_shape() {
        let state = every_kind();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        write(&path, &state, &texts(&[("format", "pt"), ("step", "12")])).unwrap();
        let back = read(&path).unwrap();
        assert_eq!(back.len(), state.len());
        for (name, tensor) in &state {
            assert_eq!(back[name].kind(), tensor.kind(), "{name}");
            assert_eq!(back[name].size(), tensor.size(), "{name}");
            assert!(back[name].equal(tensor), "{name}");
        }
        assert_eq!(
            read_metadata(&path).unwrap(),
            texts(&[("format", "pt"), ("step", "12")])
        );
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "no partial file is left");
    }

    #[test]
    fn equal_content_makes_equal_bytes() {
        let metadata: Vec<(String, String)> = (0..20).map(|i| (format!("k{i}"), format!("v{i}"))).collect();
        let forward = metadata.iter().cloned().collect();
        let backward = metadata.iter().rev().cloned().collect();
        let first = written(&every_kind(), &forward);
        assert_eq!(first, written(&every_kind(), &backward));
        let mut other = every_kind();
        let _ = other.get_mut("f.int").unwrap().f_add_scalar_(1).unwrap();
        assert_ne!(first, written(&other, &forward));
    }

    #[test]
    fn the_library_of_the_format_reads_what_we_write() {
        let bytes = written(&every_kind(), &texts(&[("format", "pt")]));
        let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.len(), every_kind().len());
        let view = theirs.tensor("e.long").unwrap();
        assert_eq!(
            view.data(),
            [i64::MIN, 0, i64::MAX].map(i64::to_le_bytes).concat()
        );
    }

    #[test]
    fn a_file_that_lies_is_refused() {
        let whole = written(&every_kind(), &texts(&[]));
        let invalid = |bytes: &[u8]| match read_bytes(bytes) {
            Err(StateFault::Invalid(message)) => message,
            other => panic!("{other:?}"),
        };
        invalid(b"");
        invalid(b"PK\x03\x04");
        invalid(&whole[..whole.len() - 1]);
        invalid(&[&whole[..], &[0]].concat());
        invalid(&[u64::MAX.to_le_bytes(), [0; 8]].concat());
        invalid(&with_header("{", &[]));
        let one = |fields: &str, data: &[u8]| with_header(&format!("{{\"a\":{{{fields}}}}}"), data);
        invalid(&one(
            r#""dtype":"F32","shape":[9223372036854775807],"data_offsets":[0,4]"#,
            &[0; 4],
        ));
        invalid(&one(r#""dtype":"F32","shape":[2],"data_offsets":[0,4]"#, &[0; 4]));
        invalid(&one(r#""dtype":"F32","shape":[1],"data_offsets":[4,8]"#, &[0; 8]));
        invalid(&one(r#""dtype":"BOOL","shape":[1],"data_offsets":[0,1]"#, &[7]));
        invalid(&one(
            r#""dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]"#,
            &[],
        ));
        let overlapping = r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#;
        invalid(&with_header(overlapping, &[0; 3]));
        let unsupported = read_bytes(&one(r#""dtype":"I16","shape":[1],"data_offsets":[0,2]"#, &[0; 2]));
        assert!(matches!(unsupported, Err(StateFault::UnsupportedType { name, .. }) if name == "a"));
    }
}
