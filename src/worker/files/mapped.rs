//! Tensors over a safetensors file that is mapped into memory: of a large one only what is used is read.

use std::{fs::File, path::Path};

use anyhow::{Context, ensure};
use memmap2::Mmap;
use safetensors::SafeTensors;
use tch::{Device, Tensor};

use super::state::{StateDict, kind_of};

/// The tensors of a file, which stays mapped until the process ends: for one that ends soon. They are not to be changed.
///
/// # Errors
/// It is no such file, or is cut short. What its tensors hold is not looked at.
pub fn mapped(path: &Path) -> anyhow::Result<StateDict> {
    let file = File::open(path)?;
    ensure!(file.metadata()?.len() > 0, "the file is empty");
    // SAFETY: the file is an immutable blob of the server; nobody shortens or changes it.
    let map: &'static Mmap = Box::leak(Box::new(unsafe { Mmap::map(&file)? }));
    let mut state = StateDict::new();
    for (name, view) in SafeTensors::deserialize(map)?.iter() {
        let kind = kind_of(view.dtype()).with_context(|| format!("`{name}` has an unknown type"))?;
        let shape: Vec<i64> = view.shape().iter().map(|&length| length as i64).collect();
        let mut strides = vec![1; shape.len()];
        for place in (1..shape.len()).rev() {
            strides[place - 1] = strides[place] * shape[place];
        }
        // SAFETY: safetensors has checked that the bytes are as many as the shape has; they stay mapped, and nothing writes to a mapping that
        // is not writable.
        let tensor =
            unsafe { Tensor::f_from_blob(view.data().as_ptr(), &shape, &strides, kind, Device::Cpu)? };
        state.insert(name.to_owned(), tensor);
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use tch::Kind;

    use super::*;
    use crate::worker::files::state;

    #[test]
    fn tensors_are_those_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.safetensors");
        let numbers = Tensor::arange(24, (Kind::Float, Device::Cpu)).view([2, 3, 4]);
        let written = StateDict::from([
            ("numbers".to_owned(), numbers.shallow_clone()),
            ("count".to_owned(), Tensor::from(7i64)),
        ]);
        state::write(&path, &written, &BTreeMap::new()).unwrap();
        let found = mapped(&path).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found["numbers"].equal(&numbers));
        assert_eq!(found["count"].int64_value(&[]), 7);
        assert_eq!(found["numbers"].select(2, 1), numbers.select(2, 1));
        let whole = fs::read(&path).unwrap();
        for length in [0, 8, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(mapped(&path).is_err(), "{length}");
        }
    }
}
