//! Jobs that were read since the last write. Many clients ask for one job again and again, and most of the time nothing has changed: they
//! need not wait for the database.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{domain::jobs::job::Job, store::write::Written};

/// Times of files are coarse: should another program have written at the same one, that is seen after this.
const LONGEST: Duration = Duration::from_millis(500);
/// Jobs that are remembered at once: a job has a few kilobytes.
const MOST: usize = 64;

/// What was read, by the id or name it was asked for.
#[derive(Default)]
pub struct Recent(Mutex<Option<Known>>);

struct Known {
    /// What had been written before they were read.
    written: Written,
    since: Instant,
    jobs: HashMap<String, Job>,
}

impl Recent {
    /// The job as it was read, if nothing was written since. `written`: what has been by now.
    pub(in crate::store) fn get(&self, reference: &str, written: &Written) -> Option<Job> {
        let known = self.known();
        let known = known.as_ref().filter(|known| known.is_of(written))?;
        known.jobs.get(reference).cloned()
    }

    /// Remembers a job. `written`: what had been before it was read.
    pub(in crate::store) fn keep(&self, reference: &str, written: Written, job: &Job) {
        let mut known = self.known();
        if known.as_ref().is_none_or(|known| !known.is_of(&written)) {
            // What was read before a later write may come after what was read since: it is asked for with what has been written by then.
            *known = Some(Known {
                written,
                since: Instant::now(),
                jobs: HashMap::new(),
            });
        }
        if let Some(known) = known.as_mut()
            && (known.jobs.len() < MOST || known.jobs.contains_key(reference))
        {
            known.jobs.insert(reference.to_owned(), job.clone());
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_of(&self, written: &Written) -> bool {
        self.written == *written && self.since.elapsed() < LONGEST
    }
}
