//! The text of bytes that do not say how they are encoded: names in archives, tables of labels.
//!
//! UTF-8 is told from everything else by its own structure. What is left is in some code page, and which one can only be guessed, from all
//! of the text together: so it is said, with what else it could be, and can be chosen.

mod code_page;
mod frequent;
mod likelihood;

use std::borrow::Cow;

pub use self::code_page::CodePage;

/// How much text is compared; more of it does not change the answer.
const SAMPLE: usize = 64 << 10;
/// An alternative that needs so many more bits for each character outside of ASCII is none.
const UNLIKELY: f64 = 6.0;

/// Evidence from which on a text is UTF-8 and nothing else.
const CERTAIN: usize = 3;

/// What is written in a code page. Old programs of DOS and Windows write names of files in the code page of the console, and texts in that
/// of the desktop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Names,
    Texts,
}

/// How some bytes are encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    pub page: CodePage,
    /// Whether they could well be something else.
    pub guessed: bool,
    /// What else they could be: the likeliest of those that give another text.
    pub otherwise: Option<CodePage>,
}

/// The text of a file, its encoding, and whether that was guessed. The encoding is `utf-8`, `utf-16le`, `utf-16be` or one of the labels of
/// [`name_encoding`](crate::domain::datasets::name_encoding). A byte order mark is dropped.
pub fn text_of(bytes: &[u8]) -> (String, &'static str, bool) {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => {
            return (CodePage::UTF_8.decode_all(rest).into_owned(), "utf-8", false);
        }
        [0xff, 0xfe, rest @ ..] => return (wide(rest, u16::from_le_bytes), "utf-16le", false),
        [0xfe, 0xff, rest @ ..] => return (wide(rest, u16::from_be_bytes), "utf-16be", false),
        _ => {}
    }
    // Half of the bytes of wide ASCII are zeros, which no other text has.
    let head = &bytes[..bytes.len().min(SAMPLE)];
    let zeros = |parity: usize| {
        head.iter()
            .skip(parity)
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    let most = head.len() / 4;
    match (zeros(0), zeros(1)) {
        (even, odd) if odd > most && even * 8 < odd => {
            return (wide(bytes, u16::from_le_bytes), "utf-16le", false);
        }
        (even, odd) if even > most && odd * 8 < even => {
            return (wide(bytes, u16::from_be_bytes), "utf-16be", false);
        }
        _ => {}
    }
    // Line by line, so that one broken line does not make another encoding of the rest.
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let guess = guess(&lines, Written::Texts);
    let text = guess.page.decode_all(bytes).into_owned();
    (text, guess.page.label(), guess.guessed)
}

fn wide(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (pairs, _) = bytes.as_chunks::<2>();
    char::decode_utf16(pairs.iter().map(|pair| unit(*pair)))
        .map(|unit| unit.unwrap_or('\u{fffd}'))
        .collect()
}

/// The one encoding of all these texts.
pub fn guess(texts: &[&[u8]], written: Written) -> Guess {
    let beyond_ascii: Vec<&[u8]> = texts.iter().copied().filter(|text| !text.is_ascii()).collect();
    let utf_8 = |guessed, otherwise| Guess {
        page: CodePage::UTF_8,
        guessed,
        otherwise,
    };
    if beyond_ascii.is_empty() {
        return utf_8(false, None);
    }
    let broken = beyond_ascii
        .iter()
        .filter(|text| str::from_utf8(text).is_err())
        .count();
    if broken == 0 {
        let evidence: usize = beyond_ascii.iter().map(|text| evidence_of_utf_8(text)).sum();
        if evidence >= CERTAIN {
            return utf_8(false, None);
        }
        let likely = likeliest(&beyond_ascii, written).first().copied();
        return utf_8(likely.is_some(), likely);
    }
    let certain = beyond_ascii
        .iter()
        .filter(|text| evidence_of_utf_8(text) >= CERTAIN)
        .count();
    // A few names that some program has cut in the middle of a character do not make another encoding of the rest.
    let ranked = likeliest(&beyond_ascii, written);
    match ranked.first() {
        Some(page) if certain <= broken => Guess {
            page: *page,
            guessed: true,
            otherwise: ranked.get(1).copied(),
        },
        page => utf_8(true, page.copied()),
    }
}

/// How much speaks for UTF-8 in a text. In two-byte code pages one or two characters happen to be valid UTF-8 as well, more of them or
/// longer ones hardly ever; Latin letters in a word are told by their neighbours.
fn evidence_of_utf_8(text: &[u8]) -> usize {
    let Ok(text) = str::from_utf8(text) else {
        return 0;
    };
    let characters: Vec<char> = text.chars().collect();
    let in_a_word = characters.windows(2).any(|pair| {
        let accent = |character: char| matches!(character, '\u{c0}'..='\u{24f}' | '\u{300}'..='\u{36f}');
        (pair[0].is_ascii_alphabetic() && accent(pair[1]))
            || (accent(pair[0]) && pair[1].is_ascii_alphabetic())
    });
    let of_one = |character: &char| match character.len_utf8() {
        1 => 0,
        2 => 1,
        _ => CERTAIN,
    };
    let of_all: usize = characters.iter().map(of_one).sum();
    of_all + if in_a_word { CERTAIN } else { 0 }
}

/// The encodings that have a character for every byte, the likeliest first; of those with the same text only the first.
fn likeliest(texts: &[&[u8]], written: Written) -> Vec<CodePage> {
    let mut sample = Vec::new();
    for text in texts {
        if sample.len() >= SAMPLE {
            break;
        }
        sample.extend_from_slice(text);
        sample.push(b'\n');
    }
    let mut found: Vec<(f64, CodePage, Cow<'_, str>)> = CANDIDATES
        .iter()
        .filter_map(|(label, names, texts)| {
            let page = CodePage::of(label)?;
            let text = page.decode(&sample)?;
            let rare = if written == Written::Names { names } else { texts };
            let bits = likelihood::bits(&text, page)? + rare;
            Some((bits, page, text))
        })
        .collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let beyond_ascii = sample.iter().filter(|byte| !byte.is_ascii()).count() as f64;
    let most = found
        .first()
        .map_or(0.0, |best| best.0 + UNLIKELY * beyond_ascii.max(2.0));
    let mut ranked: Vec<(CodePage, &str)> = Vec::new();
    for (bits, page, text) in &found {
        if *bits <= most && !ranked.iter().any(|(_, known)| known == text) {
            ranked.push((*page, text));
        }
    }
    ranked.into_iter().map(|(page, _)| page).collect()
}

/// Candidates, with how much rarer each is than the usual ones, in bits, for names and for texts.
const CANDIDATES: &[(&str, f64, f64)] = &[
    ("shift_jis", 0.0, 0.0),
    ("gbk", 0.0, 0.0),
    ("big5", 0.0, 0.0),
    ("euc-kr", 0.0, 0.0),
    ("cp437", 0.0, 8.0),
    ("cp850", 1.0, 7.0),
    ("cp866", 1.0, 7.0),
    ("windows-1252", 3.0, 0.0),
    ("windows-1251", 3.0, 0.0),
    ("euc-jp", 4.0, 4.0),
    ("cp852", 4.0, 10.0),
    ("windows-1250", 5.0, 3.0),
    ("windows-1253", 6.0, 4.0),
    ("cp737", 6.0, 12.0),
    ("cp857", 6.0, 12.0),
    ("windows-1254", 7.0, 4.0),
    ("windows-874", 6.0, 4.0),
    ("koi8-r", 7.0, 7.0),
    ("cp862", 7.0, 12.0),
    ("windows-1255", 7.0, 5.0),
    ("windows-1256", 7.0, 5.0),
    ("windows-1257", 8.0, 6.0),
];

#[cfg(test)]
mod tests;
