//! What training sees is what prediction would see, and does not depend on which pack it comes from; previews show the same.

use serde_json::{Value, json};

use super::{
    drawn::{Drawn, resize_to, uninterrupted},
    failed,
};
use crate::{
    domain::{
        datasets::split::Split, jobs::job::FailureCode, models::preprocessing::UsedBits, spec::PreviewSpec,
    },
    files::digest,
    protocol::{KnownPack, ManifestImage, PACKS_FILE, PackSize, PreviewRun, RunResult, UsedPacks},
    worker::{
        augment::{Augmentation, View},
        pixels::{self, Image},
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
            stored::tests::flipping,
        },
        train::{preview, setup},
    },
};

const MANY: u64 = 1 << 20;

/// Every image of a dataset in some views, through the pack that a run of this spec takes.
fn augmented(set: &Drawn, spec: &Value, views: &[View]) -> Vec<Image> {
    let run = set.run(spec.clone());
    let (reporter, stop) = (Reporter::to(std::io::sink()), StopFlag::default());
    let context = setup::context(&run, &set.dir("run"), &reporter, &stop).unwrap();
    let augmentation = Augmentation::new(&run.spec.augment, run.spec.seed, &run.spec.preprocessing());
    let places = 0..set.images.len();
    let shown = places.flat_map(|image| views.iter().map(move |view| (image, *view)));
    shown
        .map(|(image, view)| {
            augmentation.apply(context.pack.image(image).unwrap().view(), image as u32, view)
        })
        .collect()
}

#[test]
fn from_whatever_pack_training_sees_what_prediction_sees() {
    // Larger and smaller than the drawn images, whose shorter side is 40 pixels.
    for size in [32u32, 64] {
        for spec in [
            json!({"image": {"size": size}}),
            json!({"image": {"size": size, "resize": "squash"}}),
            json!({"image": {"size": size, "resize": "letterbox"}, "augment": {"rotation_degrees": 10}}),
            json!({"image": {"size": size}, "augment": {"random_resized_crop": [0.2, 1]}}),
        ] {
            let sides = [size * 256 / 224, 24];
            let [own, made] = sides.map(|side| {
                let set = Drawn::new(6, side, |_| Split::Train);
                augmented(&set, &spec, &[View::PLAIN, View::Drawn(1)])
            });
            assert!(own == made, "{spec}");
            let set = Drawn::flat(6);
            let recipe = set.run(spec.clone()).spec.preprocessing();
            for (image, plain) in set.images.iter().zip(own.iter().step_by(2)) {
                let predicted = pixels::prepare(&set.file(image), &recipe, MANY).unwrap();
                assert!(*plain == predicted, "{spec}");
            }
        }
    }
}

/// What a run of this spec works with: its list of packs, and every image.
fn packed(set: &Drawn, known: &[KnownPack], dir: &RunDir) -> (UsedPacks, Vec<Image>) {
    let mut run = set.run(json!({"image": {"size": 32}}));
    run.common.dataset.packs = known.to_vec();
    let (reporter, stop) = (Reporter::to(std::io::sink()), StopFlag::default());
    let context = setup::context(&run, dir, &reporter, &stop).unwrap();
    let packs = std::fs::read(dir.file(PACKS_FILE)).unwrap();
    let images = (0..set.images.len())
        .filter_map(|image| context.pack.image(image).ok())
        .map(|image| Image {
            width: image.view().width,
            height: image.view().height,
            rgb: image.view().rgb.to_vec(),
        });
    (serde_json::from_slice(&packs).unwrap(), images.collect())
}

#[test]
fn what_one_run_packs_the_next_goes_on_with() {
    // Packed at a side that no job here asks for.
    let mut set = Drawn::new(9, 24, |id| if id < 6 { Split::Train } else { Split::Test });
    let dir = set.dir("first");
    let (first, images) = packed(&set, &[], &dir);
    assert_eq!((first.used.len(), images.len()), (0, 6));
    let made = first.made.unwrap();
    let known = KnownPack {
        path: dir.file(&made.file.file),
        sha256: made.file.sha256.clone(),
        size: made.size,
    };
    let (second, same) = packed(&set, std::slice::from_ref(&known), &set.dir("second"));
    assert_eq!((second.used, second.made), (vec![made.file.sha256.clone()], None));
    assert!(same == images);

    // Another size, a file that has gone and one that is cut short are passed over.
    let other_size = KnownPack {
        size: PackSize {
            side: made.size.side + 1,
            ..made.size
        },
        ..known.clone()
    };
    let gone = KnownPack {
        path: dir.file("gone"),
        ..known.clone()
    };
    let cut = KnownPack {
        path: dir.file("cut"),
        ..known.clone()
    };
    let bytes = std::fs::read(&known.path).unwrap();
    std::fs::write(&cut.path, &bytes[..bytes.len() - 1]).unwrap();
    let (third, same) = packed(&set, &[other_size, gone, cut], &set.dir("third"));
    assert_eq!(third.used, [""; 0]);
    assert_eq!(third.made.unwrap().file.sha256, made.file.sha256);
    assert!(same == images);

    // Only what is missing is decoded again: the same images in other parts.
    let lines = set.images.iter().map(|image| {
        let image = ManifestImage {
            split: Split::Train,
            ..image.clone()
        };
        serde_json::to_string(&image).unwrap() + "\n"
    });
    let lines: String = lines.collect();
    std::fs::write(&set.input.manifest, &lines).unwrap();
    set.input.manifest_sha256 = digest::of_bytes(lines.as_bytes());
    let (fourth, all) = packed(&set, &[known], &set.dir("fourth"));
    assert_eq!(fourth.used, [made.file.sha256]);
    let rest = fourth.made.unwrap();
    assert!(rest.file.bytes < made.file.bytes);
    assert_eq!(all.len(), 9);
    assert!(all[..6] == images);
}

#[test]
fn an_image_with_a_flipped_bit_is_made_again_and_its_pack_is_told() {
    let set = Drawn::new(9, 24, |_| Split::Train);
    let dir = set.dir("first");
    let (first, images) = packed(&set, &[], &dir);
    let made = first.made.unwrap();
    let known = KnownPack {
        path: dir.file(&made.file.file),
        sha256: made.file.sha256.clone(),
        size: made.size,
    };
    let (mut mended, mut anew) = (0, 0);
    flipping(&known.path, 20, || {
        let again = set.dir("again");
        let (packs, same) = packed(&set, std::slice::from_ref(&known), &again);
        assert!(same == images);
        // The list says so once the image was met.
        let packs_after: UsedPacks =
            serde_json::from_slice(&std::fs::read(again.file(PACKS_FILE)).unwrap()).unwrap();
        assert_eq!(packs_after.damaged, std::slice::from_ref(&known.sha256));
        match packs.made {
            None => mended += 1,
            Some(_) => anew += 1,
        }
    });
    assert!(
        mended > 0 && anew > 0,
        "of an image, and of the list of them: {mended} {anew}"
    );

    // The pack that came with the images, whose sums the manifest has.
    let set = Drawn::flat(9);
    let pack = set.input.segments[0].pack.clone();
    let (_, images) = packed(&set, &[], &set.dir("own"));
    flipping(&pack, 20, || {
        let again = set.dir("again");
        let (_, same) = packed(&set, &[], &again);
        assert!(same == images);
        let packs: UsedPacks =
            serde_json::from_slice(&std::fs::read(again.file(PACKS_FILE)).unwrap()).unwrap();
        assert_eq!(packs.damaged, [set.input.segments[0].pack_sha256.clone()]);
    });
    // Of before there were sums: it is passed over as a whole.
    let mut old = set;
    let lines = old.images.iter().map(|image| {
        let image = ManifestImage {
            pack_crc32: None,
            ..image.clone()
        };
        serde_json::to_string(&image).unwrap() + "\n"
    });
    let lines: String = lines.collect();
    assert!(!lines.contains("crc"));
    std::fs::write(&old.input.manifest, &lines).unwrap();
    old.input.manifest_sha256 = digest::of_bytes(lines.as_bytes());
    let (packs, same) = packed(&old, &[], &old.dir("sound"));
    assert!(same == images && packs.damaged.is_empty() && packs.made.is_none());
    flipping(&pack, 3, || {
        let (packs, same) = packed(&old, &[], &old.dir("again"));
        assert!(same == images && packs.damaged.len() == 1 && packs.made.is_some());
    });
}

#[test]
fn what_cannot_be_made_again_fails_the_run_and_says_what_it_is() {
    let set = Drawn::new(9, 24, |_| Split::Train);
    let originals = set.input.segments[0].images.clone();
    let run = set.run(json!({"image": {"size": 32}}));
    flipping(&originals, 5, || {
        let (code, message) = failed(uninterrupted(&run, &set.dir("run")).result);
        assert_eq!(code, FailureCode::DataDamaged);
        assert!(message.starts_with("the file of image "), "{message}");
    });
    flipping(&set.input.manifest, 5, || {
        let (code, message) = failed(uninterrupted(&run, &set.dir("run")).result);
        assert_eq!(code, FailureCode::DataDamaged);
        assert!(
            message.starts_with("the manifest of the dataset `drawn`"),
            "{message}"
        );
    });
    assert!(uninterrupted(&run, &set.dir("run")).result.is_ok());
}

fn sheet(set: &Drawn, dir: &RunDir, wish: Value) -> Image {
    let run = PreviewRun {
        hub: None,
        spec: PreviewSpec::parse(&wish, "drawn").unwrap(),
        dataset: set.input.clone(),
        threads: 2,
    };
    let reporter = Reporter::to(std::io::sink());
    match preview(&run, dir, &reporter, &StopFlag::default()).unwrap() {
        RunResult::Previewed { sheet } => pixels::decode(
            &std::fs::read(dir.file(&sheet.file)).unwrap(),
            MANY,
            UsedBits::ALL,
        )
        .unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A cell of a sheet of images of 32 pixels.
fn cell(sheet: &Image, row: u32, column: u32) -> Image {
    pixels::cut(sheet.view(), i64::from(column * 36), i64::from(row * 36), 32, 32)
}

#[test]
fn a_preview_shows_what_training_sees() {
    let set = Drawn::new(
        9,
        resize_to(),
        |id| if id < 3 { Split::Val } else { Split::Train },
    );
    let spec = json!({"image": {"size": 32}, "seed": 4, "augment":
        {"horizontal_flip": true, "rotation_degrees": 30, "color_jitter": 0.5, "random_resized_crop": [0.3, 1]}});
    let mut wish = spec.clone();
    (wish["images"], wish["views"]) = (json!(3), json!(2));
    let drawn = sheet(&set, &set.dir("preview"), wish.clone());
    assert_eq!((drawn.width, drawn.height), (3 * 36 - 4, 3 * 36 - 4));
    let expected = augmented(&set, &spec, &[View::PLAIN, View::Drawn(1), View::Drawn(2)]);
    // Of the six training images, which come after the first three, every second.
    for (row, image) in [3, 5, 7].into_iter().enumerate() {
        for column in 0..3 {
            assert_eq!(
                cell(&drawn, row as u32, column as u32),
                expected[image * 3 + column]
            );
        }
    }
    assert_eq!(sheet(&set, &set.dir("again"), wish.clone()), drawn);
    wish["seed"] = json!(5);
    assert_ne!(sheet(&set, &set.dir("other"), wish), drawn);
}

#[test]
fn a_preview_mixes_as_training_does() {
    let set = Drawn::flat(6);
    let wish = json!({"image": {"size": 32}, "images": 2, "views": 3, "augment": {"cutmix": 1}});
    let drawn = sheet(&set, &set.dir("preview"), wish);
    let plain = [cell(&drawn, 0, 0), cell(&drawn, 1, 0)];
    let mut pasted = 0;
    for column in 1..4 {
        let mixed = cell(&drawn, 0, column);
        let pixels = mixed
            .rgb
            .chunks_exact(3)
            .zip(plain[0].rgb.chunks_exact(3).zip(plain[1].rgb.chunks_exact(3)));
        for (pixel, (own, partner)) in pixels {
            assert!(pixel == own || pixel == partner, "a pixel is of neither image");
            pasted += usize::from(pixel != own);
        }
    }
    assert!(pasted > 0);
}
