//! How many images go through the network together if memory is too small for a whole batch.

use std::ops::Range;

use crate::worker::{device::settings, fault::TorchFault, train::plan};

/// The largest micro-batch that is tried. It only ever shrinks, and it is stored in the checkpoint, because with BatchNorm the result
/// depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MicroBatches {
    limit: usize,
    /// Smaller ones are not allowed.
    smallest: usize,
}

impl MicroBatches {
    pub fn new(limit: usize, smallest: usize) -> Self {
        let limit = limit.max(1);
        Self { limit, smallest }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Runs `work` on `0..rows` in micro-batches that fit. One that does not fit into memory is halved and tried again; `work` must have no
    /// effect when it fails.
    ///
    /// # Errors
    /// Not enough memory for the smallest micro-batch, or another fault.
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
                    // It is in pieces for the larger micro-batch.
                    settings::give_back_freed_memory();
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

    /// A device with room for this many images; returns every micro-batch that was tried.
    fn tried(micro_batches: &mut MicroBatches, rows: usize, room: usize) -> (bool, Vec<usize>) {
        let mut tried = Vec::new();
        let result = micro_batches.each(rows, |part| {
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
        let mut micro_batches = MicroBatches::new(32, 1);
        assert_eq!(tried(&mut micro_batches, 32, 32), (true, vec![32]));
        assert_eq!(
            tried(&mut micro_batches, 32, 10),
            (true, vec![32, 16, 8, 8, 8, 8])
        );
        assert_eq!(micro_batches.limit(), 8);
        assert_eq!(tried(&mut micro_batches, 20, 10), (true, vec![8, 8, 4]));
        assert_eq!(
            tried(&mut micro_batches, 17, 9),
            (true, vec![8, 9]),
            "none is left alone"
        );
    }

    #[test]
    fn where_the_smallest_does_not_fit_it_gives_up() {
        assert_eq!(tried(&mut MicroBatches::new(4, 1), 4, 0), (false, vec![4, 2, 1]));
        assert_eq!(tried(&mut MicroBatches::new(4, 2), 4, 1), (false, vec![4, 2]));
        assert_eq!(tried(&mut MicroBatches::new(3, 2), 3, 2), (false, vec![3]));
    }

    #[test]
    fn other_faults_are_not_tried_again() {
        let mut times = 0;
        let result = MicroBatches::new(4, 1).each(4, |_| {
            times += 1;
            Err::<(), _>(TorchFault::DeviceLost(String::new()))
        });
        assert!(matches!(result, Err(TorchFault::DeviceLost(_))));
        assert_eq!(times, 1);
    }
}
