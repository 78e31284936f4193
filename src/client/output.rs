//! Standard output as the commands use it, and texts of strangers made harmless for a terminal.

use std::io::{self, Write};

use super::api::Failure;

/// Where results go. Hints and progress go to standard error, so that `$(finetuned submit …)` holds the result alone.
pub struct Output {
    to: Box<dyn Write + Send>,
}

impl Output {
    pub fn stdout() -> Self {
        Self {
            to: Box::new(io::stdout()),
        }
    }

    /// Writes a line and flushes it: the reader may be a program that waits for each one.
    ///
    /// # Errors
    /// [`Failure::OutputClosed`] where nobody reads any more.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.to, "{text}")
            .and_then(|()| self.to.flush())
            .map_err(|_| Failure::OutputClosed)
    }
}
