//! Code pages: encodings of a country or a language, from before Unicode. Those of the WHATWG's standard are decoded by `encoding_rs`; those
//! of DOS, which Windows still writes into zip files, are a table each.

use std::borrow::Cow;

use encoding_rs::Encoding;

use crate::domain::datasets::name_encoding;

/// An encoding.
#[derive(Clone, Copy, Debug)]
pub enum CodePage {
    Whatwg(&'static Encoding),
    /// Its name, and the characters of the bytes from 0x80 on; U+FFFD for none.
    Dos(&'static str, &'static str),
}

impl PartialEq for CodePage {
    fn eq(&self, other: &Self) -> bool {
        self.label() == other.label()
    }
}

impl CodePage {
    pub const UTF_8: CodePage = CodePage::Whatwg(encoding_rs::UTF_8);

    /// By one of the labels of [`name_encoding::parse`].
    pub fn of(label: &str) -> Option<Self> {
        let label = name_encoding::parse(label)?;
        let dos = DOS.iter().find(|(name, _)| *name == label);
        match dos {
            Some((name, table)) => Some(CodePage::Dos(name, table)),
            None => Encoding::for_label(label.as_bytes()).map(CodePage::Whatwg),
        }
    }

    /// Its usual name, in lower case.
    pub fn label(self) -> &'static str {
        match self {
            CodePage::Whatwg(encoding) => name_encoding::parse(encoding.name()).unwrap_or(encoding.name()),
            CodePage::Dos(name, _) => name,
        }
    }

    /// The text, if every byte of it means a character.
    pub fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            CodePage::Whatwg(encoding) => encoding.decode_without_bom_handling_and_without_replacement(bytes),
            CodePage::Dos(_, table) => {
                let text = of_table(bytes, table);
                (!text.contains('\u{fffd}')).then_some(text.into())
            }
        }
    }

    /// The text, with U+FFFD for what means nothing.
    pub fn decode_all(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            CodePage::Whatwg(encoding) => encoding.decode_without_bom_handling(bytes).0,
            CodePage::Dos(_, table) => of_table(bytes, table).into(),
        }
    }

    /// The bytes of a character, if the encoding has it.
    pub fn encode(self, character: char) -> Option<Vec<u8>> {
        let CodePage::Whatwg(encoding) = self else {
            return None;
        };
        let text = character.to_string();
        let (bytes, _, lacks) = encoding.encode(&text);
        (!lacks).then(|| bytes.into_owned())
    }
}

fn of_table(bytes: &[u8], table: &str) -> String {
    let upper: Vec<char> = table.chars().collect();
    let character = |byte: &u8| match byte.checked_sub(0x80) {
        Some(index) => upper.get(usize::from(index)).copied().unwrap_or('\u{fffd}'),
        None => char::from(*byte),
    };
    bytes.iter().map(character).collect()
}

/// The characters of bytes 0x80 to 0xFF, as Microsoft's tables of best fit have them.
const DOS: &[(&str, &str)] = &[
    // United States, and what the zip format means where it says nothing.
    (
        "cp437",
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
    ),
    // Greece.
    (
        "cp737",
        "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρσςτυφχψ░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀ωάέήϊίόύϋώΆΈΉΊΌΎΏ±≥≤ΪΫ÷≈°∙·√ⁿ²■\u{a0}",
    ),
    // Western Europe.
    (
        "cp850",
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}",
    ),
    // Central Europe.
    (
        "cp852",
        "ÇüéâäůćçłëŐőîŹÄĆÉĹĺôöĽľŚśÖÜŤťŁ×čáíóúĄąŽžĘę¬źČş«»░▒▓│┤ÁÂĚŞ╣║╗╝Żż┐└┴┬├─┼Ăă╚╔╩╦╠═╬¤đĐĎËďŇÍÎě┘┌█▄ŢŮ▀ÓßÔŃńňŠšŔÚŕŰýÝţ´\u{ad}˝˛ˇ˘§÷¸°¨˙űŘř■\u{a0}",
    ),
    // Turkey.
    (
        "cp857",
        "ÇüéâäàåçêëèïîıÄÅÉæÆôöòûùİÖÜø£ØŞşáíóúñÑĞğ¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ºªÊËÈ\u{fffd}ÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµ\u{fffd}×ÚÛÙìÿ¯´\u{ad}±\u{fffd}¾¶§÷¸°¨·¹³²■\u{a0}",
    ),
    // Israel.
    (
        "cp862",
        "אבגדהוזחטיךכלםמןנסעףפץצקרשת¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_has_a_code_page_that_is_called_so() {
        for label in name_encoding::LABELS {
            let page = CodePage::of(label).unwrap_or_else(|| panic!("{label}"));
            assert_eq!(page.label(), *label);
        }
        assert_eq!(CodePage::of("klingon"), None);
    }

    #[test]
    fn the_tables_of_dos_have_a_character_for_each_byte() {
        for (name, table) in DOS {
            assert_eq!(table.chars().count(), 128, "{name}");
        }
        // Every program that writes zip files agrees on these.
        let decoded = |label: &str, bytes: &[u8]| CodePage::of(label).unwrap().decode_all(bytes).into_owned();
        assert_eq!(decoded("cp437", b"caf\x82 \xe1"), "café ß");
        assert_eq!(decoded("cp850", b"p\xc6o \x9b"), "pão ø");
        assert_eq!(decoded("cp852", b"jab\x88ko"), "jabłko");
        assert_eq!(decoded("cp866", b"\x8a\xae\xe2"), "Кот");
        assert_eq!(CodePage::of("cp857").unwrap().decode(b"\xd5"), None);
    }
}
