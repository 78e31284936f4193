//! A bounded queue between threads: when full, producers wait; when closed, it is still drained.
//!
//! The standard library's channels cannot take "everything for the same model"; that is why this is our own.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    bound: usize,
}

struct State<T> {
    items: VecDeque<T>,
    closed: bool,
    /// Whether the first consumer is at work.
    first_at_work: bool,
}

impl<T> Queue<T> {
    pub fn bounded(bound: usize) -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                closed: false,
                first_at_work: false,
            }),
            changed: Condvar::new(),
            bound,
        }
    }

    /// Waits for room. Items after [`Queue::close`] are dropped.
    pub fn push(&self, item: T) {
        let mut state = self.lock();
        while state.items.len() >= self.bound && !state.closed {
            state = self.wait(state);
        }
        if !state.closed {
            state.items.push_back(item);
            self.changed.notify_all();
        }
    }

    /// The oldest item; none once the queue is closed and empty.
    pub fn take(&self) -> Option<T> {
        self.take_alike(0, |_| 1, |_, _| false)?.pop()
    }

    /// The oldest item and others like it, according to `alike(oldest, other)`, in their order, at most as many as `most` returns for the
    /// number of waiting items. Because the oldest is always included, no kind of item can starve another.
    ///
    /// The consumer with number 0 has priority: the others get something only while it is at work, which it is until it comes back.
    pub fn take_alike(
        &self,
        number: usize,
        most: impl Fn(usize) -> usize,
        alike: impl Fn(&T, &T) -> bool,
    ) -> Option<Vec<T>> {
        let mut state = self.lock();
        if number == 0 {
            state.first_at_work = false;
        }
        while state.items.is_empty() || (number > 0 && !state.first_at_work && !state.closed) {
            if state.closed {
                return None;
            }
            state = self.wait(state);
        }
        let most = most(state.items.len());
        let mut taken: Vec<T> = state.items.pop_front().into_iter().collect();
        let mut index = 0;
        while taken.len() < most && index < state.items.len() {
            if alike(&taken[0], &state.items[index]) {
                taken.extend(state.items.remove(index));
            } else {
                index += 1;
            }
        }
        if number == 0 {
            state.first_at_work = true;
        }
        self.changed.notify_all();
        Some(taken)
    }

    pub fn is_empty(&self) -> bool {
        self.lock().items.is_empty()
    }

    /// No more items will come.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that could leave the state inconsistent runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    #[test]
    fn a_batch_is_the_oldest_and_those_like_it() {
        let queue = Queue::bounded(8);
        for item in ["a1", "b1", "a2", "a3", "b2"] {
            queue.push(item);
        }
        let alike = |a: &&str, b: &&str| a[..1] == b[..1];
        assert_eq!(
            queue.take_alike(0, |waiting| waiting - 3, alike),
            Some(vec!["a1", "a2"])
        );
        assert_eq!(queue.take_alike(0, |_| 9, alike), Some(vec!["b1", "b2"]));
        queue.close();
        assert_eq!(queue.take(), Some("a3"));
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn the_others_take_only_while_the_first_is_at_work() {
        let queue = Arc::new(Queue::bounded(8));
        queue.push(1);
        queue.push(2);
        let other = queue.clone();
        let second = thread::spawn(move || {
            let taken = other.take_alike(1, |_| 1, |_, _| false);
            (taken, other.take_alike(1, |_| 1, |_, _| false))
        });
        // Whatever the scheduler does, the first gets the older one: the other has to wait for it.
        assert_eq!(queue.take(), Some(1));
        queue.push(3);
        while queue.lock().items.len() == 2 {
            thread::yield_now();
        }
        queue.close();
        let rest = queue.take();
        let (taken, next) = second.join().unwrap();
        assert_eq!(taken, Some(vec![2]));
        assert_eq!(
            [rest, next.map(|taken| taken[0])]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>(),
            [3]
        );
    }

    #[test]
    fn a_full_queue_holds_back_until_something_is_taken() {
        let queue = Arc::new(Queue::bounded(2));
        let filling = queue.clone();
        let filler = thread::spawn(move || {
            (0..100).for_each(|item| filling.push(item));
            filling.close();
        });
        let mut taken = Vec::new();
        while let Some(item) = queue.take() {
            assert!(queue.lock().items.len() <= 2);
            taken.push(item);
        }
        filler.join().unwrap();
        assert_eq!(taken, (0..100).collect::<Vec<_>>());
    }
}
