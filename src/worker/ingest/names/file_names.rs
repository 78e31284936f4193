//! Classes in file names: `cat.123.jpg`, `tulip_004.png`. Recognised and offered, never assumed.

use std::collections::{BTreeMap, HashMap};

use regex::Regex;

/// Where the class is in a file name.
#[derive(Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Literal text with one `{class}`, and `{number}` for digits or `*` for anything; for names without their extension. None if it is not
    /// like that.
    pub fn parse(pattern: &str) -> Option<Self> {
        if pattern.matches("{class}").count() != 1 {
            return None;
        }
        let mut regex = "(?s)^".to_owned();
        let mut rest = pattern;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("{class}") {
                // As much as possible, so that `great_tit_7` is one, unless anything else may follow.
                regex += if after.contains('*') {
                    "(?<class>.+?)"
                } else {
                    "(?<class>.+)"
                };
                rest = after;
            } else if let Some(after) = rest.strip_prefix("{number}") {
                regex += "[0-9]+";
                rest = after;
            } else if let Some(after) = rest.strip_prefix('*') {
                regex += ".*";
                rest = after;
            } else {
                let letter = rest.chars().next()?;
                regex += &regex::escape(&letter.to_string());
                rest = &rest[letter.len_utf8()..];
            }
        }
        Regex::new(&(regex + "$")).ok().map(Self)
    }

    /// The class in a file name; none if the name is not like the pattern.
    pub fn class<'a>(&self, name: &'a str) -> Option<&'a str> {
        let class = self.0.captures(stem(name))?.name("class")?.as_str().trim();
        (!class.is_empty()).then_some(class)
    }
}

/// The pattern that most of these file names have, if they look as if a class was in them: a few different words, each with many numbers.
pub fn pattern_of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    // What is between the class and the number, after or before it.
    let number_last = Regex::new(r"^(?<class>.*[^0-9\W_])(?<between>[ _.#-]*\(?)[0-9]+(?<end>\)?)$").ok()?;
    let number_first = Regex::new(r"^[0-9]+(?<between>[ _.#-]+)(?<class>[^0-9\W_].*)$").ok()?;
    let mut patterns: HashMap<String, usize> = HashMap::new();
    let mut all = 0;
    for name in names.clone() {
        all += 1;
        let stem = stem(name);
        let pattern = if let Some(found) = number_last.captures(stem) {
            format!("{{class}}{}{{number}}{}", &found["between"], &found["end"])
        } else if let Some(found) = number_first.captures(stem) {
            format!("{{number}}{}{{class}}", &found["between"])
        } else {
            continue;
        };
        *patterns.entry(pattern).or_default() += 1;
    }
    let (pattern, count) = patterns
        .into_iter()
        .max_by(|a, b| (a.1, &b.0).cmp(&(b.1, &a.0)))?;
    let parsed = Pattern::parse(&pattern)?;
    let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
    for class in names.filter_map(|name| parsed.class(name)) {
        *classes.entry(class).or_default() += 1;
    }
    let several = classes.values().filter(|count| **count > 1).count();
    let likely =
        count * 10 >= all * 9 && classes.len() > 1 && classes.len() * 2 <= all && several * 2 > classes.len();
    likely.then_some(pattern)
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Option<String> {
        pattern_of(names.iter().copied())
    }

    #[test]
    fn classes_in_names_are_found() {
        for (names, expected) in [
            (
                ["cat.1.jpg", "cat.2.jpg", "dog.1.jpg", "dog.2.jpg"],
                "{class}.{number}",
            ),
            (
                ["great_tit_1.jpg", "great_tit_2.jpg", "rook_1.jpg", "rook_2.jpg"],
                "{class}_{number}",
            ),
            (
                ["cat (1).jpg", "cat (2).jpg", "dog (1).jpg", "dog (2).jpg"],
                "{class} ({number})",
            ),
            (
                ["001-cat.png", "002-cat.png", "003-dog.png", "004-dog.png"],
                "{number}-{class}",
            ),
            (
                ["cat01.png", "cat02.png", "dog03.png", "dog04.png"],
                "{class}{number}",
            ),
        ] {
            assert_eq!(found(&names).as_deref(), Some(expected), "{names:?}");
        }
        for names in [
            ["IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg", "IMG_4.jpg"],
            ["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
            ["ab1.jpg", "cd2.jpg", "ef3.jpg", "gh4.jpg"],
            ["1.jpg", "2.jpg", "3.jpg", "4.jpg"],
        ] {
            assert_eq!(found(&names), None, "{names:?}");
        }
    }

    #[test]
    fn a_pattern_says_where_the_class_is() {
        let class = |pattern, name| Pattern::parse(pattern).unwrap().class(name).map(str::to_owned);
        assert_eq!(
            class("{class}_{number}", "great_tit_7.jpg").as_deref(),
            Some("great_tit")
        );
        assert_eq!(class("{class}_*", "great_tit_7.jpg").as_deref(), Some("great"));
        assert_eq!(class("*-{class}", "7-a-cat.jpg").as_deref(), Some("cat"));
        assert_eq!(class("x[{class}]", "x[cat].jpg").as_deref(), Some("cat"));
        assert_eq!(class("{class}_{number}", "cat.jpg"), None);
        assert!(Pattern::parse("{number}").is_none());
    }
}
