//! Writes children's stderr to a file of limited size. It keeps the end, because that is where the reason of a failure is.
//!
//! Lines are written as they arrive; when the file is full, its older half is dropped. Control characters are replaced, so a log is
//! harmless in a terminal. A log that cannot be written never fails the job: that is logged once.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::AsyncRead;

use super::lines::{Line, Lines};
use crate::files::private;

/// Longest line that is kept whole, in bytes.
const MAX_LINE: usize = 8 << 10;
/// A log that is being written anew.
const PARTIAL: &str = "log.partial";
/// Bytes that are gathered before they are written, where lines come fast.
const BATCH: usize = 64 << 10;
/// Longest last line that [`Log::copy`] gives back, in characters.
const MAX_LAST_LINE: usize = 300;
const LEFT_OUT: &str = "[earlier lines were left out]\n";

/// A log file. Cheap to clone; lines of clones never mix.
#[derive(Clone)]
pub struct Log(Arc<Mutex<LogFile>>);

struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    /// Said already that it cannot be written.
    failed: bool,
}

impl Log {
    /// The file is made with the first line; what is there already stays.
    pub fn at(path: PathBuf, max_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(LogFile {
            path,
            max_bytes,
            failed: false,
        })))
    }

    /// Adds a line of the server's own.
    pub async fn note(&self, text: &str) {
        self.write(format!("[server] {}\n", harmless(text.as_bytes())))
            .await;
    }

    /// Copies everything until the end. The result is the last line that says something, for an error message.
    pub async fn copy(&self, output: impl AsyncRead + Unpin) -> Option<String> {
        let mut lines = Lines::new(output, MAX_LINE);
        let mut batch = String::new();
        let mut last = None;
        while let Ok(Some(line)) = lines.next().await {
            let text = shown(&line);
            if says_something(&text) {
                last = Some(text.trim().chars().take(MAX_LAST_LINE).collect());
            }
            batch.push_str(&text);
            batch.push('\n');
            if batch.len() >= BATCH || !lines.has_next() {
                self.write(std::mem::take(&mut batch)).await;
            }
        }
        last
    }

    async fn write(&self, text: String) {
        let file = self.0.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = file.append(&text)
                && !file.failed
            {
                file.failed = true;
                tracing::warn!(path = %file.path.display(), %error, "cannot write a log");
            }
        });
        // It only fails when the whole program ends.
        let _ = written.await;
    }
}

impl LogFile {
    fn append(&self, text: &str) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            private::create_dir_all(folder)?;
        }
        let mut file = private::options()
            .create(true)
            .append(true)
            .read(true)
            .open(&self.path)?;
        let bytes = file.metadata()?.len();
        if bytes + text.len() as u64 <= self.max_bytes {
            return file.write_all(text.as_bytes());
        }
        self.begin_anew(&mut file, bytes, text)
    }

    /// Writes the file again with the newer half of what it would hold.
    fn begin_anew(&self, file: &mut File, bytes: u64, text: &str) -> io::Result<()> {
        let kept = self.max_bytes / 2;
        let mut newest = Vec::new();
        file.seek(SeekFrom::Start(bytes.saturating_sub(kept)))?;
        file.take(kept).read_to_end(&mut newest)?;
        newest.extend_from_slice(text.as_bytes());
        let newest = newest_lines(&newest, kept as usize);
        let partial = self.path.with_extension(PARTIAL);
        let mut file = private::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&partial)?;
        file.write_all(LEFT_OUT.as_bytes())?;
        file.write_all(newest)?;
        fs::rename(&partial, &self.path)
    }
}

/// Whole lines from the end, together at most `max` bytes.
fn newest_lines(text: &[u8], max: usize) -> &[u8] {
    if text.len() <= max {
        return text;
    }
    let tail = &text[text.len() - max..];
    match tail.iter().position(|byte| *byte == b'\n') {
        Some(end) => &tail[end + 1..],
        None => tail,
    }
}

/// Whether a file among the logs is one that was being written when the server was killed.
pub fn is_half_written(name: &str) -> bool {
    name.strip_suffix(PARTIAL).is_some_and(|rest| rest.ends_with('.'))
}

/// Removes the log of somebody who is gone.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn shown(line: &Line) -> String {
    let mut text = harmless(&line.bytes);
    if line.cut {
        text.push('…');
    }
    text
}

/// Text in which nothing moves a cursor, rings a bell or turns the reading direction.
pub fn harmless(bytes: &[u8]) -> String {
    let trimmed = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    String::from_utf8_lossy(trimmed)
        .chars()
        .map(|c| match c {
            '\t' => '\t',
            c if c.is_control() || turns(c) => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// A panic ends with advice that is no reason.
fn says_something(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("note: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_keeps_the_end_and_stays_under_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/job.log");
        let log = Log::at(path.clone(), 10_000);
        log.note("attempt 1").await;
        let output: String = (0..5_000).map(|line| format!("line {line}\n")).collect();
        let last = log.copy(output.as_bytes()).await;
        assert_eq!(last.as_deref(), Some("line 4999"));
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.len() <= 10_000, "{} bytes", kept.len());
        assert!(kept.starts_with(LEFT_OUT), "{}", &kept[..80]);
        assert!(kept.ends_with("line 4998\nline 4999\n"));
        log.note("attempt 2").await;
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.ends_with("line 4999\n[server] attempt 2\n"));
    }

    #[tokio::test]
    async fn what_would_move_a_cursor_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.log");
        let log = Log::at(path.clone(), 10_000);
        let last = log.copy(&b"\x1b[2Jred \xff\r\n\xe2\x80\xaeturned\nnote: run with RUST_BACKTRACE=1\n"[..]);
        assert_eq!(last.await.as_deref(), Some("\u{fffd}turned"));
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.starts_with("\u{fffd}[2Jred \u{fffd}\n"), "{kept:?}");
    }
}
