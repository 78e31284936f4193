//! The encodings that names in an archive, or a table beside the images, may be said to be in.

/// Every accepted encoding by its own name: those of the WHATWG's standard that are in use for names of files, and code pages of DOS.
pub const LABELS: &[&str] = &[
    "utf-8",
    "shift_jis",
    "euc-jp",
    "gbk",
    "gb18030",
    "big5",
    "euc-kr",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1253",
    "windows-1254",
    "windows-1255",
    "windows-1256",
    "windows-1257",
    "windows-1258",
    "windows-874",
    "iso-8859-2",
    "iso-8859-5",
    "iso-8859-7",
    "iso-8859-15",
    "koi8-r",
    "koi8-u",
    "macintosh",
    "cp437",
    "cp737",
    "cp850",
    "cp852",
    "cp857",
    "cp862",
    "cp866",
];

/// Other common names of some of them: Windows' numbers, Python's names.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("utf8", "utf-8"),
    ("sjis", "shift_jis"),
    ("shift-jis", "shift_jis"),
    ("cp932", "shift_jis"),
    ("windows-31j", "shift_jis"),
    ("euc_jp", "euc-jp"),
    ("gb2312", "gbk"),
    ("cp936", "gbk"),
    ("cp950", "big5"),
    ("euc_kr", "euc-kr"),
    ("cp949", "euc-kr"),
    ("latin1", "windows-1252"),
    ("latin-1", "windows-1252"),
    ("iso-8859-1", "windows-1252"),
    ("ibm866", "cp866"),
    ("mac_roman", "macintosh"),
];

/// The encoding's own name, whatever the case.
pub fn parse(label: &str) -> Option<&'static str> {
    let label = label.trim().to_ascii_lowercase();
    let other = OTHER_NAMES.iter().find(|(name, _)| *name == label);
    let name = other.map_or(label.as_str(), |(_, own)| own);
    let number = |name: &str| {
        let digits = name.strip_prefix("cp").or_else(|| name.strip_prefix("ibm"))?;
        let (windows, dos) = (format!("windows-{digits}"), format!("cp{digits}"));
        LABELS.iter().find(|known| **known == windows || **known == dos)
    };
    LABELS
        .iter()
        .find(|known| **known == name)
        .or_else(|| number(name))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_has_many_names() {
        for (name, own) in [
            ("UTF-8", "utf-8"),
            (" Shift_JIS ", "shift_jis"),
            ("cp932", "shift_jis"),
            ("cp1251", "windows-1251"),
            ("ibm437", "cp437"),
            ("IBM866", "cp866"),
            ("GB2312", "gbk"),
        ] {
            assert_eq!(parse(name), Some(own), "{name}");
        }
        for none in ["", "cp", "cp99999", "utf-7", "klingon"] {
            assert_eq!(parse(none), None, "{none}");
        }
        for (_, own) in OTHER_NAMES {
            assert_eq!(parse(own), Some(*own));
        }
    }
}
