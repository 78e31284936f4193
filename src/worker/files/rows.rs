//! Rows of 32-bit floats in a file: written one after another, then mapped into memory, so that they may be more than memory holds and
//! another process may go on with them.
//!
//! The file is safetensors with two tensors, `rows` and the CRC-32 of each, `sums`, and one text, the key that tells what the rows are.
//! Training keeps the activations of frozen stages so.

use std::{
    fs::File,
    io::{BufWriter, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::state;
use crate::worker::process::{disk::OutputFile, run_dir::RunDir, stored::crc32};

/// Name of the tensor.
const ROWS: &str = "rows";
/// Name of the tensor of their CRC-32s, `[rows]`, 32 bits each.
const SUMS: &str = "sums";
/// Name of the text.
const KEY: &str = "key";
const FLOAT: usize = size_of::<f32>();
const SUM: usize = size_of::<u32>();

/// A file that is being written.
pub struct RowsWriter {
    path: PathBuf,
    out: BufWriter<OutputFile>,
    shape: Vec<i64>,
    /// Of the rows that were written.
    sums: Vec<u8>,
    written: i64,
}

impl RowsWriter {
    /// Begins a file of `rows` rows of this shape.
    pub fn create(dir: &RunDir, name: &str, key: &str, rows: usize, row: &[i64]) -> anyhow::Result<Self> {
        let shape = [&[rows as i64], row].concat();
        let bytes = shape.iter().product::<i64>() as usize * FLOAT;
        let mut header = serde_json::to_vec(&json!({
            "__metadata__": {KEY: key},
            ROWS: {"dtype": "F32", "shape": shape, "data_offsets": [0, bytes]},
            SUMS: {"dtype": "U32", "shape": [rows], "data_offsets": [bytes, bytes + rows * SUM]},
        }))?;
        // Floats begin at a multiple of their size, as the mapping itself does.
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut out = BufWriter::with_capacity(1 << 20, dir.create(name)?);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        Ok(Self {
            path: dir.file(name),
            out,
            shape,
            sums: Vec::with_capacity(rows * SUM),
            written: 0,
        })
    }

    /// Appends `[N, …row]`, of any device and memory layout.
    pub fn push(&mut self, rows: &Tensor) -> anyhow::Result<()> {
        let rows = rows.to_kind(Kind::Float).to_device(Device::Cpu).contiguous();
        let (count, row) = rows
            .size()
            .split_first()
            .map_or((0, vec![]), |(n, row)| (*n, row.to_vec()));
        ensure!(row == self.shape[1..], "rows of another shape");
        let length = row.iter().product::<i64>() as usize * FLOAT;
        // SAFETY: nothing writes to activations once they are computed.
        let bytes = unsafe { state::bytes_of(&rows) };
        for row in bytes.chunks_exact(length.max(1)) {
            self.sums.extend(crc32(row).to_le_bytes());
            self.out.write_all(row)?;
        }
        self.written += count;
        Ok(())
    }

    /// Ends the file and opens it for reading.
    pub fn finish(mut self, key: &str) -> anyhow::Result<Rows> {
        ensure!(self.written == self.shape[0], "rows are missing");
        self.out.write_all(&self.sums)?;
        self.out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        Rows::open(&self.path, key)
    }
}

/// Rows that are there.
pub struct Rows {
    map: Mmap,
    data: Range<usize>,
    sums: Range<usize>,
    /// Of one row.
    shape: Vec<i64>,
    count: usize,
}

impl Rows {
    /// Opens a file whose rows are those of `key`.
    ///
    /// # Errors
    /// It is no such file, it is cut short, its rows are others, or one of them is damaged: all are looked at, and so are in memory for
    /// the first epoch.
    pub fn open(path: &Path, key: &str) -> anyhow::Result<Self> {
        let file = File::open(path)?;
        ensure!(file.metadata()?.len() > 0, "the file is empty");
        // SAFETY: the file belongs to this run or is an immutable blob of the server; nobody shortens or changes it.
        let map = unsafe { Mmap::map(&file)? };
        let (header, metadata) = SafeTensors::read_metadata(&map)?;
        let texts = metadata.metadata().as_ref();
        if texts
            .and_then(|texts| texts.get(KEY))
            .is_none_or(|found| found != key)
        {
            bail!("the file holds other rows");
        }
        let tensors = SafeTensors::deserialize(&map)?;
        let rows = tensors.tensor(ROWS)?;
        ensure!(rows.dtype() == Dtype::F32, "the rows are no 32-bit floats");
        let (count, row) = rows.shape().split_first().context("the rows have no shape")?;
        let sums = tensors.tensor(SUMS)?;
        ensure!(
            sums.dtype() == Dtype::U32 && sums.shape() == [*count],
            "the rows have no sums"
        );
        let begin = 8 + header;
        let data = begin..begin + rows.data().len();
        let sums = data.end..data.end + sums.data().len();
        let (count, shape) = (*count, row.iter().map(|&side| side as i64).collect());
        let rows = Self {
            map,
            data,
            sums,
            shape,
            count,
        };
        (0..count).try_for_each(|number| rows.row(number).map(|_| ()))?;
        Ok(rows)
    }

    /// The bytes of a row, if they are those that were written.
    fn row(&self, number: usize) -> anyhow::Result<&[u8]> {
        ensure!(number < self.count, "there is no row {number}");
        let length = self.shape.iter().product::<i64>() as usize * FLOAT;
        let row = &self.map[self.data.clone()][number * length..][..length];
        let sum = &self.map[self.sums.clone()][number * SUM..][..SUM];
        ensure!(crc32(row).to_le_bytes() == sum, "row {number} is damaged");
        Ok(row)
    }

    /// Rows by their numbers, in this order: `[N, …row]` on the CPU.
    pub fn take(&self, numbers: impl ExactSizeIterator<Item = usize>) -> anyhow::Result<Tensor> {
        let row = self.shape.iter().product::<i64>() as usize * FLOAT;
        let shape = [&[numbers.len() as i64], &self.shape[..]].concat();
        let mut bytes = Vec::with_capacity(numbers.len() * row);
        for number in numbers {
            bytes.extend_from_slice(self.row(number)?);
        }
        Ok(Tensor::f_from_data_size(&bytes, &shape, Kind::Float)?)
    }

    /// All rows as one tensor on this device.
    pub fn on(&self, device: Device) -> anyhow::Result<Tensor> {
        let shape = [&[self.count as i64], &self.shape[..]].concat();
        let all = Tensor::f_from_data_size(&self.map[self.data.clone()], &shape, Kind::Float)?;
        Ok(all.to_device(device))
    }

    pub fn bytes(&self) -> u64 {
        self.data.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::worker::process::stored::tests::flipping;

    fn written(folder: &Path) -> (PathBuf, Tensor) {
        let values = Tensor::arange(5 * 6, (Kind::Float, Device::Cpu)).view([5, 2, 3]) / 7.0;
        let (dir, name) = (RunDir::new(folder), "rows.safetensors");
        let path = dir.file(name);
        let mut writer = RowsWriter::create(&dir, name, "this", 5, &[2, 3]).unwrap();
        writer.push(&values.narrow(0, 0, 3)).unwrap();
        assert!(writer.push(&values.narrow(1, 0, 1)).is_err(), "of another shape");
        writer.push(&values.narrow(0, 3, 2)).unwrap();
        writer.finish("this").unwrap();
        (path, values)
    }

    #[test]
    fn rows_come_back_by_number_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let (path, values) = written(folder.path());
        let rows = Rows::open(&path, "this").unwrap();
        let chosen = rows.take([4, 0, 4].into_iter()).unwrap();
        assert_eq!(chosen, values.index_select(0, &Tensor::from_slice(&[4i64, 0, 4])));
        assert_eq!(rows.on(Device::Cpu).unwrap(), values);
        assert!(rows.take([5].into_iter()).is_err());
    }

    #[test]
    fn rows_of_another_key_or_of_a_file_cut_short_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = written(folder.path());
        assert!(Rows::open(&path, "that").is_err());
        let whole = fs::read(&path).unwrap();
        for length in [0, 4, 40, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(Rows::open(&path, "this").is_err(), "{length}");
        }
    }

    #[test]
    fn a_flipped_bit_is_found_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = written(folder.path());
        let length = fs::metadata(&path).unwrap().len() as usize;
        flipping(&path, 2 * length, || assert!(Rows::open(&path, "this").is_err()));
        assert!(Rows::open(&path, "this").is_ok());
    }

    #[test]
    fn a_file_with_rows_missing_is_not_finished() {
        let folder = tempfile::tempdir().unwrap();
        let writer = RowsWriter::create(&RunDir::new(folder.path()), "rows", "this", 5, &[2]).unwrap();
        assert!(writer.finish("this").is_err());
    }
}
