//! Writes JPEGs that no encoder at hand writes (ITU-T T.81).

/// A marker segment with its length.
pub fn segment(marker: u8, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u16 + 2).to_be_bytes();
    [&[0xff, marker][..], &length, data].concat()
}

/// Entropy-coded bits, as text.
#[derive(Default)]
pub struct Bits(String);

impl Bits {
    /// A value as its category, in a code of `code` bits that is the category itself, and its low bits (T.81, F.1.2.1). A difference of
    /// 32768 has no low bits (H.1.2.2).
    pub fn value(&mut self, value: i32, code: usize) -> &mut Self {
        let category = 32 - value.unsigned_abs().leading_zeros();
        self.0 += &format!("{category:0code$b}");
        if (1..16).contains(&category) {
            let low = if value < 0 { value - 1 } else { value } & ((1 << category) - 1);
            self.0 += &format!("{low:0width$b}", width = category as usize);
        }
        self
    }

    pub fn bit(&mut self, bit: char) -> &mut Self {
        self.0.push(bit);
        self
    }

    /// Whole bytes, filled up with ones; a zero byte follows each 0xff.
    pub fn stuffed(mut self) -> Vec<u8> {
        self.0 += &"1".repeat((8 - self.0.len() % 8) % 8);
        let byte = |byte: usize| u8::from_str_radix(&self.0[byte * 8..byte * 8 + 8], 2).unwrap();
        (0..self.0.len() / 8)
            .map(byte)
            .flat_map(|byte| if byte == 0xff { vec![0xff, 0] } else { vec![byte] })
            .collect()
    }
}

/// A whole file of these segments and the coded data after them.
pub fn file(segments: Vec<Vec<u8>>, coded: Vec<u8>) -> Vec<u8> {
    [vec![0xff, 0xd8], segments.concat(), coded, vec![0xff, 0xd9]].concat()
}
