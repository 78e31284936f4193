//! What the header of a Netpbm file says of its values.

/// The largest value that the file may have, which `image` scales to the largest of 8 or 16 bits. None if this is no such file.
pub fn stated_largest(bytes: &[u8]) -> Option<u32> {
    let kind = *bytes.get(1)?;
    let head = bytes.get(2..bytes.len().min(4096))?;
    let lines = head.split(|byte| *byte == b'\n');
    let plain = lines.map(|line| line.split(|byte| *byte == b'#').next().unwrap_or_default());
    let mut words = plain
        .flat_map(|line| line.split(u8::is_ascii_whitespace))
        .filter(|word| !word.is_empty());
    let word = match kind {
        b'1' | b'4' => return Some(1),
        b'7' => words.skip_while(|word| *word != b"MAXVAL").nth(1)?,
        _ => words.nth(2)?,
    };
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::stated_largest;

    #[test]
    fn the_largest_value_is_found_in_every_kind_of_header() {
        assert_eq!(stated_largest(b"P5\n# of a\n2 # wide\n3\n4095\n\0\0"), Some(4095));
        assert_eq!(stated_largest(b"P6 2 3 255 \0"), Some(255));
        assert_eq!(
            stated_largest(b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 1\nMAXVAL 65535\nENDHDR\n"),
            Some(65535)
        );
        assert_eq!(stated_largest(b"P4 2 2 \0"), Some(1));
        assert_eq!(stated_largest(b"P5 2"), None);
    }
}
