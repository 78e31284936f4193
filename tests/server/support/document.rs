//! A document of this repository as its reader sees it: commands to type, tables, links.

use std::{fs, path::PathBuf};

pub struct Document {
    /// From the repository's root.
    pub path: String,
    pub text: String,
}

/// A block between fences.
pub struct Block {
    pub language: String,
    pub lines: Vec<String>,
}

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

impl Document {
    pub fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self {
            path: path.to_owned(),
            text,
        }
    }

    /// Every Markdown file in the root and in `docs`.
    pub fn all() -> Vec<Self> {
        let names = ["", "docs/"].into_iter().flat_map(|folder| {
            let entries = fs::read_dir(root().join(folder)).unwrap();
            entries.map(move |entry| format!("{folder}{}", entry.unwrap().file_name().display()))
        });
        names
            .filter(|name| name.ends_with(".md"))
            .map(|name| Self::read(&name))
            .collect()
    }

    /// The blocks, and apart from them everything else, line by line.
    pub fn parts(&self) -> (Vec<Block>, Vec<&str>) {
        let (mut blocks, mut prose, mut inside) = (Vec::<Block>::new(), Vec::new(), false);
        for line in self.text.lines() {
            if let Some(language) = line.strip_prefix("```") {
                inside = !inside;
                if inside {
                    blocks.push(Block {
                        language: language.to_owned(),
                        lines: Vec::new(),
                    });
                }
            } else if inside {
                blocks.last_mut().unwrap().lines.push(line.to_owned());
            } else {
                prose.push(line);
            }
        }
        assert!(!inside, "{}: a block does not end", self.path);
        (blocks, prose)
    }

    /// What a reader types into a terminal, one command after another; in these documents each has a line of its own.
    pub fn commands(&self) -> Vec<String> {
        let (blocks, _) = self.parts();
        let typed = blocks.into_iter().filter(|block| block.language == "sh");
        let lines = typed.flat_map(|block| block.lines);
        lines
            .map(|line| line.split(" # ").next().unwrap().trim().to_owned())
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect()
    }

    /// Code within the prose: `like this`.
    pub fn spans(&self) -> Vec<&str> {
        let (_, prose) = self.parts();
        prose.into_iter().flat_map(spans).collect()
    }

    /// The rows of all tables below a heading, up to the next heading of its level or above it.
    pub fn rows_below(&self, heading: &str) -> Vec<Vec<&str>> {
        let level = heading.find(' ').unwrap();
        let (_, prose) = self.parts();
        let mut lines = prose.into_iter().skip_while(|line| *line != heading);
        assert!(lines.next().is_some(), "{}: no `{heading}`", self.path);
        let ends = |line: &&str| {
            let mark = line.split(' ').next().unwrap();
            (1..=level).contains(&mark.len()) && mark.bytes().all(|byte| byte == b'#')
        };
        let rows = lines
            .take_while(|line| !ends(line))
            .filter(|line| line.starts_with("| `"));
        rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
            .collect()
    }

    /// Where links lead: `(PATH, ANCHOR)`, from this document, without those to other sites.
    pub fn links(&self) -> Vec<(&str, Option<&str>)> {
        let (_, prose) = self.parts();
        let targets = prose.into_iter().flat_map(|line| {
            let ends = line.split("](").skip(1);
            ends.filter_map(|rest| rest.split(')').next())
        });
        targets
            .filter(|target| !target.contains("://"))
            .map(|target| match target.split_once('#') {
                Some((path, anchor)) => (path, Some(anchor)),
                None => (target, None),
            })
            .collect()
    }

    /// The anchors of its headings, as they are on a page.
    pub fn anchors(&self) -> Vec<String> {
        let (_, prose) = self.parts();
        let headings = prose.into_iter().filter(|line| line.starts_with('#'));
        headings
            .map(|line| {
                let words = line.trim_start_matches('#').trim().to_lowercase();
                let kept = words
                    .chars()
                    .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                kept.collect::<String>().replace(' ', "-")
            })
            .collect()
    }
}

/// Code within a line.
pub fn spans(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}
