//! The names of an archive as text: one encoding for all of them, decoded before anything is split at separators, and what was made of
//! paths that few programs write so.

use std::borrow::Cow;

use super::{path, seen::Seen};
use crate::{
    domain::datasets::dataset::DatasetWarning,
    limits::IngestLimits,
    worker::ingest::{
        rejection::Rejection,
        text::{self, CodePage, Guess, Written},
    },
};

/// A few are enough to see what is wrong.
const EXAMPLES: usize = 5;

/// The encoding of the names that the archive does not mark.
pub struct Encoding {
    guess: Guess,
    /// Whether somebody chose it.
    chosen: bool,
}

impl Encoding {
    /// The one that somebody chose, or the likeliest of all these names.
    ///
    /// # Errors
    /// A [`Rejection`] for one that is not known.
    pub fn of(seen: &[Seen], chosen: Option<&str>) -> Result<Self, Rejection> {
        if let Some(label) = chosen {
            let page = CodePage::of(label).ok_or_else(|| {
                let message = format!("`name_encoding` is `{label}`, which is no known encoding; try `utf-8`, `shift_jis` or `cp437`");
                Rejection::new("unknown_encoding", message)
            })?;
            let guess = Guess {
                page,
                guessed: false,
                otherwise: None,
            };
            return Ok(Self { guess, chosen: true });
        }
        // Folders occur in every path below them, and no encoding has a slash within a character.
        let mut parts: Vec<&[u8]> = unmarked(seen)
            .flat_map(|entry| entry.raw_name.split(|byte| *byte == b'/'))
            .collect();
        parts.sort_unstable();
        parts.dedup();
        Ok(Self {
            guess: text::guess(&parts, Written::Names),
            chosen: false,
        })
    }

    /// The text of a name, or of the target of a link.
    pub fn decode<'a>(&self, bytes: &'a [u8], is_utf_8: bool) -> Cow<'a, str> {
        match str::from_utf8(bytes) {
            Ok(text) if is_utf_8 || text.is_ascii() => Cow::Borrowed(text),
            // A guess of UTF-8 is for most of the names: the rest have another encoding, but not the folders that they are in.
            Err(_) if self.guess.page == CodePage::UTF_8 && !self.chosen => {
                let otherwise = self.guess.otherwise.unwrap_or(CodePage::UTF_8);
                let part = |bytes| match str::from_utf8(bytes) {
                    Ok(text) => Cow::Borrowed(text),
                    Err(_) => otherwise.decode_all(bytes),
                };
                let parts: Vec<Cow<'_, str>> = bytes.split(|byte| *byte == b'/').map(part).collect();
                parts.join("/").into()
            }
            _ => self.guess.page.decode_all(bytes),
        }
    }

    /// What to tell about it.
    pub fn warning(&self, seen: &[Seen], limits: &IngestLimits) -> Option<DatasetWarning> {
        let guess = self.guess;
        let fails = |entry: &&Seen| guess.page.decode(&entry.raw_name).is_none();
        let broken = unmarked(seen).filter(fails);
        // Where most names are certain, it is about the others.
        let is_about_broken = guess.page == CodePage::UTF_8 || !guess.guessed;
        let concerned: Vec<&Seen> = match is_about_broken && broken.clone().next().is_some() {
            true => broken.collect(),
            false => unmarked(seen).filter(|_| guess.guessed).collect(),
        };
        let first = concerned.first()?;
        let shown = |entry: &&&Seen| {
            path::shown(
                &self.decode(&entry.raw_name, entry.is_utf_8),
                limits.max_path_bytes,
            )
        };
        let many = match concerned.len() {
            1 => "1 name".to_owned(),
            count => format!("{count} names"),
        };
        let label = guess.page.label();
        let message = match guess.otherwise {
            _ if fails(first) && self.chosen => format!(
                "{many} in the archive cannot be read as {label}; what cannot be read is shown as \u{fffd}. Choose another \
                 encoding with `name_encoding`, or pack the folder again"
            ),
            Some(other) if fails(first) => format!(
                "{many} in the archive cannot be read as {label}, as the others can, and were read as {}. Choose another encoding with \
                 `name_encoding`, or pack the folder again",
                other.label()
            ),
            Some(other) => format!(
                "the archive does not say how its names are encoded: {many} were read as {label}. As {} the first would be `{}`. \
                 If they are wrong, upload the archive again with `name_encoding={}` or another encoding",
                other.label(),
                path::shown(&other.decode_all(&first.raw_name), limits.max_path_bytes),
                other.label()
            ),
            None => format!(
                "the archive does not say how its names are encoded: {many} were read as {label}. If they are wrong, upload the \
                 archive again with another `name_encoding`"
            ),
        };
        Some(DatasetWarning {
            code: "names_in_code_page".to_owned(),
            message,
            count: concerned.len() as u64,
            examples: concerned
                .iter()
                .take(EXAMPLES)
                .map(|entry| shown(&entry))
                .collect(),
        })
    }
}

/// Entries whose names could be in any encoding.
fn unmarked(seen: &[Seen]) -> impl Iterator<Item = &Seen> + Clone {
    seen.iter().filter(|entry| !entry.is_utf_8)
}

/// Paths of which something was dropped, counted while they are read.
#[derive(Default)]
pub struct Normalised {
    rooted: u64,
    untidy: u64,
    examples: Vec<String>,
}

impl Normalised {
    /// The path that stands for this one in everything that follows.
    pub fn take(&mut self, name: &str, parts: &[String], limits: &IngestLimits) -> String {
        let rooted = path::is_rooted(name);
        let untidy = path::is_untidy(name);
        self.rooted += u64::from(rooted);
        self.untidy += u64::from(untidy && !rooted);
        if (rooted || untidy) && self.examples.len() < EXAMPLES {
            self.examples.push(path::shown(name, limits.max_path_bytes));
        }
        // Only a root may not stay: a file must lie in the archive.
        match rooted {
            true => path::shown(&parts.join("/"), limits.max_path_bytes),
            false => path::shown(name, limits.max_path_bytes),
        }
    }

    pub fn warning(self) -> Option<DatasetWarning> {
        let mut what = Vec::new();
        if self.rooted > 0 {
            what.push(format!(
                "{} begin at the root of a disk, a drive or a server, which was left out",
                self.rooted
            ));
        }
        if self.untidy > 0 {
            what.push(format!(
                "{} contain empty folder names or `.`, which were left out",
                self.untidy
            ));
        }
        (!what.is_empty()).then(|| DatasetWarning {
            code: "paths_normalised".to_owned(),
            message: format!(
                "some paths in the archive are unusual: {}; pack the folder with relative paths if that is not what you meant",
                what.join("; ")
            ),
            count: self.rooted + self.untidy,
            examples: self.examples,
        })
    }
}
