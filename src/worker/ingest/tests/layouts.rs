use super::*;

fn at(paths: &[&str]) -> Vec<File> {
    (1..)
        .zip(paths)
        .map(|(number, path)| File::new(path, jpeg(number)))
        .collect()
}

#[test]
fn splits_are_kept_and_classes_sorted() {
    let run = ingest(&zip(&at(&[
        "train/bees/1.jpg",
        "train/ants/2.jpg",
        "train/ants/3.jpg",
        "Validation/bees/4.jpg",
        "Validation/ants/5.jpg",
        "test/bees/6.jpg",
        "test/ants/7.jpg",
    ])));
    assert_eq!(run.ingested().layout, Layout::Splits);
    assert_eq!(run.classes(), ["ants:4", "bees:3"]);
    assert_eq!(run.splits(), [3, 2, 2]);
    assert!(run.ingested().report.warnings.is_empty());
}

#[test]
fn flat_classes_all_train() {
    let run = ingest(&zip(&ants_and_bees()));
    assert_eq!(run.ingested().layout, Layout::Flat);
    assert_eq!(run.classes(), ["ants:2", "bees:2"]);
    assert_eq!(run.splits(), [4, 0, 0]);
}

#[test]
fn three_wrapping_folders_are_peeled_and_deeper_images_belong_to_their_class() {
    let mut files = at(&["x/y/z/ants/1.jpg", "x/y/z/ants/near/2.jpg", "x/y/z/bees/3.jpg"]);
    files.push(File::new("x/", []).mode(0o040_755));
    files.push(File::new("x/y/z/wasps/", []).mode(0o040_755));
    let run = ingest(&zip(&files));
    assert_eq!(run.ingested().layout, Layout::Wrapped);
    assert_eq!(run.classes(), ["ants:2", "bees:1"]);
    assert_eq!(run.warning("empty_class").examples, ["x/y/z/wasps"]);
    assert_eq!(run.report().len(), 3, "folders are no entries of the report");
}

#[test]
fn images_without_classes_are_an_unlabelled_dataset() {
    let run = ingest(&zip(&at(&["images/1.jpg", "images/2.jpg"])));
    assert_eq!(run.ingested().layout, Layout::Unlabelled);
    assert!(run.ingested().classes.is_empty());
    assert!(run.manifest().iter().all(|image| image.class.is_none()));
    assert_eq!(run.splits(), [2, 0, 0]);
}

#[test]
fn a_single_class_is_kept_and_said() {
    let run = ingest(&zip(&at(&["cats/1.jpg", "cats/2.jpg"])));
    assert_eq!(run.classes(), ["cats:2"]);
    assert_eq!(run.warning("one_class").examples, ["cats"]);
}

#[test]
fn tar_and_tar_gz_hold_the_same_dataset_as_zip() {
    let files = ants_and_bees();
    let plain = tar(&files);
    let manifests: Vec<_> = [zip(&files), plain.clone(), gzip(&plain)]
        .iter()
        .map(|archive| ingest(archive).manifest())
        .collect();
    assert_eq!(manifests[0].len(), 4);
    assert_eq!(manifests[0], manifests[1]);
    assert_eq!(manifests[0], manifests[2]);
}

#[test]
fn a_tar_gz_of_two_members_is_read_to_its_end() {
    let plain = tar(&ants_and_bees());
    // In the middle of a file, where nothing but the next member goes on with it.
    let (first, second) = plain.split_at(plain.len() / 2 + 100);
    let run = ingest(&[gzip(first), gzip(second)].concat());
    assert_eq!(run.classes(), ["ants:2", "bees:2"]);
}

#[test]
fn long_tar_paths_and_leading_dots_are_ordinary() {
    let mut builder = ::tar::Builder::new(Vec::new());
    let long = format!("./set/{}/{}.jpg", "a".repeat(150), "b".repeat(90));
    for (number, path) in [(1, long.as_str()), (2, "./set/bees/1.jpg")] {
        let data = jpeg(number);
        let mut header = ::tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append_data(&mut header, path, data.as_slice()).unwrap();
    }
    let run = ingest(&builder.into_inner().unwrap());
    assert_eq!(run.ingested().layout, Layout::Wrapped);
    assert_eq!(
        run.classes(),
        [format!("{}:1", "a".repeat(150)), "bees:1".to_owned()]
    );
}

#[test]
fn names_of_old_windows_programs_are_read() {
    let run = ingest(&zip(&at(&[
        "train\\ants\\1.jpg",
        "train\\bees\\2.jpg",
        "val\\ants\\3.jpg",
    ])));
    assert_eq!(run.ingested().layout, Layout::Splits);
    assert_eq!(run.classes(), ["ants:2", "bees:1"]);
    assert_eq!(run.warning("missing_class_in_split").examples, ["bees"]);
}

#[test]
fn a_class_without_training_images_is_warned_of() {
    let run = ingest(&zip(&at(&[
        "train/ants/1.jpg",
        "val/ants/2.jpg",
        "val/bees/3.jpg",
    ])));
    let warning = run.warning("unknown_class_in_split");
    assert!(
        warning.message.contains("has no training images"),
        "{}",
        warning.message
    );
    assert_eq!(warning.examples, ["bees"]);
}
