//! Mixing the images of a batch, and their labels: `augment::Mix` applied to tensors.
//!
//! Each image's partner is the previous one in the batch, that of the first is the last.

use tch::{Kind, Tensor};

use crate::worker::augment::Mix;

/// Mixes images `[N, H, W, 3]`; blended ones become 32-bit floats on the same scale, others keep their type.
pub fn mixed(images: &Tensor, mix: &Mix) -> Tensor {
    let partners = of_partners(images);
    let Some(region) = mix.region else {
        let (own, partners) = (images.to_kind(Kind::Float), partners.to_kind(Kind::Float));
        return own * mix.own + partners * (1.0 - mix.own);
    };
    let part = |batch: &Tensor| {
        let rows = batch.narrow(1, region.top.into(), region.height.into());
        rows.narrow(2, region.left.into(), region.width.into())
    };
    let pasted = images.copy();
    part(&pasted).copy_(&part(&partners));
    pasted
}

/// The labels of a batch.
pub struct Labels {
    /// `[N]`, 64-bit integers.
    pub own: Tensor,
    /// The partners' labels, and the weight of the image's own label.
    partner: Option<(Tensor, f64)>,
}

impl Labels {
    /// `own`: `[N]`, 64-bit integers; `mix`: how the images were mixed.
    pub fn new(own: Tensor, mix: Option<&Mix>) -> Self {
        Self {
            partner: mix.map(|mix| (of_partners(&own), mix.own)),
            own,
        }
    }

    /// Those of some of the images.
    pub fn narrow(&self, start: i64, length: i64) -> Self {
        let partner = self.partner.as_ref();
        Self {
            own: self.own.narrow(0, start, length),
            partner: partner.map(|(labels, share)| (labels.narrow(0, start, length), *share)),
        }
    }

    /// A batch's loss, given the loss for one label per image: mixed in the same proportion as the images (Zhang et al. 2018).
    pub fn loss(&self, of: impl Fn(&Tensor) -> Tensor) -> Tensor {
        match &self.partner {
            None => of(&self.own),
            Some((partner, share)) => of(&self.own) * *share + of(partner) * (1.0 - share),
        }
    }

    /// The label with the larger weight in each image: predicting it counts as a hit.
    pub fn predominant(&self) -> &Tensor {
        match &self.partner {
            Some((partner, share)) if *share < 0.5 => partner,
            _ => &self.own,
        }
    }
}

fn of_partners(batch: &Tensor) -> Tensor {
    batch.roll([1], [0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::augment::Region;

    /// Three images of 4 x 4 pixels whose values are 0, 100 and 200.
    fn images() -> Tensor {
        Tensor::from_slice(&[0u8, 100, 200])
            .view([3, 1, 1, 1])
            .expand([3, 4, 4, 3], false)
    }

    #[test]
    fn blended_images_have_their_shares_of_both() {
        let mix = Mix {
            own: 0.75,
            region: None,
        };
        let blended = mixed(&images(), &mix);
        let value = |image: i64| blended.double_value(&[image, 2, 1, 0]);
        assert_eq!([value(0), value(1), value(2)], [50.0, 75.0, 175.0]);
    }

    #[test]
    fn a_pasted_region_is_the_partner_s_and_the_rest_stays() {
        let region = Region {
            left: 1,
            top: 2,
            width: 3,
            height: 1,
        };
        let mix = Mix {
            own: 1.0 - 3.0 / 16.0,
            region: Some(region),
        };
        let pasted = mixed(&images(), &mix);
        assert_eq!(pasted.kind(), Kind::Uint8);
        let sums = pasted
            .to_kind(Kind::Int64)
            .sum_dim_intlist([1, 2, 3].as_slice(), false, Kind::Int64);
        assert_eq!(
            Vec::<i64>::try_from(sums).unwrap(),
            [3 * 3 * 200, 3 * 13 * 100, 3 * (13 * 200 + 3 * 100)]
        );
        assert_eq!(pasted.int64_value(&[0, 2, 0, 0]), 0);
        assert_eq!(pasted.int64_value(&[0, 2, 1, 0]), 200);
    }

    #[test]
    fn labels_are_mixed_as_the_images_are() {
        let own = Tensor::from_slice(&[0i64, 1, 2]);
        let mix = Mix {
            own: 0.25,
            region: None,
        };
        let labels = Labels::new(own.shallow_clone(), Some(&mix));
        let partner = Tensor::from_slice(&[2i64, 0, 1]);
        assert_eq!(labels.predominant(), &partner);
        let logits = Tensor::from_slice2(&[[3.0f32, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 0.5]]);
        let loss = |labels: &Tensor| logits.cross_entropy_for_logits(labels);
        let expected = loss(&own).double_value(&[]) * 0.25 + loss(&partner).double_value(&[]) * 0.75;
        assert!((labels.loss(loss).double_value(&[]) - expected).abs() < 1e-6);
        let plain = Labels::new(own.shallow_clone(), None);
        assert_eq!(plain.predominant(), &own);
        assert_eq!(plain.loss(loss), loss(&own));
    }
}
