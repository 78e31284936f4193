//! What holds for every archive, whatever its folders are called.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn plan(paths: &[Vec<String>]) -> Plan {
    let mut tree = Tree::default();
    for path in paths {
        tree.add_image(path);
    }
    Plan::of(&tree, &Chosen::default())
}

/// Folders that mean something beside some that do not.
fn folder() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("train".to_owned()),
        Just("VAL".to_owned()),
        Just("test".to_owned()),
        Just("images".to_owned()),
        "[a-d]{1,2}",
        "(yes|no|1|10|2|caf\u{e9}|cafe\u{301}|two words)",
    ]
}

fn archive() -> impl Strategy<Value = Vec<Vec<String>>> {
    let path = prop::collection::vec(folder(), 0..4);
    prop::collection::vec(path, 1..60).prop_map(|folders| {
        let named = |(number, mut path): (usize, Vec<String>)| {
            path.push(format!("{number}.png"));
            path
        };
        folders.into_iter().enumerate().map(named).collect()
    })
}

/// Class folders as people make them, with or without splits; names as they come.
fn labelled() -> impl Strategy<Value = (Vec<Vec<String>>, BTreeSet<String>)> {
    let classes = prop::collection::btree_set("[b-y][a-z0-9 ]{2,9}[0-9]", 2..6);
    let splits = prop::sample::subsequence(vec!["train", "val", "test"], 0..=3);
    (classes, splits, any::<bool>()).prop_map(|(classes, splits, class_first)| {
        let mut paths = Vec::new();
        // One split alone may be a folder around everything; that is another test's.
        let splits = if splits.len() < 2 || splits[0] != "train" {
            vec![]
        } else {
            splits
        };
        for class in &classes {
            for number in 0..3 {
                let file = format!("{number}.png");
                match splits.as_slice() {
                    [] => paths.push(vec![class.clone(), file]),
                    splits => paths.extend(splits.iter().map(|split| {
                        let split = (*split).to_owned();
                        match class_first {
                            true => vec![class.clone(), split, file.clone()],
                            false => vec![split, class.clone(), file.clone()],
                        }
                    })),
                }
            }
        }
        (paths, classes)
    })
}

proptest! {
    #[test]
    fn every_image_has_one_place_or_one_reason(paths in archive()) {
        let plan = plan(&paths);
        for path in &paths {
            let place = plan.place(path);
            prop_assert_eq!(&place, &plan.place(path));
            if let Ok(place) = place {
                prop_assert_eq!(place.class.is_some(), plan.has_classes());
                if let Some(class) = place.class {
                    prop_assert!(path.iter().any(|folder| class_name(folder) == class));
                }
            }
        }
        // A plan that throws every image away would be none.
        prop_assert!(paths.iter().any(|path| plan.place(path).is_ok()));
    }

    #[test]
    fn the_order_of_the_archive_changes_nothing(paths in archive(), seed in any::<u64>()) {
        let mut shuffled = paths.clone();
        crate::domain::random::Draws::at(seed, crate::domain::random::Stream::Shuffle, 0, 0).shuffle(&mut shuffled);
        prop_assert_eq!(plan(&paths), plan(&shuffled));
    }

    #[test]
    fn class_folders_are_the_classes((paths, classes) in labelled()) {
        let plan = plan(&paths);
        let placed: Result<Vec<_>, _> = paths.iter().map(|path| plan.place(path)).collect();
        let found: BTreeSet<String> = placed.unwrap().into_iter().filter_map(|place| place.class).collect();
        prop_assert_eq!(found, classes);
    }

    #[test]
    fn wrapping_folders_change_no_place((paths, _) in labelled(), wrapping in prop::collection::vec("W[a-z]{3}", 1..4)) {
        let wrapped: Vec<Vec<String>> = paths.iter().map(|path| [&wrapping[..], path].concat()).collect();
        let (bare, deep) = (plan(&paths), plan(&wrapped));
        prop_assert_eq!(deep.layout(), dataset::Layout::Wrapped);
        for (path, wrapped) in paths.iter().zip(&wrapped) {
            prop_assert_eq!(bare.place(path), deep.place(wrapped));
        }
    }
}
