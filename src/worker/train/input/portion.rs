//! How many pictures go through the network together where memory does not suffice for all that should.

use std::ops::Range;

use crate::worker::{fault::TorchFault, train::plan};

/// The most pictures that are tried together. It only ever becomes smaller, and it lies in the checkpoint, because with BatchNorm the
/// result depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    limit: usize,
    /// Fewer are of no use.
    smallest: usize,
}

impl Portion {
    pub fn new(limit: usize, smallest: usize) -> Self {
        let limit = limit.max(1);
        Self { limit, smallest }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Does `work` on `0..rows` in parts that fit. A part for which memory does not suffice is halved and tried again; `work` must leave
    /// nothing behind when it fails.
    ///
    /// # Errors
    /// Not enough memory for the smallest part, or another fault.
    pub fn each<T>(
        &mut self,
        rows: usize,
        mut work: impl FnMut(Range<usize>) -> Result<T, TorchFault>,
    ) -> Result<Vec<T>, TorchFault> {
        let (mut done, mut results) = (0, Vec::new());
        while done < rows {
            let part = plan::first_part(done..rows, self.limit);
            match work(part.clone()) {
                Ok(result) => {
                    results.push(result);
                    done = part.end;
                }
                Err(TorchFault::OutOfMemory(_)) if part.len() >= 2 * self.smallest.max(1) => {
                    self.limit = part.len() / 2;
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a device with room for so many pictures does; every part that was tried.
    fn tried(portion: &mut Portion, rows: usize, room: usize) -> (bool, Vec<usize>) {
        let mut tried = Vec::new();
        let result = portion.each(rows, |part| {
            tried.push(part.len());
            if part.len() <= room {
                Ok(())
            } else {
                Err(TorchFault::OutOfMemory(String::new()))
            }
        });
        (result.is_ok(), tried)
    }

    #[test]
    fn what_does_not_fit_is_halved_until_it_does_and_stays_so() {
        let mut portion = Portion::new(32, 1);
        assert_eq!(tried(&mut portion, 32, 32), (true, vec![32]));
        assert_eq!(tried(&mut portion, 32, 10), (true, vec![32, 16, 8, 8, 8, 8]));
        assert_eq!(portion.limit(), 8);
        assert_eq!(tried(&mut portion, 20, 10), (true, vec![8, 8, 4]));
        assert_eq!(
            tried(&mut portion, 17, 9),
            (true, vec![8, 9]),
            "none is left alone"
        );
    }

    #[test]
    fn where_the_smallest_does_not_fit_it_gives_up() {
        assert_eq!(tried(&mut Portion::new(4, 1), 4, 0), (false, vec![4, 2, 1]));
        assert_eq!(tried(&mut Portion::new(4, 2), 4, 1), (false, vec![4, 2]));
        assert_eq!(tried(&mut Portion::new(3, 2), 3, 2), (false, vec![3]));
    }

    #[test]
    fn other_faults_are_not_tried_again() {
        let mut times = 0;
        let result = Portion::new(4, 1).each(4, |_| {
            times += 1;
            Err::<(), _>(TorchFault::DeviceLost(String::new()))
        });
        assert!(matches!(result, Err(TorchFault::DeviceLost(_))));
        assert_eq!(times, 1);
    }
}
