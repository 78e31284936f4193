//! Lines of a child's output, however long they are: what is beyond the limit is dropped, not kept in memory.

use std::{io, mem};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Bytes that are read from a pipe at once; a pipe holds as many.
const BUFFER: usize = 64 << 10;

/// A line without its end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub bytes: Vec<u8>,
    /// It was longer than the limit; `bytes` is its beginning.
    pub cut: bool,
}

/// Reads lines of at most `limit` bytes.
pub struct Lines<R> {
    reader: BufReader<R>,
    limit: usize,
    line: Line,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(reader: R, limit: usize) -> Self {
        Self {
            reader: BufReader::with_capacity(BUFFER, reader),
            limit,
            line: Line::default(),
        }
    }

    /// The next line, or none at the end. May be dropped at any time: what was read of a line stays here.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                let rest = mem::take(&mut self.line);
                return Ok((!rest.bytes.is_empty()).then_some(rest));
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let piece = &chunk[..end.unwrap_or(chunk.len())];
            let room = self.limit - self.line.bytes.len();
            self.line.cut |= piece.len() > room;
            self.line.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
            let used = piece.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(mem::take(&mut self.line)));
            }
        }
    }

    /// Whether the next line is here already, so that asking for it does not wait.
    pub fn has_next(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &[u8], limit: usize) -> Vec<(String, bool)> {
        let mut lines = Lines::new(text, limit);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push((String::from_utf8(line.bytes).unwrap(), line.cut));
        }
        all
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_cut_and_hurts_no_other() {
        let long = "x".repeat(BUFFER * 2);
        let text = format!("one\n\n{long}\nfour\nfive");
        let lines = read(text.as_bytes(), 8).await;
        let expected = [
            ("one", false),
            ("", false),
            ("xxxxxxxx", true),
            ("four", false),
            ("five", false),
        ];
        assert_eq!(lines.len(), expected.len());
        for ((line, cut), (expected_line, expected_cut)) in lines.iter().zip(expected) {
            assert_eq!((line.as_str(), *cut), (expected_line, expected_cut));
        }
    }
}
