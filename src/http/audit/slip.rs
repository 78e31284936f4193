//! What becomes known of a request on its way in: who makes it, and what it is about. It goes along with the request, and the layer around
//! the routes reads it when the response is there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::access::Holder;

/// Cheap to clone; all clones are of one request.
#[derive(Clone, Debug, Default)]
pub struct Slip(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    key: Option<Holder>,
    thing: Option<String>,
}

impl Slip {
    pub fn set_key(&self, key: Option<Holder>) {
        self.known().key = key;
    }

    pub fn set_thing(&self, thing: String) {
        self.known().thing = Some(thing);
    }

    pub fn key(&self) -> Option<Holder> {
        self.known().key.clone()
    }

    pub fn thing(&self) -> Option<String> {
        self.known().thing.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
