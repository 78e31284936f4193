//! Writes event files, as TensorBoard reads them: records of a length, protobuf bytes and checksums of both, one after the other.
//!
//! `jobs/tensorboard.rs` says what is in one. The messages are `Event` and `Summary` of TensorFlow (`tensorflow/core/util/event.proto`,
//! `framework/summary.proto`), of which four fields are needed; they have not changed since 2015. The framing is that of TFRecord files
//! (`tsl/lib/io/record_writer.h`).

use crc::{CRC_32_ISCSI, Crc, Table};

/// CRC-32C.
static CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
/// What readers of the second version expect of a file: they take an event of an earlier step for what it is.
const VERSION: &str = "brain.Event:2";

/// Types of fields on the wire, <https://protobuf.dev/programming-guides/encoding/>
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// The first record of a file. `at`: seconds since 1970.
pub fn beginning(at: f64) -> Vec<u8> {
    let mut event = Message::default();
    event.double(1, at);
    event.bytes(3, VERSION.as_bytes());
    record(&event.0)
}

/// A record of the values that are known of a step, by their tags. `at`: seconds since 1970.
pub fn scalars(at: f64, step: u64, values: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Message::default();
    for (tag, value) in values {
        let mut one = Message::default();
        one.bytes(1, tag.as_bytes());
        one.float(2, *value as f32);
        summary.bytes(1, &one.0);
    }
    let mut event = Message::default();
    event.double(1, at);
    event.varint(2, step);
    event.bytes(5, &summary.0);
    record(&event.0)
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

/// Masked, because the checksum of bytes that contain their own checksum would say nothing.
fn masked(bytes: &[u8]) -> [u8; 4] {
    let checksum = CHECKSUM.checksum(bytes).rotate_right(15);
    checksum.wrapping_add(0xa282_ead8).to_le_bytes()
}

/// A protobuf message.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, field: u64, value: u64) {
        self.key(field, VARINT);
        self.raw_varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.key(field, FIXED_64);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, FIXED_32);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, BYTES);
        self.raw_varint(value.len() as u64);
        self.0.extend(value);
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.raw_varint(field << 3 | wire_type);
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As TensorBoard's own `RecordWriter` and messages write them.
    #[test]
    fn records_are_those_of_tensorboard() {
        let hexadecimal =
            |bytes: Vec<u8>| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        assert_eq!(
            hexadecimal(beginning(1_764_000_000.125)),
            "1800000000000000a37f4b2209000008402049da411a0d627261696e2e4576656e743a3223d6396e"
        );
        assert_eq!(
            hexadecimal(scalars(
                1_764_000_001.5,
                300,
                &[("train/loss", 0.5), ("lr", 1e-3)]
            )),
            "2c00000000000000f4aecc4509000060402049da4110ac022a1e0a110a0a747261696e2f6c6f7373150000003f0a090a026c72156f12833a14cae69f"
        );
    }
}
