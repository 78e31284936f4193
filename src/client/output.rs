//! Standard output of the commands, with untrusted text made harmless for a terminal.

use std::io::{self, Write};

use super::api::Failure;

/// Where results are printed. Hints and progress go to standard error, so that `$(finetuned submit …)` captures the result only.
pub struct Output {
    to: Box<dyn Write + Send>,
}

impl Output {
    pub fn stdout() -> Self {
        Self {
            to: Box::new(io::stdout()),
        }
    }

    /// Writes a line and flushes it: the reader may be a program that waits for each line.
    ///
    /// # Errors
    /// [`Failure::OutputClosed`] if the reader has closed it.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.to, "{text}")
            .and_then(|()| self.to.flush())
            .map_err(|_| Failure::OutputClosed)
    }
}
