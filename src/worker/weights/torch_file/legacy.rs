//! The format of `torch.save` before PyTorch 1.6: five pickles in a row (a magic number, the version of the protocol, the machine, the
//! tensors, the keys of their storages), then for each storage the count of its numbers and the numbers.
//!
//! Only for files whose digest is known; other files of this format are refused (`file.rs`).

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::{
    MAX_BYTES, TorchFileFault, check, no_tensors,
    pickle::{self, Storage, shown},
};

/// The first pickle: the magic number 0x1950a86a20f9469cfc6c.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// The tensors of the dictionary, in its order, in CPU memory.
///
/// # Errors
/// [`TorchFileFault`]
pub fn read(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, TorchFileFault> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(TorchFileFault::Foreign)?;
    let mut legacy = pickle::read_legacy(rest)?;
    if !legacy.is_little_endian {
        return Err(TorchFileFault::ByteOrder);
    }
    if legacy.dictionary.tensors.is_empty() {
        return Err(no_tensors(&legacy.dictionary));
    }
    let described = std::mem::take(&mut legacy.dictionary.tensors);
    let kinds: BTreeMap<&str, &Storage> = described
        .iter()
        .map(|(_, tensor)| (tensor.storage.key.as_str(), &tensor.storage))
        .collect();
    let storages = storages(legacy.data, &legacy.keys, &kinds)?;
    let mut tensors = Vec::new();
    for (name, described) in &described {
        check(described).map_err(|why| TorchFileFault::Tensor {
            name: shown(name),
            why: why.to_owned(),
        })?;
        let storage = storages.get(described.storage.key.as_str());
        let storage = storage.filter(|(known, _)| *known == &described.storage);
        let Some((_, numbers)) = storage else {
            let message = format!(
                "the storage `{}` is missing or described in two ways",
                shown(&described.storage.key)
            );
            return Err(TorchFileFault::Damaged(message));
        };
        let tensor = numbers.f_as_strided(&described.shape, &described.strides, described.offset)?;
        tensors.push((name.clone(), tensor));
    }
    Ok(tensors)
}

/// The storages after the pickles, by key.
fn storages<'a>(
    mut data: &[u8],
    keys: &[String],
    kinds: &BTreeMap<&str, &'a Storage>,
) -> Result<BTreeMap<String, (&'a Storage, Tensor)>, TorchFileFault> {
    if data.len() as u64 > MAX_BYTES {
        return Err(TorchFileFault::TooLarge);
    }
    let damaged = |message: &str| TorchFileFault::Damaged(message.to_owned());
    let mut storages = BTreeMap::new();
    for key in keys {
        let described = *kinds
            .get(key.as_str())
            .ok_or_else(|| damaged("a storage belongs to no tensor"))?;
        let (count, rest) = data
            .split_first_chunk::<8>()
            .ok_or_else(|| damaged("it is truncated"))?;
        if i64::from_le_bytes(*count) != described.count {
            return Err(damaged("a storage has another length than declared"));
        }
        let size = (described.count as u64).checked_mul(described.kind.elt_size_in_bytes() as u64);
        let size = size.and_then(|size| usize::try_from(size).ok());
        let taken = size.and_then(|size| rest.split_at_checked(size));
        let (numbers, rest) = taken.ok_or_else(|| damaged("it is truncated"))?;
        if described.kind == Kind::Bool && numbers.iter().any(|byte| *byte > 1) {
            return Err(damaged("it contains values that are neither true nor false"));
        }
        let tensor = Tensor::f_from_data_size(numbers, &[described.count], described.kind)?;
        if storages.insert(key.clone(), (described, tensor)).is_some() {
            return Err(damaged("a storage occurs twice"));
        }
        data = rest;
    }
    match data.is_empty() {
        true => Ok(storages),
        false => Err(damaged("it is longer than declared")),
    }
}
