//! Images that look alike though their bytes differ: one photo saved twice, two frames of one second.
//!
//! Each image is compared with those that share a quarter of its hash, and of these only with its nearest neighbours by brightness, so that
//! the work grows with the number of images and not with its square, however alike they all are. In the worst case pairs are missed; none
//! is invented: what is reported is within the distances below.

use std::collections::HashSet;

use crate::{domain::datasets::split::Split, worker::pixels::Fingerprint};

/// Largest Hamming distance between the 64-bit hashes of two images that look alike.
const MAX_DISTANCE_BITS: u32 = 8;
/// Images that each one is compared with, in each of the four orders.
const NEIGHBOURS: usize = 48;

/// The input of the check.
#[derive(Clone, Copy, Debug)]
pub struct HashedImage<'a> {
    pub fingerprint: &'a Fingerprint,
    pub sha256: &'a str,
    /// The indices of its classes.
    pub labels: &'a [u32],
    pub split: Split,
}

/// The findings for one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Another image looks like it.
    pub near_duplicate: bool,
    /// One of them is in another split.
    pub near_leak: bool,
    /// One of them is in another class.
    pub near_contradictory_label: bool,
}

impl Marks {
    /// Its codes in a report.
    pub fn codes(self) -> impl Iterator<Item = &'static str> {
        [
            (self.near_duplicate, "near_duplicate"),
            (self.near_leak, "near_leak"),
            (self.near_contradictory_label, "near_contradictory_label"),
        ]
        .into_iter()
        .filter_map(|(holds, code)| holds.then_some(code))
    }
}

/// Marks for each image, in the given order. Of images with the same bytes the first stands for all: duplicates are reported elsewhere.
pub fn marks(images: &[HashedImage<'_>]) -> Vec<Marks> {
    let mut seen = HashSet::new();
    let distinct: Vec<(usize, u32)> = images
        .iter()
        .enumerate()
        .filter(|(_, image)| seen.insert(image.sha256))
        .map(|(index, image)| (index, image.fingerprint.sum()))
        .collect();
    let mut marks = vec![Marks::default(); images.len()];
    for quarter in 0..4 {
        let key = |index: usize| (images[index].fingerprint.hash >> (16 * quarter)) as u16;
        let mut order: Vec<(u16, u32, usize)> = distinct
            .iter()
            .map(|(index, sum)| (key(*index), *sum, *index))
            .collect();
        order.sort_unstable();
        for (place, (quarter, sum, one)) in order.iter().enumerate() {
            let neighbours = order[place + 1..].iter().take(NEIGHBOURS);
            let alike = neighbours
                .take_while(|(key, other, _)| key == quarter && other - sum <= Fingerprint::MAX_DISTANCE);
            for (_, _, other) in alike {
                if are_alike(images[*one].fingerprint, images[*other].fingerprint) {
                    mark(&mut marks, images, *one, *other);
                }
            }
        }
    }
    marks
}

fn are_alike(one: &Fingerprint, other: &Fingerprint) -> bool {
    (one.hash ^ other.hash).count_ones() <= MAX_DISTANCE_BITS
        && one.distance(other) <= one.tolerance().min(other.tolerance())
}

fn mark(marks: &mut [Marks], images: &[HashedImage<'_>], one: usize, other: usize) {
    for index in [one, other] {
        let marks = &mut marks[index];
        marks.near_duplicate = true;
        marks.near_leak |= images[one].split != images[other].split;
        marks.near_contradictory_label |= images[one].labels != images[other].labels;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        domain::{
            models::preprocessing::Interpolation,
            random::{Draws, Stream},
        },
        worker::pixels::{self, Image},
    };

    /// Blocks of colours that no other number produces.
    fn image(number: u64, side: u32) -> Image {
        let mut draws = Draws::at(number, Stream::SampleDataset, 0, 0);
        let rgb = (0..5 * 5 * 3).map(|_| draws.below(256) as u8).collect();
        let blocks = Image {
            width: 5,
            height: 5,
            rgb,
        };
        pixels::resize(&blocks, side, side, Interpolation::Bilinear)
    }

    fn hashed<'a>(
        fingerprint: &'a Fingerprint,
        sha256: &'a str,
        labels: &'a [u32],
        split: Split,
    ) -> HashedImage<'a> {
        HashedImage {
            fingerprint,
            sha256,
            labels,
            split,
        }
    }

    #[test]
    fn the_same_image_in_another_size_is_found_and_others_are_not() {
        let [large, small, other] =
            [(1, 200), (1, 90), (2, 200)].map(|(n, side)| Fingerprint::of(&image(n, side)));
        let marks = marks(&[
            hashed(&large, "a", &[0], Split::Train),
            hashed(&other, "b", &[0], Split::Train),
            hashed(&small, "c", &[1], Split::Val),
            hashed(&large, "a", &[0], Split::Train),
        ]);
        let codes: Vec<Vec<_>> = marks.iter().map(|marks| marks.codes().collect()).collect();
        let all = ["near_duplicate", "near_leak", "near_contradictory_label"];
        assert_eq!((&codes[0][..], &codes[2][..]), (&all[..], &all[..]));
        assert!(codes[1].is_empty());
        assert!(codes[3].is_empty(), "exact twins are not told of again");
    }

    #[test]
    fn different_images_are_not_taken_for_each_other() {
        let prints: Vec<_> = (0..5000)
            .map(|number| Fingerprint::of(&image(number, 32)))
            .collect();
        let names: Vec<_> = (0..5000).map(|number: u32| number.to_string()).collect();
        let images: Vec<_> = prints
            .iter()
            .zip(&names)
            .map(|(print, name)| hashed(print, name, &[0], Split::Train))
            .collect();
        assert_eq!(
            marks(&images).iter().filter(|marks| marks.near_duplicate).count(),
            0
        );
    }

    #[test]
    fn a_hundred_thousand_that_are_all_alike_take_seconds() {
        let flat: Vec<_> = (0..=255u8)
            .map(|level| {
                let rgb = vec![level; 12];
                Fingerprint::of(&Image {
                    width: 2,
                    height: 2,
                    rgb,
                })
            })
            .collect();
        let names: Vec<_> = (0..100_000).map(|number: u32| number.to_string()).collect();
        let images: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(number, name)| hashed(&flat[number % 256], name, &[0], Split::Train))
            .collect();
        let begun = Instant::now();
        let found = marks(&images);
        assert!(found.iter().all(|marks| marks.near_duplicate));
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
