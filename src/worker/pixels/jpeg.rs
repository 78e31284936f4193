//! Whether a JPEG file is complete. The decoder silently fills what is missing with grey; Pillow refuses such a file.

/// Follows the markers from start to end (ITU-T T.81, annex B): true if the end marker of the image itself is reached. The end marker of a
/// thumbnail is inside a segment and is skipped; bytes after the end do not matter.
pub fn reaches_its_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        let Some(marker) = next_marker(bytes, &mut at) else {
            return false;
        };
        match marker {
            0xd9 => return true,
            // Markers without a length: TEM, RST0 to RST7, SOI.
            0x01 | 0xd0..=0xd8 => {}
            _ => {
                let Some(&[high, low]) = bytes.get(at..at + 2) else {
                    return false;
                };
                at += usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
    }
}

/// The number of components: 1 is grey, 3 colour, 4 CMYK. None if this is not a JPEG, or one without a frame.
pub fn components(bytes: &[u8]) -> Option<u8> {
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return None;
    }
    let mut at = 2;
    loop {
        match next_marker(bytes, &mut at)? {
            // The frames, whose range includes the tables of Huffman codes, JPG and arithmetic coding.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return bytes.get(at + 7).copied(),
            0x01 | 0xd0..=0xd8 => {}
            0xd9 | 0xda => return None,
            _ => {
                let &[high, low] = bytes.get(at..at + 2)? else {
                    return None;
                };
                at += usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
    }
}

/// The next marker's code, with `at` moved after it. Everything before it is coded data (or junk, which decoders skip too); within coded
/// data `FF 00` is a stuffed byte, and any number of `FF` may precede a marker.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let rest = bytes.get(*at..)?;
        let found = memchr::memchr(0xff, rest)?;
        *at += found + 1;
        while bytes.get(*at) == Some(&0xff) {
            *at += 1;
        }
        let code = *bytes.get(*at)?;
        *at += 1;
        if code != 0 {
            return Some(code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::reaches_its_end;

    #[test]
    fn a_thumbnail_s_end_is_not_the_image_s() {
        let head = [0xff, 0xd8, 0xff, 0xe1, 0, 6, 0xff, 0xd9, 0xff, 0xd9];
        let scan = [0xff, 0xda, 0, 2, 1, 2, 0xff, 0, 3, 0xff, 0xd0, 4];
        let whole = [&head[..], &scan, &[0xff, 0xff, 0xd9], b"trailing bytes"].concat();
        assert!(reaches_its_end(&whole));
        for cut in 2..head.len() + scan.len() + 3 {
            assert!(!reaches_its_end(&whole[..cut]), "cut at {cut}");
        }
    }
}
