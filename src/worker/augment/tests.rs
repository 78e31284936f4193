use super::*;
use crate::domain::spec::RandAugment;

fn packed(width: u32, height: u32) -> Image {
    let mut draws = Draws::at(9, Stream::SampleDataset, 0, u64::from(width));
    let values = |at: u32| [at / 3, at / 5, at / 7].map(|value| (value % 200) as u8);
    let rgb = (0..width * height)
        .flat_map(values)
        .map(|value| value + draws.below(50) as u8)
        .collect();
    Image { width, height, rgb }
}

fn everything() -> Augment {
    Augment {
        horizontal_flip: true,
        vertical_flip: true,
        rotation_degrees: 20.0,
        random_resized_crop: Some([0.3, 1.0]),
        color_jitter: 0.4,
        hue_jitter: 0.1,
        rand_augment: Some(RandAugment::default()),
        random_erasing: 0.5,
        ..Augment::default()
    }
}

fn augmentation(spec: &Augment, seed: u64) -> Augmentation {
    Augmentation::new(spec, seed, &Preprocessing::for_size(56))
}

#[test]
fn the_same_seed_number_and_image_give_the_same_bytes_and_others_other_ones() {
    let image = packed(90, 64);
    let drawn =
        |seed, number, id| augmentation(&everything(), seed).apply(image.view(), id, View::Drawn(number));
    let one = drawn(1, 2, 3);
    assert_eq!((one.width, one.height), (56, 56));
    assert_eq!(one, drawn(1, 2, 3));
    for other in [drawn(2, 2, 3), drawn(1, 3, 3), drawn(1, 2, 4)] {
        assert_ne!(one, other);
    }
}

#[test]
fn at_no_strength_an_image_is_as_prediction_sees_it() {
    let image = packed(90, 64);
    let recipe = Preprocessing::for_size(56);
    let plain = pixels::prepare_from_pack(&image, &recipe);
    let weakest = Augment {
        rand_augment: Some(RandAugment {
            num_ops: 0,
            magnitude: 9,
        }),
        ..Augment::default()
    };
    for number in 0..20 {
        let drawn = augmentation(&weakest, 1).apply(image.view(), 5, View::Drawn(number));
        assert_eq!(drawn, plain);
    }
    assert_eq!(
        augmentation(&everything(), 1).apply(image.view(), 5, View::PLAIN),
        plain
    );
}

#[test]
fn switching_one_change_on_leaves_the_draws_of_the_others() {
    let image = packed(90, 64);
    let cropped = Augment {
        random_resized_crop: Some([0.3, 0.6]),
        ..Augment::default()
    };
    let erased_too = Augment {
        random_erasing: 1.0,
        ..cropped.clone()
    };
    let [plain, erased] =
        [cropped, erased_too].map(|spec| augmentation(&spec, 1).apply(image.view(), 5, View::Drawn(1)));
    let same = plain.rgb.iter().zip(&erased.rgb).filter(|(a, b)| a == b).count();
    assert!(same * 2 > plain.rgb.len() && same < plain.rgb.len());
}
