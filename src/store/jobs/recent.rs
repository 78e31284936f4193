//! Jobs that were read since the last write. Many clients ask for one job again and again, and most of the time nothing has changed: they
//! need not wait for the database.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::domain::jobs::job::Job;

/// Another program may write as well: what it changes is seen after this time.
const LONGEST: Duration = Duration::from_millis(500);
/// Jobs that are remembered at once: a job has a few kilobytes.
const MOST: usize = 64;

/// What was read, by the id or name it was asked for.
#[derive(Default)]
pub struct Recent(Mutex<Option<Known>>);

struct Known {
    /// How many acts had written before it was read.
    acts: u64,
    since: Instant,
    jobs: HashMap<String, Job>,
}

impl Recent {
    /// The job as it was read, if nothing was written since. `acts`: how many have written by now.
    pub fn get(&self, reference: &str, acts: u64) -> Option<Job> {
        let known = self.known();
        let known = known.as_ref().filter(|known| known.is_of(acts))?;
        known.jobs.get(reference).cloned()
    }

    /// Remembers a job. `acts`: how many had written before it was read.
    pub fn keep(&self, reference: &str, acts: u64, job: &Job) {
        let mut known = self.known();
        if known.as_ref().is_none_or(|known| !known.is_of(acts)) {
            // What was read before a later write is not put in the place of what was read after it.
            if known.as_ref().is_some_and(|known| known.acts > acts) {
                return;
            }
            *known = Some(Known {
                acts,
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
    fn is_of(&self, acts: u64) -> bool {
        self.acts == acts && self.since.elapsed() < LONGEST
    }
}
