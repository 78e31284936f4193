//! Packed pixels that turn out to be damaged: reported once per pack, and recorded in the list that the server reads when the run is over,
//! so that it discards the pack and the next run creates another. This run recreates the pixels image by image.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    protocol::{PACKS_FILE, UsedPacks, WorkerMessage},
    worker::process::{child::Reporter, run_dir::RunDir},
};

pub struct Damages {
    dir: RunDir,
    reporter: Reporter,
    packs: Mutex<UsedPacks>,
}

impl Damages {
    pub fn new(dir: &RunDir, reporter: &Reporter) -> Self {
        Self {
            dir: dir.clone(),
            reporter: reporter.clone(),
            packs: Mutex::default(),
        }
    }

    /// Records which packs the run uses.
    pub fn begin(&self, used: UsedPacks) -> io::Result<()> {
        let mut packs = self.packs();
        let damaged = std::mem::take(&mut packs.damaged);
        *packs = UsedPacks { damaged, ..used };
        self.dir.write_compact_json(PACKS_FILE, &*packs)
    }

    /// Records that a pack is damaged. May be called for each image, from any thread.
    pub fn note(&self, sha256: &str) -> io::Result<()> {
        let mut packs = self.packs();
        if packs.damaged.iter().any(|known| known == sha256) {
            return Ok(());
        }
        packs.damaged.push(sha256.to_owned());
        let message = "packed pixels of the dataset's images are damaged on the server's disk; they are recreated from the \
                       image files, and later jobs will not use them";
        self.reporter
            .send(&WorkerMessage::warning("pack_damaged", message));
        self.dir.write_compact_json(PACKS_FILE, &*packs)
    }

    fn packs(&self) -> MutexGuard<'_, UsedPacks> {
        self.packs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
