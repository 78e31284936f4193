//! Random augmentation of training images, on bytes: how an image of the pack looks in an epoch.
//!
//! Called by the loader's threads and the preview. Everything is a function of (seed, epoch or view, image): no state, no order, no thread.
//! Reading order: `looks` (which view an image has when), `crop`, `flips`, `affine`, `rand_augment`, `colour`, `tone`, `blur`, `erasing` (the
//! pixels), `mixing` (what batches mix; the mixing itself is tensor arithmetic, in `train`).

mod affine;
mod blur;
mod colour;
mod crop;
mod erasing;
mod flips;
#[cfg(test)]
mod golden;
mod looks;
mod mixing;
mod rand_augment;
#[cfg(test)]
mod tests;
mod tone;

#[cfg(test)]
pub use self::mixing::Region;
pub use self::{
    flips::Flips,
    looks::{View, Views},
    mixing::{Mix, Mixes},
};
use crate::{
    domain::{
        models::preprocessing::Preprocessing,
        random::{Draws, Stream},
        spec::Augment,
    },
    worker::pixels::{self, Image, ImageView},
};

/// How the images of a job are preprocessed and augmented.
#[derive(Clone, Debug)]
pub struct Augmentation {
    spec: Augment,
    seed: u64,
    recipe: Preprocessing,
}

impl Augmentation {
    pub fn new(spec: &Augment, seed: u64, recipe: &Preprocessing) -> Self {
        Self {
            spec: spec.clone(),
            seed,
            recipe: recipe.clone(),
        }
    }

    pub fn recipe(&self) -> &Preprocessing {
        &self.recipe
    }

    /// From packed pixels to the `crop × crop` pixels of this view. `id` is the image's id in the manifest.
    pub fn apply(&self, packed: ImageView<'_>, id: u32, view: View) -> Image {
        match view {
            View::Flipped(flips) => {
                let mut image = pixels::prepare_from_pack(packed, &self.recipe);
                flips.turn(&mut image);
                image
            }
            View::Drawn(number) => {
                let draws = Draws::at(self.seed, Stream::Augment, u64::from(number), u64::from(id));
                self.drawn(packed, draws)
            }
        }
    }

    /// Each operation has its own random stream, so that enabling one does not change the others.
    fn drawn(&self, packed: ImageView<'_>, mut draws: Draws) -> Image {
        let spec = &self.spec;
        let flips = Flips::draw(spec, &mut draws);
        let [
            mut cropping,
            mut rotating,
            mut choosing,
            mut colouring,
            mut erasing,
            mut greying,
            mut blurring,
        ] = [(); 7].map(|()| draws.fork());
        let fill = self.recipe.mean_colour();
        let mut image = match spec.random_resized_crop {
            Some(scale) => crop::random_resized_crop(
                packed,
                scale,
                self.recipe.crop,
                self.recipe.interpolation,
                &mut cropping,
            ),
            None => pixels::prepare_from_pack(packed, &self.recipe),
        };
        flips.turn(&mut image);
        if spec.rotation_degrees > 0.0 {
            let degrees = rotating.between(-spec.rotation_degrees, spec.rotation_degrees);
            image = affine::rotate(&image, degrees, fill);
        }
        if let Some(list) = &spec.rand_augment {
            image = rand_augment::apply(image, list, fill, &mut choosing);
        }
        colour::jitter(&mut image, spec.color_jitter, spec.hue_jitter, &mut colouring);
        colour::lose(&mut image, spec.grayscale, &mut greying);
        blur::sometimes(&mut image, spec.blur, &mut blurring);
        erasing::erase(&mut image, spec.random_erasing, fill, &mut erasing);
        image
    }
}
