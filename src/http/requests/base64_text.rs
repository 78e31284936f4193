//! Base64 as people's tools write it: with line ends, without padding, with the URL-safe letters, as a data URL, or still in the quotes of
//! the language that printed it. All of these mean one thing only. Anything else is refused with the place and the reason.

use base64::{
    Engine,
    alphabet::STANDARD as LETTERS,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};

/// For letters that were checked and stand without blanks and padding.
const BARE: GeneralPurpose = GeneralPurpose::new(
    &LETTERS,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The bytes that a text stands for.
///
/// # Errors
/// What is wrong with the text and where, as the end of a sentence: "character 7 is `%`, which base64 does not have".
pub fn decode(text: &str) -> Result<Vec<u8>, String> {
    // What programs write for programs; only other texts are looked at letter by letter.
    if let Ok(bytes) = STANDARD.decode(text)
        && !bytes.is_empty()
    {
        return Ok(bytes);
    }
    let (before, payload) = payload(text)?;
    let letters = letters(payload, before)?;
    if letters.is_empty() {
        return Err("it is empty".to_owned());
    }
    BARE.decode(&letters).map_err(|_| {
        format!(
            "its {} letters end within a byte: it seems cut short",
            letters.len()
        )
    })
}

/// The base64 within the text, and how many characters stand before it.
fn payload(text: &str) -> Result<(usize, &str), String> {
    let bare = text.trim();
    let url = strip_prefix_ignoring_case(bare, "data:");
    let payload = match url {
        Some(url) => of_data_url(url)?,
        None => unquoted(bare),
    };
    // Both are parts of one text.
    let offset = payload.as_ptr() as usize - text.as_ptr() as usize;
    Ok((text[..offset].chars().count(), payload))
}

/// What a data URL (RFC 2397) holds: `image/png;base64,…`.
fn of_data_url(url: &str) -> Result<&str, String> {
    let Some((head, payload)) = url.split_once(',') else {
        return Err("it is a data URL without the comma before its data".to_owned());
    };
    let last = head.rsplit(';').next().unwrap_or("").trim();
    match head.contains(';') && last.eq_ignore_ascii_case("base64") {
        true => Ok(payload),
        false => Err("it is a data URL that does not say `;base64` before its comma".to_owned()),
    }
}

/// Without the quotes that printing a string or Python's bytes (`b'…'`) adds; none of them is a base64 letter.
fn unquoted(text: &str) -> &str {
    for quote in ['\'', '"'] {
        let inner = text.strip_prefix('b').unwrap_or(text).strip_prefix(quote);
        if let Some(inner) = inner.and_then(|inner| inner.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

/// The letters of the standard alphabet. `before` is the number of characters before the payload.
fn letters(payload: &str, before: usize) -> Result<Vec<u8>, String> {
    let mut letters = Vec::with_capacity(payload.len());
    let mut padding = None;
    let mut characters = payload.chars().enumerate();
    while let Some((index, character)) = characters.next() {
        let place = before + index + 1;
        let letter = match character {
            '-' => '+',
            '_' => '/',
            // In URLs, data URLs among them, these may stand escaped.
            '%' => escaped(&mut characters).ok_or_else(|| unknown(place, '%', payload))?,
            other => other,
        };
        match letter {
            blank if blank.is_ascii_whitespace() => {}
            '=' => padding = padding.or(Some(place)),
            'A'..='Z' | 'a'..='z' | '0'..='9' | '+' | '/' => match padding {
                None => letters.push(letter as u8),
                Some(place) => {
                    return Err(format!(
                        "character {place} is `=`, and more letters follow: texts that were encoded one by one cannot be joined"
                    ));
                }
            },
            _ => return Err(unknown(place, character, payload)),
        }
    }
    Ok(letters)
}

/// The letter of `%2B`, `%2F`, `%3D` and the like, whose `%` was read.
fn escaped(characters: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    let mut digit = || characters.next()?.1.to_digit(16);
    let (high, low) = (digit()?, digit()?);
    let letter = char::from_u32(high * 16 + low)?;
    let is_letter = letter.is_ascii_alphanumeric() || "+/=-_\r\n".contains(letter);
    is_letter.then_some(match letter {
        '-' => '+',
        '_' => '/',
        other => other,
    })
}

fn unknown(place: usize, character: char, payload: &str) -> String {
    let shown = match character {
        '`' => "a backtick".to_owned(),
        visible if visible.is_ascii_graphic() || visible.is_alphanumeric() => format!("`{visible}`"),
        hidden => format!("U+{:04X}", hidden as u32),
    };
    let is_address = ["http://", "https://", "file:"]
        .iter()
        .any(|scheme| strip_prefix_ignoring_case(payload, scheme).is_some());
    let advice = if is_address {
        "; an address is not followed: send the file itself"
    } else if character == '.' && payload.len() < 300 {
        "; if this is the name of a file, send what is in it"
    } else {
        ""
    };
    format!("character {place} is {shown}, which base64 does not have{advice}")
}

fn strip_prefix_ignoring_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    /// Bytes whose base64 has both letters that the alphabets differ in, and padding.
    const BYTES: &[u8] = &[0xfb, 0xef, 0xff, 0x89, b'P', b'N', b'G', 0];

    #[test]
    fn one_meaning_in_the_ways_that_tools_write_it() {
        let plain = STANDARD.encode(BYTES);
        assert_eq!(plain, "++//iVBORwA=");
        for written in [
            plain.clone(),
            STANDARD_NO_PAD.encode(BYTES),
            URL_SAFE.encode(BYTES),
            URL_SAFE_NO_PAD.encode(BYTES),
            "++//\niVBO\nRwA=\n".to_owned(),
            "++//\r\niVBO\r\nRwA=\r\n".to_owned(),
            "  ++// iVBO\tRwA=  ".to_owned(),
            format!("{plain}=="),
            format!("{plain}\n="),
            "++__iVBORwA".to_owned(),
            format!("data:image/png;base64,{plain}"),
            format!("DATA:IMAGE/PNG;BASE64,{plain}"),
            format!("data:;base64,{plain}"),
            format!("data:image/svg+xml;charset=utf-8;Base64,{plain}"),
            "data:image/png;base64,%2B%2B%2f%2FiVBORwA%3D".to_owned(),
            "\n data:image/png;base64,\n++//iVBO\nRwA=".to_owned(),
            format!("b'{plain}'"),
            format!("\"{plain}\""),
            format!("'{plain}'"),
        ] {
            assert_eq!(decode(&written).as_deref(), Ok(BYTES), "{written:?}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_place_and_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            (" \n", "empty"),
            ("====", "empty"),
            ("data:image/png;base64,", "empty"),
            ("%%%", "character 1 is `%`"),
            ("AAAA*AAA", "character 5 is `*`"),
            ("  AAAA\nA{", "character 9 is `{`"),
            ("AAé=", "character 3 is `é`"),
            ("\u{feff}AAAA", "character 1 is U+FEFF"),
            ("AA\0A", "character 3 is U+0000"),
            ("AA==AAAA", "character 3 is `=`"),
            ("AAAAA", "cut short"),
            ("AAAAA===", "cut short"),
            ("data:image/png;base64,AAA#", "character 26 is `#`"),
            ("data:image/png;base64", "comma"),
            ("data:image/png,AAAA", "`;base64`"),
            ("data:text/plain;charset=base64,AAAA", "`;base64`"),
            ("https://example.com/cat.jpg", "send the file itself"),
            ("cat.jpg", "send what is in it"),
            ("AAAA%ZZ", "character 5 is `%`"),
            ("AAAA%2", "character 5 is `%`"),
            ("b'AAAA", "character 2 is `'`"),
        ] {
            let told = decode(text).unwrap_err();
            assert!(told.contains(reason), "{text:?}: {told}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_wrapped_at_any_width(bytes in prop::collection::vec(any::<u8>(), 1..200), width in 1usize..80) {
            let text = URL_SAFE_NO_PAD.encode(&bytes);
            let lines: Vec<&str> = text.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
            prop_assert_eq!(decode(&lines.join("\r\n")), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = decode(&text);
            let _ = decode(&format!("data:{text}"));
        }
    }
}
