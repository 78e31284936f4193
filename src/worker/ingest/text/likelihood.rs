//! How likely a text is that some bytes would be in some encoding: the number of bits that a model of its characters needs for it. The
//! fewer, the likelier, so encodings can be compared although one has twice as many characters as another.
//!
//! Names are short, and every byte is a character in most code pages. What decides is which characters are frequent (`frequent`), and that
//! words are of one script, with capitals only at their beginning.

use std::{collections::HashSet, sync::OnceLock};

use super::{code_page::CodePage, frequent};

/// Whether a letter is a capital, for scripts that have them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Blanks, digits, punctuation.
    Neutral,
    Ascii,
    Latin,
    Cyrillic,
    Greek,
    /// Scripts whose words need no blanks, or have no capitals.
    Other,
}

/// Bits of a text that was decoded with `page`; none if it has characters that nobody writes.
pub fn bits(text: &str, page: CodePage) -> Option<f64> {
    let characters: Vec<char> = text.chars().collect();
    let mut total = 0.0;
    for (index, character) in characters.iter().enumerate() {
        let before = index.checked_sub(1).map_or(' ', |before| characters[before]);
        let after = characters.get(index + 1).copied().unwrap_or(' ');
        total += of_character(*character, before, after, page)?;
    }
    Some(total)
}

fn of_character(character: char, before: char, after: char, page: CodePage) -> Option<f64> {
    let class = class(character);
    let alone = match class {
        Class::Ascii => 5.0,
        Class::Latin => latin(character, before, after),
        Class::Cyrillic => cyrillic(character, page),
        Class::Greek => greek(character, page),
        Class::Neutral | Class::Other => unicased(character, page)?,
    };
    Some(alone + in_word(character, class, before))
}

/// What a letter costs more because of the one before it.
fn in_word(character: char, class: Class, before: char) -> f64 {
    let earlier = self::class(before);
    if class == Class::Neutral
        || earlier == Class::Neutral
        || (class, earlier) == (Class::Other, Class::Other)
    {
        return 0.0;
    }
    let latin = |class| matches!(class, Class::Ascii | Class::Latin);
    // A type or a size is written in Latin letters within words of Chinese; in the other scripts hardly anything is.
    if class == Class::Other || earlier == Class::Other {
        let eastern = |character| matches!(character, '\u{3041}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}');
        return if eastern(character) || eastern(before) {
            6.0
        } else {
            12.0
        };
    }
    let mut more = 0.0;
    if class != earlier && !(latin(class) && latin(earlier)) {
        more += 12.0;
    }
    if class == Class::Latin && earlier == Class::Latin {
        more += 4.0;
    }
    // Within ASCII that is the same in every encoding.
    if before.is_lowercase() && character.is_uppercase() && (class, earlier) != (Class::Ascii, Class::Ascii) {
        more += 8.0;
    }
    more
}

fn class(character: char) -> Class {
    match character {
        'a'..='z' | 'A'..='Z' => Class::Ascii,
        '\u{aa}' | '\u{ba}' | '\u{b5}' => Class::Neutral,
        '\u{c0}'..='\u{24f}' if character.is_alphabetic() => Class::Latin,
        '\u{370}'..='\u{3ff}' if character.is_alphabetic() => Class::Greek,
        '\u{400}'..='\u{4ff}' => Class::Cyrillic,
        // The marks above and below its letters as well.
        '\u{e01}'..='\u{e5b}' => Class::Other,
        _ if character.is_alphabetic() => Class::Other,
        _ => Class::Neutral,
    }
}

fn latin(character: char, before: char, after: char) -> f64 {
    const WEST: &str = "éèàçüöäßñóíáúãêôåøæ";
    const REST: &str = "âîûïëõìòùýąćęłńśźżčďěňřšťůžőűăđığşıțș";
    let lower = character.to_lowercase().next().unwrap_or(character);
    let frequent = match lower {
        letter if WEST.contains(letter) => 6.5,
        letter if REST.contains(letter) => 8.0,
        _ => 11.0,
    };
    let capital = if character.is_uppercase() { 2.0 } else { 0.0 };
    let letter = |class| matches!(class, Class::Ascii | Class::Latin);
    let alone = match letter(class(before)) || letter(class(after)) {
        true => 0.0,
        false => 6.0,
    };
    frequent + capital + alone
}

fn cyrillic(character: char, page: CodePage) -> f64 {
    let capital = if character.is_uppercase() { 2.0 } else { 0.0 };
    match character {
        _ if is_eastern(page) => 18.0,
        'А'..='я' | 'ё' => 5.0 + capital,
        _ => 9.0 + capital,
    }
}

fn greek(character: char, page: CodePage) -> f64 {
    let capital = if character.is_uppercase() { 2.0 } else { 0.0 };
    match page.label() {
        "windows-1253" | "cp737" | "iso-8859-7" => 5.0 + capital,
        // Signs of mathematics.
        _ => 18.0,
    }
}

/// Scripts without capitals, digits and signs; none for what no text contains.
fn unicased(character: char, page: CodePage) -> Option<f64> {
    Some(match character {
        '/' | '.' | '_' | '-' | ' ' | ',' | '\n' | '\r' | '\t' => 4.0,
        '0'..='9' => 5.0,
        ' '..='~' => 9.0,
        '\0'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fffd}' => return None,
        '\u{3041}'..='\u{30ff}' => match page.label() {
            "shift_jis" | "euc-jp" => 7.0,
            _ => 15.0,
        },
        '\u{3000}'..='\u{303f}' => 12.0,
        '\u{4e00}'..='\u{9fff}' => han(character, page),
        '\u{ac00}'..='\u{d7a3}' => hangul(character, page),
        '\u{ff01}'..='\u{ff5e}' => 13.0,
        '\u{ff61}'..='\u{ff9f}' => 12.0,
        // Hebrew, Arabic, Thai.
        '\u{5d0}'..='\u{5ea}' | '\u{620}'..='\u{6d3}' | '\u{e01}'..='\u{e5b}' => 5.5,
        '\u{a0}'..='\u{bf}' | '\u{2010}'..='\u{2044}' | '\u{20ac}' => 14.0,
        // Lines and blocks, letters of other pages.
        _ => 17.0,
    })
}

fn han(character: char, page: CodePage) -> f64 {
    static SIMPLIFIED: OnceLock<HashSet<char>> = OnceLock::new();
    static TRADITIONAL: OnceLock<HashSet<char>> = OnceLock::new();
    static JAPANESE: OnceLock<HashSet<char>> = OnceLock::new();
    let (set, known) = match page.label() {
        "gbk" | "gb18030" => (&SIMPLIFIED, frequent::SIMPLIFIED),
        "big5" => (&TRADITIONAL, frequent::TRADITIONAL),
        "shift_jis" | "euc-jp" => (&JAPANESE, frequent::JAPANESE),
        // Names in Korean are hardly ever written so.
        _ => return 20.0,
    };
    let set = set.get_or_init(|| known.chars().collect());
    if set.contains(&character) {
        return (set.len() as f64).log2() + 0.6;
    }
    // The standards have two levels, the frequent characters first.
    let bytes = page.encode(character).unwrap_or_default();
    match (page.label(), bytes.as_slice()) {
        ("gbk" | "gb18030", [0xb0..=0xd7, 0xa1..=0xff]) => 14.0,
        ("gbk" | "gb18030", [0xd8..=0xf7, 0xa1..=0xff]) => 17.0,
        ("big5", [0xa4..=0xc6, _]) => 14.0,
        ("big5", [0xc9..=0xf9, _]) => 17.0,
        ("shift_jis", [0x88..=0x98, _]) => 14.0,
        ("shift_jis", _) => 17.0,
        ("euc-jp", [0xb0..=0xcf, _]) => 14.0,
        ("euc-jp", _) => 17.0,
        _ => 20.0,
    }
}

fn hangul(character: char, page: CodePage) -> f64 {
    static KOREAN: OnceLock<HashSet<char>> = OnceLock::new();
    let set = KOREAN.get_or_init(|| frequent::KOREAN.chars().collect());
    if set.contains(&character) {
        return (set.len() as f64).log2() + 0.6;
    }
    match page.encode(character).as_deref() {
        Some([0xb0..=0xc8, 0xa1..=0xff]) => 14.0,
        _ => 18.0,
    }
}

fn is_eastern(page: CodePage) -> bool {
    ["shift_jis", "euc-jp", "gbk", "gb18030", "big5", "euc-kr"].contains(&page.label())
}
