//! Camera raw that calls itself a TIFF. Its first image is often a small preview, which must not be taken for the photograph.

use super::ifd::Tiff;

const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
const MAKE: u16 = 271;
const SUB_DIRECTORIES: u16 = 330;
const DNG_VERSION: u16 = 50706;
/// "Colour filter array" and "linear raw" (DNG 1.7, chapter 4).
const RAW_PHOTOMETRIC: [u64; 2] = [32803, 34892];
/// Compressions that only cameras use: Sony, Samsung, Nikon, Kodak, Pentax.
const RAW_COMPRESSION: [u64; 5] = [32767, 32770, 34713, 65000, 65535];
/// Most directories that are looked at.
const MOST_DIRECTORIES: usize = 64;

/// The usual name of its format; none if it is an ordinary TIFF.
pub fn camera_raw(bytes: &[u8]) -> Option<&'static str> {
    let tiff = Tiff::of(bytes)?;
    let mut waiting = vec![tiff.first()?];
    let mut seen = Vec::new();
    let (mut make, mut raw) = (&b""[..], false);
    while let Some(at) = waiting.pop() {
        if at == 0 || seen.contains(&at) || seen.len() >= MOST_DIRECTORIES {
            continue;
        }
        seen.push(at);
        let Some((fields, next)) = tiff.directory(at) else {
            continue;
        };
        waiting.push(next);
        for field in &fields {
            let is = |known: &[u64]| tiff.numbers(field, 1).iter().any(|value| known.contains(value));
            match field.tag {
                DNG_VERSION => return Some("Adobe raw (DNG)"),
                MAKE if make.is_empty() => make = tiff.text(field),
                PHOTOMETRIC => raw |= is(&RAW_PHOTOMETRIC),
                COMPRESSION => raw |= is(&RAW_COMPRESSION),
                SUB_DIRECTORIES => waiting.extend(tiff.numbers(field, MOST_DIRECTORIES)),
                _ => {}
            }
        }
    }
    raw.then(|| name_of(make))
}

fn name_of(make: &[u8]) -> &'static str {
    let make = make.to_ascii_uppercase();
    let makers = [
        ("NIKON", "Nikon raw (NEF)"),
        ("SONY", "Sony raw (ARW)"),
        ("PENTAX", "Pentax raw (PEF)"),
        ("RICOH", "Pentax raw (PEF)"),
        ("SAMSUNG", "Samsung raw (SRW)"),
        ("HASSELBLAD", "Hasselblad raw (3FR)"),
        ("SEIKO EPSON", "Epson raw (ERF)"),
        ("EASTMAN KODAK", "Kodak raw"),
        ("KODAK", "Kodak raw"),
        ("CANON", "Canon raw"),
        ("LEAF", "Leaf raw (MOS)"),
        ("MAMIYA", "Mamiya raw (MEF)"),
    ];
    let found = makers
        .iter()
        .find(|(maker, _)| make.starts_with(maker.as_bytes()));
    found.map_or("camera raw", |(_, name)| name)
}
