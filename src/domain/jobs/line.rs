//! Which job begins next, so that everybody gets a fair share of the devices.
//!
//! The more important first. Of equal ones, that of the owner who has fewest running; of several such owners, of the one whose last turn is
//! longest ago; of one owner's jobs, the oldest. So nobody with many jobs holds up another's first one, on one device or on many: owners
//! without a running job take turns, and each of them waits for as many turns as there are others.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use crate::domain::id::JobId;

/// A job in the queue.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub id: JobId,
    /// The name of its owner's key. All jobs without an owner have one together, the empty name.
    pub owner: String,
    pub priority: i32,
}

/// What an owner has had of the devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    pub running: u64,
    /// Turns are numbered, and this is its last one; 0 if it has had none.
    pub turn: i64,
    /// Most of its jobs that may run; none: any number.
    pub most_running: Option<u32>,
}

impl Share {
    /// Whether none of its jobs may begin before another one ends.
    pub fn is_full(&self) -> bool {
        self.most_running
            .is_some_and(|most| self.running >= u64::from(most))
    }
}

/// By owner; who is absent has had nothing.
pub type Shares = HashMap<String, Share>;

/// What is least is next: whether it may not begin at all; the priority, negative; the owner's running jobs and its last turn; the job.
type Place = (bool, Reverse<i32>, u64, i64, JobId);

fn place(job: &Waiting, share: Share) -> Place {
    (
        share.is_full(),
        Reverse(job.priority),
        share.running,
        share.turn,
        job.id,
    )
}

/// The index of the job that begins next. Who has as many running as it may waits until one of them ends.
pub fn next(jobs: &[Waiting], shares: &Shares) -> Option<usize> {
    let share = |job: &Waiting| shares.get(&job.owner).copied().unwrap_or_default();
    let may = jobs.iter().enumerate().filter(|(_, job)| !share(job).is_full());
    let first = may.min_by_key(|(_, job)| place(job, share(job)));
    first.map(|(index, _)| index)
}

/// The indices of all jobs in the order in which they would begin if none ended and none came: what [`next`] says, again and again. Those that
/// then could not begin stand at the end, as they would stand without a quota.
pub fn line(jobs: &[Waiting], shares: &Shares) -> Vec<usize> {
    let mut by_owner = HashMap::<&str, Vec<usize>>::new();
    for (index, job) in jobs.iter().enumerate() {
        by_owner.entry(&job.owner).or_default().push(index);
    }
    let mut turn = shares.values().map(|share| share.turn).max().unwrap_or(0);
    // Of each owner its next job, with what the owner then has. The others change nothing, so their places stay as they are.
    let mut heads = BinaryHeap::new();
    let mut owners: Vec<(Vec<usize>, Share)> = Vec::with_capacity(by_owner.len());
    for (owner, mut indices) in by_owner {
        indices.sort_unstable_by_key(|index| Reverse((Reverse(jobs[*index].priority), jobs[*index].id)));
        owners.push((indices, shares.get(owner).copied().unwrap_or_default()));
    }
    for (owner, (indices, share)) in owners.iter_mut().enumerate() {
        if let Some(index) = indices.pop() {
            heads.push(Reverse((place(&jobs[index], *share), index, owner)));
        }
    }
    let mut line = Vec::with_capacity(jobs.len());
    while let Some(Reverse((_, index, owner))) = heads.pop() {
        line.push(index);
        turn += 1;
        let (indices, share) = &mut owners[owner];
        share.running += 1;
        share.turn = turn;
        if let Some(index) = indices.pop() {
            heads.push(Reverse((place(&jobs[index], *share), index, owner)));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn jobs(of: &[(&str, i32)]) -> Vec<Waiting> {
        let job = |(owner, priority): &(&str, i32)| Waiting {
            id: JobId::new(),
            owner: (*owner).to_owned(),
            priority: *priority,
        };
        of.iter().map(job).collect()
    }

    fn shares(of: &[(&str, u64, i64)]) -> Shares {
        let share = |(owner, running, turn): &(&str, u64, i64)| {
            let share = Share {
                running: *running,
                turn: *turn,
                most_running: None,
            };
            ((*owner).to_owned(), share)
        };
        of.iter().map(share).collect()
    }

    /// Owners in the order of the line.
    fn owners<'j>(jobs: &'j [Waiting], shares: &Shares) -> Vec<&'j str> {
        let line = line(jobs, shares);
        line.into_iter().map(|index| jobs[index].owner.as_str()).collect()
    }

    #[test]
    fn who_has_many_jobs_holds_up_nobody() {
        let mut of = vec![("many", 0); 500];
        of.extend([("one", 0), ("two", 0), ("two", 0)]);
        let jobs = jobs(&of);
        // The first one came first, and has a device.
        let shares = shares(&[("many", 1, 1)]);
        let order = owners(&jobs, &shares);
        assert_eq!(order[..5], ["one", "two", "many", "two", "many"]);
        assert!(order[5..].iter().all(|owner| *owner == "many"));
    }

    #[test]
    fn on_one_device_owners_take_turns() {
        let jobs = jobs(&[("", 0), ("", 0), ("", 0), ("team", 0), ("team", 0), ("late", 0)]);
        let mut order = Vec::new();
        let (mut left, mut shares) = (jobs.clone(), Shares::new());
        // Each job has ended when the next one begins.
        for turn in 1..=jobs.len() as i64 {
            let job = left.remove(next(&left, &shares).unwrap());
            shares.insert(
                job.owner.clone(),
                Share {
                    turn,
                    ..Share::default()
                },
            );
            order.push(job.owner);
        }
        assert_eq!(order, ["", "team", "late", "", "team", ""]);
        assert_eq!(next(&left, &shares), None);
    }

    #[test]
    fn priority_comes_before_shares_and_age_after_them() {
        let jobs = jobs(&[("a", 0), ("b", -1), ("a", 7), ("b", 0), ("a", 0)]);
        let line = line(&jobs, &shares(&[("b", 3, 9)]));
        assert_eq!(line, [2, 0, 4, 3, 1]);
    }

    #[test]
    fn what_may_not_begin_waits_without_holding_up_anybody() {
        let jobs = jobs(&[("a", 9), ("a", 9), ("a", 0), ("b", 0), ("b", 0)]);
        let mut shares = shares(&[("a", 0, 5), ("b", 0, 4)]);
        shares.get_mut("a").unwrap().most_running = Some(1);
        assert_eq!(line(&jobs, &shares), [0, 3, 4, 1, 2]);
        shares.get_mut("a").unwrap().running = 1;
        assert_eq!(line(&jobs, &shares), [3, 4, 0, 1, 2]);
        assert_eq!(next(&jobs[..3], &shares), None);
    }

    proptest! {
        /// Also where some are running, priorities differ, and turns are anyhow.
        #[test]
        fn the_line_is_what_is_next_again_and_again(
            of in prop::collection::vec((0usize..5, -2i32..3), 0..40),
            had in prop::collection::vec((0u64..4, 0i64..6, prop::option::of(0u32..6)), 5),
        ) {
            let names = ["", "a", "b", "c", "d"];
            let of: Vec<_> = of.into_iter().map(|(owner, priority)| (names[owner], priority)).collect();
            let jobs = jobs(&of);
            let share = |(running, turn, most_running)| Share { running, turn, most_running };
            let mut shares: Shares = names.map(str::to_owned).into_iter().zip(had.into_iter().map(share)).collect();
            let line = line(&jobs, &shares);
            let mut left: Vec<usize> = (0..jobs.len()).collect();
            let mut turn = shares.values().map(|share| share.turn).max().unwrap_or(0);
            for expected in line {
                // Those that may not begin come last.
                if left.iter().all(|index| shares[&jobs[*index].owner].is_full()) {
                    left.retain(|index| *index != expected);
                    continue;
                }
                let waiting: Vec<Waiting> = left.iter().map(|index| jobs[*index].clone()).collect();
                let index = left.remove(next(&waiting, &shares).unwrap());
                prop_assert_eq!(index, expected);
                turn += 1;
                let share = shares.entry(jobs[index].owner.clone()).or_default();
                share.running += 1;
                share.turn = turn;
            }
            prop_assert!(left.is_empty());
        }
    }
}
