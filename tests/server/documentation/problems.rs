//! The list of problems names every `type` that the server can answer with, and no other.

use std::{collections::BTreeSet, fs};

use crate::{
    sources::{root, rust_files},
    support::document::{Document, spans},
};

/// What comes before the slug of a problem: the constructors of `Error`, and functions that take a slug.
const BEFORE: [&str; 6] = [
    "Error::new(",
    "Self::new(",
    "refusal(",
    "none(",
    "unauthenticated(",
    "result(",
];
/// What the router and libraries answer: the words of a status (`http/responses/problem.rs`).
const OF_STATUSES: [&str; 2] = ["method-not-allowed", "forbidden"];

/// The slugs in the sources that make problems, without those of tests and of the other programs.
fn slugs() -> BTreeSet<String> {
    let mut slugs = BTreeSet::from(OF_STATUSES.map(str::to_owned));
    slugs.insert(finetuned::domain::damage::Damaged::SLUG.to_owned());
    for file in rust_files(&root()) {
        let path = file.to_string_lossy();
        if ["/tests", "/worker/", "/client/", "/bin/"]
            .iter()
            .any(|part| path.contains(part))
        {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for before in BEFORE {
            slugs.extend(slugs_after(text, before));
        }
        // Chosen by a `match` before the error is made.
        if path.ends_with("/error.rs") {
            slugs.extend(["invalid", "not-supported"].map(str::to_owned));
        }
    }
    slugs
}

/// The first text in each call, if it looks like a slug and only names stand before it.
fn slugs_after(text: &str, before: &str) -> Vec<String> {
    let length = before.len();
    let calls = text.match_indices(before).map(|(at, _)| at);
    let slugs = calls.filter_map(|at| {
        // `FieldError::new` and `io::Error::new` are others; `waited::refusal` is not.
        let is_error = before.starts_with("Error");
        let is_other = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (is_error && byte == b':');
        if at
            .checked_sub(1)
            .is_some_and(|last| is_other(text.as_bytes()[last]))
        {
            return None;
        }
        let (names, rest) = text[at + length..].split_once('"')?;
        let is_name = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_:&,".contains(c);
        let (slug, _) = rest.split_once('"')?;
        let is_slug = !slug.is_empty()
            && slug
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (names.chars().all(is_name) && is_slug).then(|| slug.to_owned())
    });
    slugs.collect()
}

#[test]
fn every_type_of_problem_is_listed_and_no_other() {
    let document = Document::read("docs/PROBLEMS.md");
    let mut listed = BTreeSet::new();
    for row in document.rows_below("# Problems") {
        let slug = spans(row[0])[0].to_owned();
        for status in row[1].split_whitespace() {
            let status: u16 = status.parse().unwrap();
            assert!((400..600).contains(&status), "{slug}: {status}");
        }
        assert!(!row[2].is_empty() && !row[3].is_empty(), "{slug}");
        assert!(listed.insert(slug.clone()), "{slug} is listed twice");
    }
    let slugs = slugs();
    assert!(slugs.len() > 90, "{slugs:#?}");
    let missing: Vec<_> = slugs.difference(&listed).collect();
    let unknown: Vec<_> = listed.difference(&slugs).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not listed: {missing:?}; not in the sources: {unknown:?}"
    );
}
