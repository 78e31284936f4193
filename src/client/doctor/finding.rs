//! What `finetuned doctor` says: a line for each thing, for people and as JSON.

use std::fmt;

use serde::Serialize;

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    /// The server works, and something of it worse or not at all.
    Warning,
    /// The server does not start, or cannot do its work.
    Problem,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Such as `libtorch`; the same words in every version, for scripts.
    pub check: &'static str,
    pub state: State,
    /// What was found.
    pub text: String,
    /// What to do; null where nothing has to be done.
    pub advice: Option<String>,
}

/// All lines.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// There is no problem; warnings do not count.
    pub ok: bool,
    pub version: &'static str,
    pub findings: Vec<Finding>,
}

impl Finding {
    pub fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Ok,
            text: text.into(),
            advice: None,
        }
    }

    pub fn warning(check: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Warning,
            text: text.into(),
            advice: Some(advice.into()),
        }
    }

    pub fn problem(check: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            state: State::Problem,
            ..Self::warning(check, text, advice)
        }
    }
}

impl Report {
    pub fn of(findings: Vec<Finding>) -> Self {
        Self {
            ok: findings.iter().all(|finding| finding.state != State::Problem),
            version: env!("CARGO_PKG_VERSION"),
            findings,
        }
    }

    fn count(&self, state: State) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.state == state)
            .count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding {
            check,
            state,
            text,
            advice,
        } in &self.findings
        {
            let state = match state {
                State::Ok => "ok",
                State::Warning => "warning",
                State::Problem => "problem",
            };
            writeln!(out, "{state:<9}{check:<15}{text}")?;
            if let Some(advice) = advice {
                writeln!(out, "{:<24}-> {advice}", "")?;
            }
        }
        match (self.count(State::Problem), self.count(State::Warning)) {
            (0, 0) => write!(out, "nothing is wrong"),
            (0, warnings) => write!(out, "no problems; warnings: {warnings}"),
            (problems, warnings) => write!(out, "problems: {problems}; warnings: {warnings}"),
        }
    }
}

/// Bytes for people: `3.2 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} bytes"),
        _ => format!("{amount:.1} {}", UNITS[unit]),
    }
}
