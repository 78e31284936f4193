//! Sizes of the parts of the data directory, which are walked at most every [`EVERY`].

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::{
    data_dir::{Size, sizes},
    error::{Error, Result},
};

const EVERY: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Disk(Mutex<Option<(Instant, Arc<[Size]>)>>);

impl Disk {
    /// As of now, or of a moment ago.
    pub async fn sizes(&self, data_dir: &Path) -> Result<Arc<[Size]>> {
        let mut known = self.0.lock().await;
        if let Some((at, sizes)) = known.as_ref()
            && at.elapsed() < EVERY
        {
            return Ok(sizes.clone());
        }
        let path = data_dir.to_owned();
        let walked = tokio::task::spawn_blocking(move || sizes(&path)).await;
        let walked: Arc<[Size]> = walked.map_err(Error::internal)?.into();
        *known = Some((Instant::now(), walked.clone()));
        Ok(walked)
    }
}
