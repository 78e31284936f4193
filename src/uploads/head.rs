//! The first bytes of an archive, kept until they tell what it is: what cannot be one is refused before the rest has come.

use crate::{
    domain::datasets::archive::{self, ArchiveKind, ENOUGH},
    error::{Error, Kind, Result},
};

/// The beginning of an archive. Default: of one of which nothing has come.
#[derive(Default)]
pub struct ArchiveHead {
    first: Vec<u8>,
    told: bool,
}

impl ArchiveHead {
    /// Of an archive whose beginning is here already; it need not be enough.
    pub fn of(first: Vec<u8>) -> Self {
        Self { first, told: false }
    }

    /// Looks at what comes next.
    ///
    /// # Errors
    /// `archive-unsupported` as soon as there is enough to tell.
    pub fn take(&mut self, chunk: &[u8]) -> Result<()> {
        if self.told {
            return Ok(());
        }
        let wanted = ENOUGH.saturating_sub(self.first.len());
        self.first.extend_from_slice(&chunk[..chunk.len().min(wanted)]);
        if self.first.len() < ENOUGH {
            return Ok(());
        }
        self.finish()
    }

    /// Decides by what there is: no more will come.
    ///
    /// # Errors
    /// `archive-unsupported`.
    pub fn finish(&mut self) -> Result<()> {
        if self.told || ArchiveKind::of(&self.first).is_some() {
            self.told = true;
            self.first = Vec::new();
            return Ok(());
        }
        let detail = format!(
            "not a supported archive ({}): this is {}",
            ArchiveKind::TAKEN,
            archive::foreign(&self.first)
        );
        Err(Error::new(Kind::UnsupportedMedia, "archive-unsupported", detail))
    }
}
