//! Files that PyTorch itself wrote (`tests/golden/torch`, made by `scripts/parity`), whole, damaged and hostile.

use std::{
    fs,
    io::{Cursor, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use proptest::prelude::*;
use zip::{ZipWriter, write::SimpleFileOptions};

use super::*;
use crate::worker::{
    nets::tests::values,
    weights::file::{self, FileFault},
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/torch")
        .join(name)
}

fn refusal(name: &str) -> String {
    file::read(&golden(name)).unwrap_err().to_string()
}

fn read_bytes(bytes: &[u8]) -> Result<StateDict, FileFault> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    fs::write(&path, bytes).unwrap();
    file::read(&path).map(|read| read.state)
}

/// An archive as `torch.save` lays it out.
fn archive(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("archive/data.pkl", stored).unwrap();
    zip.write_all(pickle).unwrap();
    for (key, bytes) in storages {
        zip.start_file(format!("archive/data/{key}"), stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Numbers as a pickle has them, in a tuple.
fn tuple(numbers: &[i64]) -> Vec<u8> {
    let mut pickle = vec![b'('];
    for number in numbers {
        pickle.extend([0x8a, 8]);
        pickle.extend(number.to_le_bytes());
    }
    pickle.push(b't');
    pickle
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A dictionary of one tensor `a` of 32-bit floats in the storage `0`.
fn one_tensor(count: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let number = |number: i64| [&[0x8a, 8], &number.to_le_bytes()[..]].concat();
    [
        b"\x80\x02}".to_vec(),
        text("a"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        number(count),
        b"tQ".to_vec(),
        number(offset),
        tuple(shape),
        tuple(strides),
        b"\x89)tRs.".to_vec(),
    ]
    .concat()
}

fn with_one_tensor(count: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Result<StateDict, FileFault> {
    read_bytes(&archive(
        &one_tensor(count, offset, shape, strides),
        &[("0", &[0; 24])],
    ))
}

#[test]
fn every_type_shape_and_layout_that_pytorch_saves_is_read_to_the_last_bit() {
    let state = file::read(&golden("state.pth")).unwrap().state;
    assert_eq!(state.len(), 13);
    let whole = values("whole", &[6, 4]).to_kind(Kind::Float);
    let expected = [
        (
            "conv.weight",
            values("conv.weight", &[4, 2, 3, 3]).to_kind(Kind::Float),
        ),
        ("half", values("half", &[3, 5]).to_kind(Kind::Half)),
        ("bfloat", values("bfloat", &[7]).to_kind(Kind::BFloat16)),
        ("double", values("double", &[2, 2])),
        (
            "transposed",
            values("transposed", &[3, 2]).to_kind(Kind::Float).tr(),
        ),
        ("part", whole.narrow(0, 2, 2).narrow(1, 1, 3)),
        ("tied", whole),
        ("parameter", values("parameter", &[5]).to_kind(Kind::Float)),
        ("empty", Tensor::zeros([0, 3], (Kind::Float, Device::Cpu))),
        ("byte", Tensor::from_slice(&[0u8, 128, 255])),
        ("bool", Tensor::from_slice(&[true, false])),
        ("int", Tensor::from_slice(&[-7i32, i32::MAX])),
        ("bn.num_batches_tracked", Tensor::from(1i64 << 40)),
    ];
    for (name, tensor) in expected {
        assert_eq!(state[name].kind(), tensor.kind(), "{name}");
        assert_eq!(state[name].size(), tensor.size(), "{name}");
        assert!(state[name].equal(&tensor), "{name}");
    }
}

#[test]
fn many_tensors_may_be_views_of_one_storage() {
    let state = file::read(&golden("many.pth")).unwrap().state;
    assert_eq!(state.len(), 42);
    let whole = values("whole", &[6, 4]).to_kind(Kind::Float);
    for index in 0..40 {
        let expected = whole.double_value(&[index % 6, index % 4]);
        assert_eq!(
            state[&format!("layer.{index}")].double_value(&[]),
            expected,
            "{index}"
        );
    }
    assert_eq!(state["wide"].size(), [0, 300]);
    assert_eq!(state["wider"].size(), [0, 70_000]);
}

#[test]
fn a_checkpoint_gives_its_state_dict_and_says_so() {
    let read = file::read(&golden("checkpoint.pth.tar")).unwrap();
    assert!(
        read.told[0].contains("`state_dict`") && !read.guessed,
        "{:?}",
        read.told
    );
    let state = read.state;
    assert_eq!(
        state.keys().collect::<Vec<_>>(),
        ["module.half", "module.parameter"]
    );
    assert!(state["module.half"].equal(&values("half", &[3, 5]).to_kind(Kind::Half)));
}

#[test]
fn code_is_refused_by_name_and_old_formats_with_what_to_do() {
    let message = refusal("with-code.pth");
    assert!(message.contains("`argparse.Namespace`"), "{message}");
    assert!(message.contains("torch.save(model.state_dict()"), "{message}");
    let message = refusal("module.pth");
    assert!(message.contains("`torch.nn.modules.linear.Linear`"), "{message}");
    assert!(refusal("legacy.pth").contains("torch.load("));
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    assert!(read_bytes(&tar).unwrap_err().to_string().contains("torch.load("));
    assert!(matches!(
        read_bytes(b"<html>log in</html>"),
        Err(FileFault::Unknown)
    ));
    assert!(matches!(read_bytes(b""), Err(FileFault::Unknown)));

    let attack = b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.";
    let message = read_bytes(&archive(attack, &[])).unwrap_err().to_string();
    assert!(message.contains("`posix.system`"), "{message}");
}

#[test]
fn what_holds_no_tensors_says_what_it_holds() {
    let pickle = [b"\x80\x02}".to_vec(), text("model"), b"}s.".to_vec()].concat();
    let message = read_bytes(&archive(&pickle, &[])).unwrap_err().to_string();
    assert!(message.contains("but `model`"), "{message}");
    let mixed = one_tensor(6, 0, &[6], &[1]);
    let mixed = [&mixed[..mixed.len() - 1], &text("epoch"), b"K\x07s."].concat();
    let state = read_bytes(&archive(&mixed, &[("0", &[0; 24])])).unwrap();
    assert_eq!(state.keys().collect::<Vec<_>>(), ["a"]);
    let foreign = {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("letter.txt", SimpleFileOptions::default())
            .unwrap();
        zip.finish().unwrap().into_inner()
    };
    let fault = read_bytes(&foreign).unwrap_err();
    assert!(
        matches!(fault, FileFault::Torch(TorchFileFault::Foreign)),
        "{fault}"
    );
}

/// A dictionary, its values being pickles without their frames.
fn dictionary(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut pickle = b"}".to_vec();
    for (key, value) in entries {
        pickle.extend(text(key));
        pickle.extend(value);
        pickle.push(b's');
    }
    pickle
}

#[test]
fn the_weights_are_found_wherever_a_checkpoint_has_them() {
    let framed = one_tensor(6, 0, &[6], &[1]);
    let weights = || framed[2..framed.len() - 1].to_vec();
    let number = || b"K\x07".to_vec();
    let read = |checkpoint: Vec<u8>| {
        let whole = [b"\x80\x02", checkpoint.as_slice(), b"."].concat();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.pth");
        fs::write(&path, archive(&whole, &[("0", &[0; 24])])).unwrap();
        let read = file::read(&path).unwrap();
        assert_eq!(read.state.keys().collect::<Vec<_>>(), ["a"], "{:?}", read.told);
        read
    };
    for key in [
        "state_dict",
        "model",
        "model_state_dict",
        "net",
        "network",
        "params",
        "weights",
        "ema",
        "mine",
    ] {
        let found = read(dictionary(&[
            ("epoch", number()),
            (key, weights()),
            ("optimizer", dictionary(&[])),
        ]));
        assert!(
            found.told[0].contains(&format!("`{key}`")) && !found.guessed,
            "{:?}",
            found.told
        );
    }
    let nested = dictionary(&[("model", dictionary(&[("state_dict", weights())]))]);
    assert!(read(nested).told[0].contains("`model.state_dict`"));
    // Averages stand back, wherever they are in the file.
    for (average, plain) in [
        ("model_ema", "model"),
        ("ema", "net"),
        ("params_ema", "params"),
        ("swa", "state_dict"),
    ] {
        for entries in [
            [(average, weights()), (plain, weights())],
            [(plain, weights()), (average, weights())],
        ] {
            let found = read(dictionary(&entries));
            let told = &found.told[0];
            assert!(
                found.guessed
                    && told.contains(&format!("under `{plain}` are used"))
                    && told.contains(average),
                "{told}"
            );
        }
    }
}

#[test]
fn sizes_strides_and_offsets_that_lie_are_refused() {
    assert_eq!(
        with_one_tensor(6, 0, &[2, 3], &[3, 1]).unwrap()["a"].size(),
        [2, 3]
    );
    assert_eq!(with_one_tensor(6, 5, &[], &[]).unwrap()["a"].numel(), 1);
    assert_eq!(with_one_tensor(6, 6, &[0], &[1]).unwrap()["a"].numel(), 0);
    let (most, half) = (i64::MAX, 1 << 32);
    for (count, offset, shape, strides) in [
        (6, 0, &[7][..], &[1][..]),
        (6, 1, &[2, 3], &[3, 1]),
        (6, 6, &[], &[]),
        (6, 7, &[0], &[1]),
        (6, most, &[1], &[1]),
        (6, 0, &[2], &[most]),
        (6, 0, &[half, half], &[0, 0]),
        (6, 0, &[half], &[0]),
        (6, 0, &[0, most, most], &[1, 1, 1]),
        (6, -1, &[1], &[1]),
        (6, 0, &[-1], &[1]),
        (6, 3, &[2], &[-1]),
        (6, 0, &[6], &[]),
        (6, 0, &[1; 9], &[1; 9]),
    ] {
        let fault = with_one_tensor(count, offset, shape, strides).unwrap_err();
        let told = fault.to_string();
        assert!(
            told.starts_with("tensor `a` "),
            "{offset} {shape:?} {strides:?}: {told}"
        );
    }
    // The storage itself is larger or smaller than its file.
    for count in [5, 7, half, most, -1] {
        assert!(with_one_tensor(count, 0, &[1], &[1]).is_err(), "{count}");
    }
    let missing = read_bytes(&archive(&one_tensor(6, 0, &[6], &[1]), &[]));
    assert!(missing.unwrap_err().to_string().contains("data/0 is missing"));
}

#[test]
fn a_file_that_is_cut_short_anywhere_is_refused() {
    let whole = fs::read(golden("state.pth")).unwrap();
    for length in 0..whole.len() {
        assert!(read_bytes(&whole[..length]).is_err(), "{length} bytes");
    }
}

/// The archive's check sums find most damage; the pickle has to hold out without them, as whoever means harm makes them right.
#[test]
fn no_flipped_byte_of_a_pickle_makes_the_reader_panic() {
    let pickle = {
        let mut zip = ZipArchive::new(File::open(golden("checkpoint.pth.tar")).unwrap()).unwrap();
        let mut bytes = Vec::new();
        zip.by_index(0).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert!(pickle::read(&pickle).is_ok());
    for place in 0..pickle.len() {
        for flip in [0x01, 0x04, 0x10, 0x80, 0xff] {
            let mut damaged = pickle.clone();
            damaged[place] ^= flip;
            if let Ok(dictionary) = pickle::read(&damaged) {
                for (_, described) in dictionary.tensors {
                    let _ = check(&described);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn damage_anywhere_in_a_file_is_a_fault_or_harmless(
        places in prop::collection::vec((0usize..4955, any::<u8>()), 1..4),
    ) {
        let mut bytes = fs::read(golden("state.pth")).unwrap();
        for (place, value) in places {
            let length = bytes.len();
            bytes[place % length] = value;
        }
        let read = catch_unwind(AssertUnwindSafe(|| read_bytes(&bytes).map(|state| state.len())));
        prop_assert!(read.is_ok());
    }

    #[test]
    fn no_instructions_make_the_reader_panic(program in prop::collection::vec(
        prop::sample::select(b"\x80\x02().NKJMX]ae}sutcRbQqrhj\x85\x86\x87\x88\x8a\x00\x01\n".as_slice()), 0..200,
    )) {
        let _ = pickle::read(&program);
    }
}
