use super::*;

/// Names in an encoding, as an archive has them.
fn names(label: &str, names: &[&str]) -> Vec<Vec<u8>> {
    let page = CodePage::of(label).unwrap();
    let bytes = |name: &&str| name.chars().flat_map(|it| encoded(page, it)).collect();
    names.iter().map(bytes).collect()
}

fn encoded(page: CodePage, character: char) -> Vec<u8> {
    if let Some(bytes) = page.encode(character) {
        return bytes;
    }
    let found = (0..=255u8).find(|byte| page.decode(&[*byte]).is_some_and(|it| it.chars().eq([character])));
    vec![found.unwrap_or_else(|| panic!("{character} is not in {page:?}"))]
}

fn guessed(bytes: &[Vec<u8>], written: Written) -> Guess {
    let slices: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    guess(&slices, written)
}

fn read(label: &str, texts: &[&str]) -> (Vec<String>, Guess) {
    let bytes = names(label, texts);
    let guess = guessed(&bytes, Written::Names);
    let read = bytes.iter().map(|name| guess.page.decode_all(name).into_owned());
    (read.collect(), guess)
}

#[test]
fn names_of_many_countries_are_read_as_they_were_written() {
    for (label, written) in [
        ("shift_jis", &["ソファ/1.png", "ソース/1.png", "机/1.png"][..]),
        ("shift_jis", &["表/1.png", "能/1.png", "十/1.png"]),
        ("shift_jis", &["りんご/a.jpg", "みかん/a.jpg"]),
        ("gbk", &["猫/0.png", "狗/0.png"]),
        ("gbk", &["合格/1.png", "不合格/1.png"]),
        ("gbk", &["训练集/玫瑰/1.jpg", "训练集/向日葵/1.jpg"]),
        ("big5", &["貓/1.png", "狗/1.png"]),
        ("big5", &["許功蓋/1.png", "蘋果/1.png"]),
        ("euc-kr", &["고양이/1.png", "개/1.png"]),
        ("euc-kr", &["양품/1.png", "불량/1.png"]),
        ("cp866", &["Кошки/1.png", "Собаки/1.png"]),
        ("windows-1251", &["яблоко/1.png", "груша/1.png"]),
        ("koi8-r", &["яблоко/1.png", "груша/1.png"]),
        ("cp437", &["Äpfel/1.png", "Birnen/1.png", "Öl/1.png"]),
        ("cp437", &["café/1.png", "niño/1.png"]),
        ("cp850", &["maçã/1.png", "limão/1.png"]),
        ("cp850", &["blåbær/1.png", "rødbær/1.png"]),
        ("windows-1252", &["mûre/1.png", "pêche/1.png"]),
        ("windows-1253", &["γάτα/1.png", "σκύλος/1.png"]),
        ("windows-874", &["แมว/1.png", "หมา/1.png"]),
    ] {
        let (read, guess) = read(label, written);
        assert_eq!(read, written, "{label}: {guess:?}");
        assert!(
            guess.guessed && guess.page != CodePage::UTF_8,
            "{label}: {guess:?}"
        );
    }
}

#[test]
fn utf_8_is_certain_where_nothing_else_could_look_like_it() {
    for written in [
        &["猫/1.png", "狗/1.png"][..],
        &["café/1.png", "cats/1.png"],
        // As a Macintosh writes it: the accent is a character of its own.
        &["cafe\u{301}/1.png"],
        &["Кошки/1.png"],
        &["고양이/1.png"],
    ] {
        let (read, guess) = read("utf-8", written);
        assert_eq!(read, written);
        assert_eq!(
            (guess.page, guess.guessed),
            (CodePage::UTF_8, false),
            "{written:?}"
        );
    }
    let ascii = guess(&[b"a/1.png"], Written::Names);
    assert_eq!((ascii.guessed, ascii.otherwise), (false, None));
}

#[test]
fn a_character_that_could_be_two_others_is_a_guess_with_an_alternative() {
    let lone = guess(&[b"dogs/1.png", b"\xc3\xa8/1.png"], Written::Names);
    assert_eq!((lone.page, lone.guessed), (CodePage::UTF_8, true));
    assert_eq!(lone.otherwise.map(CodePage::label), Some("gbk"));
    let (_, short) = read("gbk", &["狗/1.png"]);
    assert!(short.guessed && short.otherwise.is_some(), "{short:?}");
}

#[test]
fn a_few_broken_names_do_not_change_the_encoding_of_the_rest() {
    let mut bytes = names("utf-8", &["猫猫/1.png", "狗狗/1.png", "café/1.png"]);
    bytes.push("鸟鸟".as_bytes()[..5].to_vec());
    let guess = guessed(&bytes, Written::Names);
    assert_eq!((guess.page, guess.guessed), (CodePage::UTF_8, true));
}

#[test]
fn texts_come_in_every_encoding_that_editors_save() {
    let table = "file,label\n1.png,café\n2.png,thé\n";
    let wide = |mark: bool, unit: fn(u16) -> [u8; 2]| {
        let mark = if mark { "\u{feff}" } else { "" };
        let text = format!("{mark}{table}");
        text.encode_utf16().flat_map(unit).collect::<Vec<u8>>()
    };
    for (bytes, encoding, guessed) in [
        (table.as_bytes().to_vec(), "utf-8", false),
        (format!("\u{feff}{table}").into_bytes(), "utf-8", false),
        (wide(true, u16::to_le_bytes), "utf-16le", false),
        (wide(true, u16::to_be_bytes), "utf-16be", false),
        (wide(false, u16::to_le_bytes), "utf-16le", false),
        (wide(false, u16::to_be_bytes), "utf-16be", false),
        (names("windows-1252", &[table]).remove(0), "windows-1252", true),
    ] {
        assert_eq!(text_of(&bytes), (table.to_owned(), encoding, guessed));
    }
    for (label, table) in [
        ("gbk", "文件,标签\n1.png,猫\n2.png,狗\n"),
        ("shift_jis", "ファイル,ラベル\n1.png,猫\n2.png,犬\n"),
        ("big5", "檔案,標籤\n1.png,貓\n2.png,狗\n"),
        ("euc-kr", "파일,라벨\n1.png,고양이\n2.png,개\n"),
        ("windows-1251", "файл,класс\n1.png,кошка\n2.png,собака\n"),
    ] {
        let bytes = names(label, &[table]).remove(0);
        assert_eq!(text_of(&bytes), (table.to_owned(), label, true));
    }
    assert_eq!(text_of(b""), (String::new(), "utf-8", false));
}

proptest::proptest! {
    #[test]
    fn no_bytes_are_without_a_text(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let (text, encoding, _) = text_of(&bytes);
        proptest::prop_assert!(bytes.is_empty() || !text.is_empty() || bytes.len() < 4, "{}", encoding);
    }
}
