use super::*;
use crate::domain::datasets::dataset::Layout;

fn parts(path: &str) -> Vec<String> {
    path.split('/').map(str::to_owned).collect()
}

fn plan(paths: &[&str]) -> Plan {
    let mut tree = Tree::default();
    for path in paths {
        tree.add_image(&parts(path));
    }
    Plan::of(&tree, &Chosen::default())
}

/// Each path with its place, `split/class`, or why it has none.
fn places(paths: &[&str]) -> (Layout, Vec<String>) {
    let plan = plan(paths);
    let places = paths.iter().map(|path| match plan.place(&parts(path)) {
        Ok(place) => {
            let split = format!("{:?}", place.split).to_lowercase();
            format!("{split}/{}", place.class.unwrap_or("-".into()))
        }
        Err(unplaced) => format!("{unplaced:?}"),
    });
    (plan.layout(), places.collect())
}

fn check(layout: Layout, expected: &[(&str, &str)]) {
    let (paths, wanted): (Vec<_>, Vec<_>) = expected.iter().copied().unzip();
    let (found, places) = places(&paths);
    assert_eq!(found, layout, "{paths:?}");
    assert_eq!(places, wanted, "{paths:?}");
}

#[test]
fn splits_in_any_spelling() {
    check(
        Layout::Splits,
        &[
            ("train/ants/1.jpg", "train/ants"),
            ("Training/bees/1.jpg", "train/bees"),
            ("VAL/ants/1.jpg", "val/ants"),
            ("valid/bees/1.jpg", "val/bees"),
            ("validation/bees/2.jpg", "val/bees"),
            ("test/ants/1.jpg", "test/ants"),
            ("Testing/ants/1.jpg", "test/ants"),
        ],
    );
}

#[test]
fn classes_alone_and_what_lies_deeper_in_them() {
    check(
        Layout::Flat,
        &[
            ("ants/1.jpg", "train/ants"),
            ("ants/near/macro/2.jpg", "train/ants"),
            ("bees/1.jpg", "train/bees"),
        ],
    );
}

#[test]
fn wrapping_folders_are_peeled_at_any_depth() {
    check(
        Layout::Wrapped,
        &[
            ("a/b/c/ants/1.jpg", "train/ants"),
            ("a/b/c/bees/1.jpg", "train/bees"),
        ],
    );
    check(
        Layout::Wrapped,
        &[
            ("a/b/c/train/ants/1.jpg", "train/ants"),
            ("a/b/c/train/bees/1.jpg", "train/bees"),
            ("a/b/c/val/bees/1.jpg", "val/bees"),
        ],
    );
    check(
        Layout::Wrapped,
        &[
            ("test/train/ants/1.jpg", "train/ants"),
            ("test/train/bees/1.jpg", "train/bees"),
            ("test/val/ants/1.jpg", "val/ants"),
        ],
    );
    check(
        Layout::Wrapped,
        &[
            ("images/ants/1.jpg", "train/ants"),
            ("images/bees/1.jpg", "train/bees"),
        ],
    );
}

#[test]
fn images_without_class_folders_are_unlabelled() {
    check(Layout::Unlabelled, &[("1.jpg", "train/-"), ("2.jpg", "train/-")]);
    check(
        Layout::Unlabelled,
        &[("images/1.jpg", "train/-"), ("images/2.jpg", "train/-")],
    );
    check(
        Layout::Unlabelled,
        &[("w/Images/1.jpg", "train/-"), ("w/Images/2.jpg", "train/-")],
    );
    check(
        Layout::Unlabelled,
        &[("train/1.jpg", "train/-"), ("test/2.jpg", "test/-")],
    );
    check(
        Layout::Unlabelled,
        &[("train/images/1.jpg", "train/-"), ("test/images/2.jpg", "test/-")],
    );
    check(
        Layout::Unlabelled,
        &[
            ("1.jpg", "train/-"),
            ("2.jpg", "train/-"),
            ("more/3.jpg", "train/-"),
        ],
    );
}

#[test]
fn one_named_folder_is_one_class() {
    check(
        Layout::Flat,
        &[("cats/1.jpg", "train/cats"), ("cats/2.jpg", "train/cats")],
    );
    check(
        Layout::Splits,
        &[
            ("train/cats/1.jpg", "train/cats"),
            ("train/cats/2.jpg", "train/cats"),
        ],
    );
}

#[test]
fn a_class_may_be_called_train() {
    check(
        Layout::Flat,
        &[
            ("bus/1.jpg", "train/bus"),
            ("car/1.jpg", "train/car"),
            ("train/1.jpg", "train/train"),
        ],
    );
}

#[test]
fn what_lies_beside_has_no_place() {
    let mut paths = vec![("logo.png", "OutsideSplits"), ("figures/a.png", "OutsideSplits")];
    paths.extend([("train/ants/1.jpg", "train/ants"); 15]);
    paths.extend([("train/stray.jpg", "NoClass"), ("val/bees/1.jpg", "val/bees")]);
    check(Layout::Splits, &paths);
    let mut paths = vec![("logo.png", "NoClass")];
    paths.extend([("set/ants/1.jpg", "train/ants"); 10]);
    paths.extend([("set/bees/1.jpg", "train/bees"), ("set/cover.jpg", "NoClass")]);
    check(Layout::Wrapped, &paths);
    check(
        Layout::Splits,
        &[
            ("train/ants/1.jpg", "train/ants"),
            ("train/bees/1.jpg", "train/bees"),
            ("test/1.jpg", "NoClass"),
        ],
    );
}

#[test]
fn class_folders_are_known_even_when_empty() {
    let plan = plan(&["w/train/ants/1.jpg", "w/train/bees/1.jpg", "w/val/ants/1.jpg"]);
    let is_class = |path| plan.is_class_folder(&parts(path));
    assert!(is_class("w/train/wasps"));
    assert!(!is_class("w/train"));
    assert!(!is_class("w/docs/wasps"));
    assert!(!is_class("w/train/wasps/near"));
}

#[test]
fn composed_and_decomposed_names_are_one_class() {
    check(
        Layout::Splits,
        &[
            ("train/caf\u{e9}/1.jpg", "train/café"),
            ("val/cafe\u{301}/1.jpg", "val/café"),
        ],
    );
}

#[test]
fn splits_in_other_words() {
    for (word, split) in [
        ("Train_Set", "train"),
        ("trainset", "train"),
        ("training data", "train"),
        ("DEV", "val"),
        ("eval", "val"),
        ("test-images", "test"),
    ] {
        let path = format!("{word}/ants/1.jpg");
        check(
            Layout::Splits,
            &[
                ("train/ants/1.jpg", "train/ants"),
                ("train/bees/1.jpg", "train/bees"),
                (&path, &format!("{split}/ants")),
            ],
        );
    }
}

#[test]
fn splits_inside_of_classes() {
    check(
        Layout::Splits,
        &[
            ("ants/train/1.jpg", "train/ants"),
            ("ants/val/near/2.jpg", "val/ants"),
            ("bees/train/3.jpg", "train/bees"),
            ("bees/Test/4.jpg", "test/bees"),
        ],
    );
    check(
        Layout::Wrapped,
        &[
            ("w/ants/train/1.jpg", "train/ants"),
            ("w/ants/val/2.jpg", "val/ants"),
            ("w/bees/train/3.jpg", "train/bees"),
        ],
    );
    // Folders of a class that happen to be called so in one class only.
    check(
        Layout::Flat,
        &[
            ("ants/train/1.jpg", "train/ants"),
            ("ants/val/2.jpg", "train/ants"),
            ("bees/near/3.jpg", "train/bees"),
        ],
    );
}

#[test]
fn folders_around_the_classes_of_a_split() {
    check(
        Layout::Splits,
        &[
            ("train/images/ants/1.jpg", "train/ants"),
            ("train/images/bees/2.jpg", "train/bees"),
            ("test/test/ants/3.jpg", "test/ants"),
            ("test/test/bees/4.jpg", "test/bees"),
            ("val/ants/5.jpg", "val/ants"),
            ("val/bees/6.jpg", "val/bees"),
        ],
    );
    let plan = plan(&["train/images/ants/1.jpg", "train/images/bees/2.jpg"]);
    assert!(plan.is_class_folder(&parts("train/images/wasps")));
    assert!(!plan.is_class_folder(&parts("train/wasps")));
}

#[test]
fn classes_that_sound_like_splits_without_one_for_training() {
    check(
        Layout::Flat,
        &[
            ("valid/1.jpg", "train/valid"),
            ("test/2.jpg", "train/test"),
            ("void/3.jpg", "train/void"),
        ],
    );
}
