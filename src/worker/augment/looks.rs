//! Which view of an image is used in which epoch: a new one each time, one of a fixed number, or just a flip.
//!
//! The frozen layers' outputs for a view can be cached as long as the same view comes again.

use std::fmt;

use super::Flips;
use crate::domain::{
    random::{Draws, Stream},
    spec::Augment,
};

/// A view of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// As in prediction, possibly flipped.
    Flipped(Flips),
    /// With all augmentations drawn for this number: the epoch, or the view.
    Drawn(u32),
}

/// Stable: keys of cached activations depend on it.
impl fmt::Display for View {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            View::Flipped(Flips { horizontal, vertical }) => write!(out, "flipped {horizontal} {vertical}"),
            View::Drawn(number) => write!(out, "drawn {number}"),
        }
    }
}

impl View {
    /// As in prediction.
    pub const PLAIN: Self = View::Flipped(Flips::NONE);
}

/// The views of a job's training images.
#[derive(Clone, Debug)]
pub struct Views {
    seed: u64,
    augment: Augment,
}

impl Views {
    pub fn new(augment: &Augment, seed: u64) -> Self {
        Self {
            seed,
            augment: augment.clone(),
        }
    }

    /// The view of an image in an epoch. `id` is its id in the manifest.
    pub fn at(&self, epoch: u32, id: u32) -> View {
        let number = match self.augment.views {
            Some(views) => epoch % views,
            None => epoch,
        };
        if self.augment.has_endless_views() {
            return View::Drawn(number);
        }
        let mut draws = Draws::at(self.seed, Stream::Augment, u64::from(number), u64::from(id));
        View::Flipped(Flips::draw(&self.augment, &mut draws))
    }

    /// Every possible view of an image; none where each epoch has a new one.
    pub fn all(&self) -> Option<Vec<View>> {
        if self.augment.has_endless_views() {
            return Some((0..self.augment.views?).map(View::Drawn).collect());
        }
        Some(Flips::all(&self.augment).into_iter().map(View::Flipped).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views(augment: Augment) -> Views {
        Views::new(&augment, 5)
    }

    #[test]
    fn each_epoch_draws_its_own_mirrors() {
        let views = views(Augment {
            horizontal_flip: true,
            ..Augment::default()
        });
        let mirrored = |epoch| -> Vec<u32> {
            (0..200)
                .filter(|&id| views.at(epoch, id) != View::PLAIN)
                .collect()
        };
        assert_eq!(mirrored(1), mirrored(1));
        assert_ne!(mirrored(1), mirrored(2));
        assert!((70..130).contains(&mirrored(1).len()), "{}", mirrored(1).len());
        assert_eq!(views.all().unwrap().len(), 2);
    }

    #[test]
    fn views_come_again_and_without_them_each_epoch_is_new() {
        let mut augment = Augment {
            color_jitter: 0.4,
            ..Augment::default()
        };
        assert_eq!(views(augment.clone()).all(), None);
        assert_ne!(views(augment.clone()).at(1, 7), views(augment.clone()).at(4, 7));
        augment.views = Some(3);
        let views = views(augment);
        assert_eq!(views.at(1, 7), views.at(4, 7));
        let all = views.all().unwrap();
        assert_eq!(all.len(), 3);
        assert!((1..10).all(|epoch| all.contains(&views.at(epoch, 7))));
    }

    #[test]
    fn without_augmentation_there_is_one_look() {
        let views = views(Augment::default());
        assert_eq!(views.all(), Some(vec![View::PLAIN]));
        assert_eq!(views.at(3, 3), View::PLAIN);
    }
}
