//! Stratified splits that keep groups together.

use std::collections::BTreeMap;

use super::division::Split;
use crate::domain::random::{Draws, Stream};

/// Fractions of the whole; the rest is for training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    pub val: f64,
    pub test: f64,
}

/// Assigns each image its split: `labels[i]` is the class of image `i`, `groups[i]` its group (see [`super::groups`]), and all images of a
/// group get the same split.
///
/// Each class gives the number of images nearest to its fraction, and keeps at least one for training. Where every group lies within one
/// class and there are enough images in small groups, that is exact. Otherwise groups are tried in an order shuffled by the seed: those of
/// several classes go where their classes are needed most (after Sechidis et al. 2011, iterative stratification), the others where they
/// fit, then any that bring the classes nearer to their fractions; a class that still gives nothing, and has a group to spare, gives its
/// smallest.
pub fn stratified(labels: &[u32], groups: &[u32], shares: Shares, seed: u64) -> Vec<Split> {
    let mut division = Division::new(labels, groups, seed);
    let targets = division.targets(shares);
    division.spread_mixed(&targets);
    for (part, target) in &targets {
        division.take_what_fits(*part, target);
    }
    for (part, target) in &targets {
        division.take_what_brings_nearer(*part, target);
        division.leave_no_class_out(*part, target);
    }
    let mut parts = vec![Split::Train; labels.len()];
    for group in &division.groups {
        for &image in &group.images {
            parts[image] = group.part;
        }
    }
    parts
}

/// Number of images of each class.
type Counts = Vec<usize>;

struct Group {
    images: Vec<usize>,
    /// Its images by class; only classes that occur in it.
    counts: Vec<(usize, usize)>,
    part: Split,
}

impl Group {
    fn is_pure(&self) -> bool {
        self.counts.len() == 1
    }
}

struct Division {
    /// In the order in which they are tried.
    groups: Vec<Group>,
    /// Images of each class, in total and left for training.
    total: Counts,
    training: Counts,
}

impl Division {
    fn new(labels: &[u32], group_of: &[u32], seed: u64) -> Self {
        let classes = labels.iter().max().map_or(0, |&last| last as usize + 1);
        let mut total = vec![0; classes];
        let mut by_number: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (image, (&label, &group)) in labels.iter().zip(group_of).enumerate() {
            total[label as usize] += 1;
            by_number.entry(group).or_default().push(image);
        }
        let mut groups: Vec<Group> = by_number
            .into_values()
            .map(|images| Group {
                counts: count(&images, labels),
                images,
                part: Split::Train,
            })
            .collect();
        groups.sort_by_key(|group| group.images[0]);
        Self {
            groups: shuffled(groups, classes, seed),
            training: total.clone(),
            total,
        }
    }

    fn targets(&self, shares: Shares) -> [(Split, Counts); 2] {
        let of = |total: usize| {
            let spare = total.saturating_sub(1);
            let share = |share: f64| (total as f64 * share).round() as usize;
            let val = share(shares.val).min(spare);
            (val, share(shares.test).min(spare - val))
        };
        let (val, test) = self.total.iter().map(|&total| of(total)).unzip();
        [(Split::Val, val), (Split::Test, test)]
    }

    /// Moves a group out of the training split.
    fn take(&mut self, index: usize, part: Split) {
        let group = &mut self.groups[index];
        group.part = part;
        for &(class, images) in &group.counts {
            self.training[class] -= images;
        }
    }

    /// Images of each class in a split.
    fn given(&self, part: Split) -> Counts {
        let mut given = vec![0; self.total.len()];
        for group in self.groups.iter().filter(|group| group.part == part) {
            for &(class, images) in &group.counts {
                given[class] += images;
            }
        }
        given
    }

    /// Groups of several classes: each goes to the split that lacks the largest fraction of what the group has.
    fn spread_mixed(&mut self, targets: &[(Split, Counts); 2]) {
        let [(_, val), (_, test)] = targets;
        let train = self.total.iter().zip(val).zip(test);
        let train: Counts = train.map(|((total, val), test)| total - val - test).collect();
        let parts = [(Split::Train, &train), (Split::Val, val), (Split::Test, test)];
        let mut wanted = parts.map(|(_, target)| target.clone());
        for index in 0..self.groups.len() {
            let group = &self.groups[index];
            if group.is_pure() {
                break;
            }
            // What fits nowhere stays in training, which also comes first where splits are equal.
            let (mut chosen, mut most) = (0, f64::NEG_INFINITY);
            for (place, (part, target)) in parts.iter().enumerate() {
                let fits = group
                    .counts
                    .iter()
                    .all(|&(class, images)| images <= wanted[place][class]);
                let need = |&(class, images): &(usize, usize)| {
                    images as f64 * wanted[place][class] as f64 / target[class].max(1) as f64
                };
                let lack = group.counts.iter().map(need).sum();
                if (fits || *part == Split::Train) && lack > most {
                    (chosen, most) = (place, lack);
                }
            }
            for &(class, images) in &group.counts {
                wanted[chosen][class] = wanted[chosen][class].saturating_sub(images);
            }
            if parts[chosen].0 != Split::Train {
                self.take(index, parts[chosen].0);
            }
        }
    }

    fn take_what_fits(&mut self, part: Split, target: &[usize]) {
        let given = self.given(part);
        let mut wanted: Counts = target
            .iter()
            .zip(given)
            .map(|(target, given)| target - given)
            .collect();
        for index in 0..self.groups.len() {
            let group = &self.groups[index];
            let [(class, images)] = *group.counts.as_slice() else {
                continue;
            };
            if group.part == Split::Train && images <= wanted[class] {
                wanted[class] -= images;
                self.take(index, part);
            }
        }
    }

    fn take_what_brings_nearer(&mut self, part: Split, target: &[usize]) {
        let mut given = self.given(part);
        for index in self.spare_smallest_first() {
            let group = &self.groups[index];
            let change: i64 = group
                .counts
                .iter()
                .map(|&(class, images)| {
                    let distance = |given: usize| given.abs_diff(target[class]) as i64;
                    distance(given[class] + images) - distance(given[class])
                })
                .sum();
            if change < 0 && self.can_spare(group) {
                add(&mut given, &group.counts);
                self.take(index, part);
            }
        }
    }

    fn leave_no_class_out(&mut self, part: Split, target: &[usize]) {
        let mut given = self.given(part);
        for index in self.spare_smallest_first() {
            let group = &self.groups[index];
            let lacking = |&(class, _): &(usize, usize)| given[class] == 0 && target[class] > 0;
            if group.counts.iter().any(lacking) && self.can_spare(group) {
                add(&mut given, &group.counts);
                self.take(index, part);
            }
        }
    }

    /// Ties are in the order of the seed.
    fn spare_smallest_first(&self) -> Vec<usize> {
        let mut spare: Vec<usize> = (0..self.groups.len())
            .filter(|&index| self.groups[index].part == Split::Train)
            .collect();
        spare.sort_by_key(|&index| self.groups[index].images.len());
        spare
    }

    /// Whether every class keeps training images without this group.
    fn can_spare(&self, group: &Group) -> bool {
        group
            .counts
            .iter()
            .all(|&(class, images)| images < self.training[class])
    }
}

fn count(images: &[usize], labels: &[u32]) -> Vec<(usize, usize)> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for &image in images {
        *counts.entry(labels[image] as usize).or_default() += 1;
    }
    counts.into_iter().collect()
}

fn add(given: &mut Counts, counts: &[(usize, usize)]) {
    for &(class, images) in counts {
        given[class] += images;
    }
}

/// Groups of several classes come first, as they are the hardest to place; then those of each class. Each class has its own random stream,
/// so that images of another class change nothing for it.
fn shuffled(groups: Vec<Group>, classes: usize, seed: u64) -> Vec<Group> {
    let mut mixed = Vec::new();
    let mut of_class: Vec<Vec<Group>> = (0..classes).map(|_| Vec::new()).collect();
    for group in groups {
        if group.is_pure() {
            of_class[group.counts[0].0].push(group);
        } else {
            mixed.push(group);
        }
    }
    Draws::at(seed, Stream::Split, 1, 0).shuffle(&mut mixed);
    for (class, groups) in of_class.iter_mut().enumerate() {
        Draws::at(seed, Stream::Split, 0, class as u64).shuffle(groups);
    }
    mixed.into_iter().chain(of_class.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests;
