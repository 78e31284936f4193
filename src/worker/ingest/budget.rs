//! A limit on the bytes in memory: acquired before, released after.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

pub struct Budget {
    most: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    used: u64,
    closed: bool,
}

impl Budget {
    pub fn new(most: u64) -> Self {
        Self {
            most,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Waits until there is room. Something larger than the whole budget is admitted alone. False once the budget is closed.
    #[must_use]
    pub fn take(&self, bytes: u64) -> bool {
        let mut state = self.lock();
        while !state.closed && state.used > 0 && state.used.saturating_add(bytes) > self.most {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.used = state.used.saturating_add(bytes);
        !state.closed
    }

    pub fn give_back(&self, bytes: u64) {
        let mut state = self.lock();
        state.used = state.used.saturating_sub(bytes);
        self.changed.notify_all();
    }

    /// Nothing will be released any more: whoever waits returns.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The state is always consistent, so a panic elsewhere does no harm.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::Budget;

    #[test]
    fn who_asks_for_too_much_waits_until_there_is_room() {
        let budget = Budget::new(10);
        assert!(budget.take(8));
        let (told, hear) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                told.send(budget.take(5)).unwrap();
                told.send(budget.take(100)).unwrap();
            });
            assert!(hear.try_recv().is_err());
            budget.give_back(8);
            assert!(hear.recv().unwrap());
            budget.close();
            assert!(!hear.recv().unwrap());
        });
    }

    #[test]
    fn what_is_larger_than_the_budget_goes_through_alone() {
        let budget = Budget::new(10);
        assert!(budget.take(1000));
    }
}
