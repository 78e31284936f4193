//! Names in the encodings of one country, which no archive marks.

use encoding_rs::{BIG5, EUC_KR, Encoding, GBK, SHIFT_JIS, WINDOWS_1251, WINDOWS_1252};

use super::*;

/// Three images of each of these classes, with names in an encoding.
fn files(classes: &[&str], encode: &dyn Fn(&str) -> Vec<u8>) -> Vec<File> {
    let mut files = Vec::new();
    for (number, class) in classes.iter().enumerate() {
        for index in 0..3 {
            let name = encode(&format!("{class}/{index}.png"));
            files.push(File::unmarked(name, png((number * 3 + index) as u8)));
        }
    }
    files
}

fn within(encoding: &'static Encoding) -> impl Fn(&str) -> Vec<u8> {
    move |text| encoding.encode(text).0.into_owned()
}

fn names(run: &Run) -> Vec<String> {
    run.ingested()
        .classes
        .iter()
        .map(|class| class.name.clone())
        .collect()
}

/// As [`ingest`], with an encoding that somebody chose.
fn ingest_in(archive: &[u8], encoding: &str) -> Run {
    ingest_as(
        archive,
        ReadOptions {
            name_encoding: Some(encoding.to_owned()),
            ..ReadOptions::default()
        },
    )
}

#[test]
fn classes_are_named_as_they_were_written_and_the_guess_is_told() {
    for (encoding, classes) in [
        // The second byte of these is that of a backslash.
        (SHIFT_JIS, &["ソファ", "ソース", "机"][..]),
        (SHIFT_JIS, &["能", "表", "十"]),
        (GBK, &["狗", "猫"]),
        (BIG5, &["許功蓋", "蘋果"]),
        (EUC_KR, &["강아지", "고양이"]),
        (WINDOWS_1251, &["Кошки", "Собаки"]),
        (WINDOWS_1252, &["mûre", "pêche"]),
    ] {
        for pack in [zip, tar] {
            let run = ingest(&pack(&files(classes, &within(encoding))));
            let mut expected: Vec<&str> = classes.to_vec();
            expected.sort_unstable();
            assert_eq!(names(&run), expected, "{}", encoding.name());
            assert_eq!(run.ingested().images, 3 * classes.len() as u64);
            let warning = run.warning("names_in_code_page");
            assert_eq!(warning.count, 3 * classes.len() as u64);
            assert_eq!(warning.examples[0], format!("{}/0.png", classes[0]));
            let said = warning.message.to_lowercase();
            assert!(
                said.contains(&encoding.name().to_lowercase()) && said.contains("name_encoding"),
                "{said}"
            );
        }
    }
}

#[test]
fn names_in_the_code_pages_of_dos_are_read_as_dos_has_them() {
    let dos = |text: &str| {
        text.replace('é', "\u{82}")
            .replace('ñ', "\u{a4}")
            .chars()
            .map(|it| it as u32 as u8)
            .collect()
    };
    let run = ingest(&zip(&files(&["café", "niño"], &dos)));
    assert_eq!(names(&run), ["café", "niño"]);
    assert!(run.warning("names_in_code_page").message.contains("cp437"));
}

#[test]
fn what_is_utf_8_needs_no_warning_marked_or_not() {
    let utf_8 = |text: &str| text.as_bytes().to_vec();
    for classes in [
        ["猫", "狗"],
        ["café", "thé"],
        ["Кошки", "Собаки"],
        ["cafe\u{301}", "dog"],
    ] {
        let unmarked = files(&classes, &utf_8);
        let marked: Vec<File> = unmarked
            .iter()
            .map(|file| File::new(&file.name, file.data.clone()))
            .collect();
        for archive in [zip(&unmarked), tar(&unmarked), zip(&marked)] {
            let run = ingest(&archive);
            assert!(
                run.ingested().report.warnings.is_empty(),
                "{:?}",
                run.ingested().report.warnings
            );
        }
    }
}

#[test]
fn an_archive_of_two_programs_keeps_the_names_that_are_marked() {
    let mut both = files(&["狗"], &within(GBK));
    both.extend((0..3).map(|index| File::new(format!("猫/{index}.png"), png(20 + index))));
    let run = ingest(&zip(&both));
    assert_eq!(names(&run), ["狗", "猫"]);
    assert_eq!(run.warning("names_in_code_page").count, 3);
}

#[test]
fn the_second_name_that_info_zip_adds_is_the_one_that_counts() {
    let named = |class: &str, index: u8| {
        let old = within(GBK)(&format!("{class}/{index}.png"));
        let mut checksum = flate2::Crc::new();
        checksum.update(&old);
        let new = format!("{class}的/{index}.png");
        let mut extra = vec![0x75, 0x70];
        extra.extend((new.len() as u16 + 5).to_le_bytes());
        extra.push(1);
        extra.extend(checksum.sum().to_le_bytes());
        extra.extend(new.as_bytes());
        File {
            extra,
            ..File::unmarked(old, png(index + if class == "猫" { 10 } else { 0 }))
        }
    };
    let archive: Vec<File> = ["猫", "狗"]
        .iter()
        .flat_map(|class| (0..3).map(|index| named(class, index)))
        .collect();
    let run = ingest(&zip(&archive));
    assert_eq!(names(&run), ["狗的", "猫的"]);
    assert!(run.ingested().report.warnings.is_empty());
}

#[test]
fn whoever_chooses_an_encoding_gets_that_one() {
    let archive = zip(&files(&["猫", "狗"], &within(GBK)));
    let run = ingest_in(&archive, "GBK");
    assert_eq!(names(&run), ["狗", "猫"]);
    assert!(run.ingested().report.warnings.is_empty());
    // What somebody chooses may be wrong, and then it is told what does not fit.
    let korean = ingest_in(&archive, "cp949");
    assert_ne!(names(&korean), ["狗", "猫"]);
    let utf_8 = ingest_in(&archive, "utf-8");
    assert!(utf_8.warning("names_in_code_page").message.contains("utf-8"));
    let unknown = ingest_in(&archive, "klingon");
    assert_eq!(unknown.rejected().0.code, "unknown_encoding");
    assert!(unknown.rejected().0.message.contains("klingon"));
}

#[test]
fn a_name_that_is_cut_in_a_character_is_told_and_the_others_are_read() {
    let utf_8 = |text: &str| text.as_bytes().to_vec();
    let mut all = files(&["猫猫", "狗狗"], &utf_8);
    all.push(File::unmarked(b"\xe7\x8b\x97\xe7\x8b\x97/9\xe7\x8b.png", png(30)));
    let run = ingest(&zip(&all));
    assert_eq!(names(&run), ["狗狗", "猫猫"]);
    assert_eq!(run.warning("names_in_code_page").count, 1);
}

#[test]
fn one_character_that_could_be_another_is_a_guess() {
    let archive = zip(&files(&["猫", "dogs"], &within(GBK)));
    let warning = ingest(&archive).warning("names_in_code_page");
    assert!(
        warning.message.contains("猫") && warning.message.contains("gbk"),
        "{}",
        warning.message
    );
}
