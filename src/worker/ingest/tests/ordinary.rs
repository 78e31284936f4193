//! Archives as people really pack them: what is certain is understood, and what is not is said, with another reading.

use super::*;
use crate::domain::datasets::reading::{ClassSource, SplitRole};

fn images(paths: &[&str]) -> Vec<File> {
    (1..)
        .zip(paths)
        .map(|(number, path)| File::new(path, jpeg(number)))
        .collect()
}

/// `count` images in each of these folders.
fn filled(folders: &[&str], count: usize) -> Vec<File> {
    let path = |(number, folder): (usize, &str)| format!("{folder}/{number}.jpg");
    let paths: Vec<String> = folders
        .iter()
        .flat_map(|folder| std::iter::repeat_n(*folder, count))
        .enumerate()
        .map(path)
        .collect();
    images(&paths.iter().map(String::as_str).collect::<Vec<_>>())
}

fn understood(files: &[File], options: &str) -> Run {
    ingest_as(&zip(files), serde_json::from_str(options).unwrap())
}

fn codes(run: &Run) -> Vec<&str> {
    run.ingested()
        .report
        .warnings
        .iter()
        .map(|warning| warning.code.as_str())
        .collect()
}

fn class_names(run: &Run) -> Vec<&str> {
    run.ingested()
        .classes
        .iter()
        .map(|class| class.name.as_str())
        .collect()
}

/// Classes of the readings that were not chosen.
fn other_classes(run: &Run) -> Vec<String> {
    run.ingested()
        .report
        .readings
        .iter()
        .map(|reading| reading.class_names.join(" "))
        .collect()
}

#[test]
fn splits_are_found_behind_other_words() {
    for folders in [
        [
            "seg_train/seg_train/a",
            "seg_train/seg_train/b",
            "seg_test/seg_test/a",
            "seg_test/seg_test/b",
        ],
        ["train2017/a", "train2017/b", "test2017/a", "test2017/b"],
        [
            "images_train/a",
            "images_train/b",
            "images_test/a",
            "images_test/b",
        ],
        [
            "x/flowers-train/a",
            "x/flowers-train/b",
            "x/flowers-test/a",
            "x/flowers-test/b",
        ],
        ["TrainImages/a", "TrainImages/b", "TestImages/a", "TestImages/b"],
        ["01_training/a", "01_training/b", "02_testing/a", "02_testing/b"],
        [
            "train (1)/train/a",
            "train (1)/train/b",
            "test (1)/test/a",
            "test (1)/test/b",
        ],
        [
            "train/images/a",
            "train/images/b",
            "test/images/a",
            "test/images/b",
        ],
    ] {
        let run = ingest(&zip(&filled(&folders, 2)));
        assert_eq!(class_names(&run), ["a", "b"], "{folders:?}");
        assert_eq!(run.splits(), [4, 0, 4], "{folders:?}");
    }
    // Beside them, images of something else.
    let mut files = filled(
        &[
            "seg_train/seg_train/a",
            "seg_train/seg_train/b",
            "seg_test/seg_test/a",
            "seg_test/seg_test/b",
        ],
        2,
    );
    files.push(File::new("seg_pred/seg_pred/x.jpg", jpeg(99)));
    let run = ingest(&zip(&files));
    assert_eq!(class_names(&run), ["a", "b"]);
    assert_eq!(
        run.warning("outside_splits").examples,
        ["seg_pred/seg_pred/x.jpg"]
    );
}

#[test]
fn folds_and_parts_are_one_whole() {
    for folders in [
        ["fold_1/a", "fold_1/b", "fold_2/a", "fold_2/b"],
        ["part1/a", "part1/b", "part2/a", "part2/b"],
        [
            "set/images_part_1/a",
            "set/images_part_1/b",
            "set/images_part_2/c",
            "set/images_part_2/d",
        ],
        ["1/a", "1/b", "2/a", "2/b"],
        ["batch-01/a", "batch-01/b", "batch-02/a", "batch-02/b"],
        ["x/Session 1/a", "x/Session 1/b", "x/Session 2/b", "x/Session 2/a"],
    ] {
        let run = ingest(&zip(&filled(&folders, 2)));
        let expected: &[&str] = if folders[2].ends_with('c') {
            &["a", "b", "c", "d"]
        } else {
            &["a", "b"]
        };
        assert_eq!(class_names(&run), expected, "{folders:?}");
        assert!(
            run.warning("folders_merged").message.contains("splits"),
            "{folders:?}"
        );
    }
    let run = understood(
        &filled(&["fold_1/a", "fold_1/b", "fold_2/a", "fold_2/b"], 2),
        r#"{"splits":{"fold_2":"val"}}"#,
    );
    assert_eq!((class_names(&run), run.splits()), (vec!["a", "b"], [4, 4, 0]));
    let folds = filled(
        &[
            "fold_1/train/a",
            "fold_1/train/b",
            "fold_1/val/a",
            "fold_2/train/a",
            "fold_2/train/b",
            "fold_2/val/b",
        ],
        2,
    );
    let run = ingest(&zip(&folds));
    assert_eq!((class_names(&run), run.splits()), (vec!["a", "b"], [4, 2, 0]));
    assert_eq!(run.warning("folds_with_splits").examples, ["fold_2"]);
    let run = understood(&folds, r#"{"splits":{"fold_1":"ignore"}}"#);
    assert_eq!((class_names(&run), run.splits()), (vec!["a", "b"], [4, 2, 0]));
    assert!(
        run.manifest()
            .iter()
            .all(|image| image.path.starts_with("fold_2/"))
    );
}

#[test]
fn folders_that_could_be_classes_on_two_levels_are_said_and_can_be_chosen() {
    for (folders, code) in [
        (
            [
                "poodle/indoor",
                "poodle/outdoor",
                "beagle/indoor",
                "beagle/outdoor",
            ],
            "repeated_folders",
        ),
        (
            ["siteA/cat", "siteA/dog", "siteB/cat", "siteB/dog"],
            "repeated_folders",
        ),
        (
            ["animals/cat", "animals/dog", "plants/rose", "plants/oak"],
            "nested_class_folders",
        ),
        (
            ["w/2021/cat", "w/2021/dog", "w/old/bird", "w/old/fish"],
            "nested_class_folders",
        ),
    ] {
        let files = filled(&folders, 2);
        let run = ingest(&zip(&files));
        assert!(codes(&run).contains(&code), "{folders:?}: {:?}", codes(&run));
        let reading = run.ingested().report.readings[0].clone();
        let again = understood(&files, &serde_json::to_string(&reading.options).unwrap());
        assert_eq!(class_names(&again), reading.class_names, "{folders:?}");
        assert_eq!(again.ingested().images, reading.images);
        assert_ne!(class_names(&again), class_names(&run));
    }
}

#[test]
fn a_folder_called_images_is_no_class() {
    let folders = ["t/train/n0/images", "t/train/n1/images"];
    let mut files = filled(&folders, 3);
    files.extend((0..4).map(|number| File::new(format!("t/val/images/v{number}.jpg"), jpeg(100 + number))));
    let annotated = |table: &str, text: &str| {
        let mut files = files.clone();
        files.push(File::new(table, text));
        ingest(&zip(&files))
    };
    for (table, text) in [
        (
            "t/val/val_annotations.txt",
            "v0.jpg\tn0\t0\t0\t9\t9\nv1.jpg\tn1\t0\t0\t9\t9\nv2.jpg\tn0\t0\t0\t9\t9\nv3.jpg\tn1\t0\t0\t9\t9\n",
        ),
        (
            "t/val.csv",
            "file,label\nv0.jpg,n0\nv1.jpg,n1\nv2.jpg,n0\nv3.jpg,n1\n",
        ),
        ("t/val/labels.txt", "v0.jpg n0\nv1.jpg n1\nv2.jpg n0\nv3.jpg n1\n"),
        (
            "t/val/labels.json",
            "{\"v0.jpg\":\"n0\",\"v1.jpg\":\"n1\",\"v2.jpg\":\"n0\",\"v3.jpg\":\"n1\"}",
        ),
    ] {
        let run = annotated(table, text);
        assert_eq!(run.classes(), ["n0:5", "n1:5"], "{table}");
        assert_eq!(run.splits(), [6, 4, 0], "{table}");
    }
    let run = ingest(&zip(&files));
    assert_eq!(
        (run.classes(), run.splits()),
        (vec!["n0:3".to_owned(), "n1:3".to_owned()], [6, 0, 0])
    );
    assert_eq!(run.warning("no_class").count, 4);
}

#[test]
fn a_form_for_a_competition_never_labels_anything() {
    let train = ["train/beet", "train/maize"];
    for (name, text) in [
        (
            "sample_submission.csv",
            "file,species\nx0.jpg,beet\nx1.jpg,beet\nx2.jpg,beet\nx3.jpg,beet\nx4.jpg,beet\n",
        ),
        (
            "SubmissionFormat.csv",
            "file,species\nx0.jpg,beet\nx1.jpg,maize\nx2.jpg,beet\nx3.jpg,beet\nx4.jpg,maize\n",
        ),
        ("test_answers.csv", "id,label\nx0,0\nx1,0\nx2,0\nx3,0\nx4,0\n"),
        (
            "sample_submission.csv",
            "id,beet,maize\nx0,0.5,0.5\nx1,0.5,0.5\nx2,0.5,0.5\nx3,0.5,0.5\nx4,0.5,0.5\n",
        ),
    ] {
        let mut files = filled(&train, 2);
        files.extend((0..5).map(|number| File::new(format!("test/x{number}.jpg"), jpeg(100 + number))));
        files.push(File::new(name, text));
        let run = ingest(&zip(&files));
        assert_eq!(run.classes(), ["beet:2", "maize:2"], "{name}");
        assert_eq!(run.warning("no_class").count, 5, "{name}");
    }
    let mut files = images(&[
        "train_images/a.jpg",
        "train_images/b.jpg",
        "train_images/c.jpg",
        "test_images/d.jpg",
        "test_images/e.jpg",
    ]);
    files.push(File::new("train.csv", "id_code,diagnosis\na,0\nb,1\nc,1\n"));
    files.push(File::new(
        "sample_submission.csv",
        "id_code,diagnosis\nd,0\ne,0\n",
    ));
    let run = ingest(&zip(&files));
    assert_eq!(
        (run.classes(), run.splits()),
        (vec!["0:1".to_owned(), "1:2".to_owned()], [3, 0, 0])
    );
    assert_eq!(
        run.warning("placeholder_labels").examples,
        ["sample_submission.csv"]
    );
    assert_eq!(run.warning("not_listed").count, 2);
}

#[test]
fn as_many_tables_as_there_are_class_folders() {
    let mut files = Vec::new();
    for class in 0..40_u8 {
        files.push(File::new(format!("Images/{class:05}/{class}_0.jpg"), jpeg(class)));
        files.push(File::new(
            format!("Images/{class:05}/GT-{class:05}.csv"),
            format!("Filename;Width;ClassId\n{class}_0.jpg;48;c{class}\n"),
        ));
    }
    let run = ingest(&zip(&files));
    assert_eq!(run.ingested().classes.len(), 40);
    assert_eq!(run.ingested().report.skipped, 0);
    assert_eq!(
        run.ingested().report.structure.as_ref().unwrap().manifests.len(),
        40
    );
}

#[test]
fn names_that_are_nearly_the_same_are_said() {
    let run = ingest(&zip(&filled(&["cat", "Cat", "cat ", "dog", "dog."], 2)));
    assert_eq!(run.classes(), ["Cat:2", "cat:4", "dog:2", "dog.:2"]);
    assert_eq!(run.warning("class_names_trimmed").examples, ["cat"]);
    let similar = run.warning("similar_class_names");
    assert_eq!(similar.examples, ["`Cat` and `cat`", "`dog` and `dog.`"]);
    for folders in [
        ["big dog", "big_dog"],
        ["big-dog", "Big Dog"],
        ["no_mask", "nomask"],
        ["Straße", "straße"],
    ] {
        let run = ingest(&zip(&filled(&folders, 2)));
        assert_eq!(run.warning("similar_class_names").count, 1, "{folders:?}");
    }
    assert!(!codes(&ingest(&zip(&filled(&["cat1", "cat2"], 2)))).contains(&"similar_class_names"));
    let run = ingest(&zip(&filled(&["trainA", "trainB", "testA", "testB"], 2)));
    assert_eq!(run.warning("class_names_like_splits").count, 4);
}

#[test]
fn masks_beside_images_are_left_out_and_said() {
    for paths in [
        [
            "benign/1.png",
            "benign/1_mask.png",
            "malignant/2.png",
            "malignant/2_mask.png",
        ],
        [
            "benign/images/1.png",
            "benign/masks/1.png",
            "malignant/images/2.png",
            "malignant/masks/2.png",
        ],
        [
            "images/benign/1.png",
            "masks/benign/1.png",
            "images/malignant/2.png",
            "masks/malignant/2.png",
        ],
        [
            "x/img/benign/1.jpg",
            "x/gt/benign/1.png",
            "x/img/malignant/2.jpg",
            "x/gt/malignant/2.png",
        ],
    ] {
        let files = images(&paths);
        let run = ingest(&zip(&files));
        assert_eq!(run.classes(), ["benign:1", "malignant:1"], "{paths:?}");
        assert_eq!(run.warning("masks").count, 2, "{paths:?}");
        let all = understood(&files, r#"{"masks":true}"#);
        assert_eq!(all.ingested().images, 4, "{paths:?}");
    }
    let run = ingest(&zip(&filled(&["images", "labels"], 2)));
    assert_eq!(run.ingested().layout, Layout::Unlabelled);
    assert!(codes(&run).contains(&"folders_not_classes"));
}

#[test]
fn classes_in_file_names_are_offered_and_never_assumed() {
    let files = images(&[
        "train/cat.1.jpg",
        "train/cat.2.jpg",
        "train/dog.1.jpg",
        "train/dog.2.jpg",
    ]);
    let run = ingest(&zip(&files));
    assert_eq!(run.ingested().layout, Layout::Unlabelled);
    assert_eq!(run.warning("classes_in_file_names").examples, ["cat", "dog"]);
    let offered = &run.ingested().report.readings[0].options;
    assert_eq!(offered.pattern.as_deref(), Some("{class}.{number}"));
    let chosen = understood(&files, &serde_json::to_string(offered).unwrap());
    assert_eq!(chosen.classes(), ["cat:2", "dog:2"]);
    assert_eq!(chosen.ingested().layout, Layout::FileNames);
}

#[test]
fn a_caller_chooses_table_columns_and_folders() {
    let mut files = filled(&["x/a", "x/b"], 2);
    files.push(File::new("meta.csv", "f;colour;shape\nx/a/0.jpg;red;round\nx/a/1.jpg;blue;square\nx/b/2.jpg;red;square\nx/b/3.jpg;blue;round\n"));
    let by_folder = ingest(&zip(&files));
    assert_eq!(class_names(&by_folder), ["a", "b"]);
    let table = understood(
        &files,
        r#"{"classes":"table","table":"meta.csv","label_column":"shape"}"#,
    );
    assert_eq!(table.classes(), ["round:2", "square:2"]);
    assert_eq!(
        table.ingested().report.reading.as_ref().unwrap().classes,
        Some(ClassSource::Table)
    );
    let none = understood(&files, r#"{"classes":"none","splits":{"b":"test"}}"#);
    assert_eq!(none.ingested().layout, Layout::Unlabelled);
    assert_eq!(none.splits(), [2, 0, 2]);
    assert_eq!(
        none.ingested().report.structure.as_ref().unwrap().split_folders[1].split,
        Split::Test
    );
    let refused = understood(&files, r#"{"classes":"table","table":"other.csv"}"#);
    let (refusal, _) = refused.rejected();
    assert_eq!(refusal.code, "no_such_table");
    assert!(refusal.message.contains("`meta.csv`"), "{}", refusal.message);
    let chosen = by_folder.ingested().report.reading.clone().unwrap();
    assert_eq!(
        (chosen.classes, chosen.splits),
        (Some(ClassSource::Folders), None)
    );
    let splits = ingest(&zip(&filled(&["train/a", "train/b", "val/a"], 1)));
    let chosen = splits.ingested().report.reading.clone().unwrap();
    assert_eq!(chosen.splits.unwrap()["val"], SplitRole::Val);
}

#[test]
fn a_reading_of_names_tells_what_would_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(
        &dir,
        &zip(&filled(&["train/a", "train/b", "val/a"], 2)),
        IngestLimits::DEFAULT,
        1,
    );
    spec.names_only = true;
    let result = run(
        &spec,
        &RunDir::new(dir.path()),
        &Reporter::to(std::io::sink()),
        &StopFlag::default(),
    );
    let RunResult::Understood(understood) = result.unwrap() else {
        panic!("not understood")
    };
    assert_eq!((understood.images, understood.classes.len()), (6, 2));
    assert_eq!(understood.classes[0].splits.unwrap().val, 2);
    assert_eq!(understood.examples[0].path, "train/a/0.jpg");
    assert!(!dir.path().join(MANIFEST_FILE).exists());
}

#[test]
fn what_is_read_again_gets_ids_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(&dir, &zip(&filled(&["a", "b"], 2)), IngestLimits::DEFAULT, 1);
    (spec.first_image, spec.segment) = (10, 3);
    run(
        &spec,
        &RunDir::new(dir.path()),
        &Reporter::to(std::io::sink()),
        &StopFlag::default(),
    )
    .unwrap();
    let images: Vec<ManifestImage> = lines(&dir.path().join(MANIFEST_FILE));
    let ids: Vec<_> = images.iter().map(|image| (image.id, image.segment)).collect();
    assert_eq!(ids, [(10, 3), (11, 3), (12, 3), (13, 3)]);
}

#[test]
fn label_files_that_are_not_read_are_named() {
    for (name, code) in [
        ("labels.xlsx", "labels_not_read"),
        ("a/labels.mat", "labels_not_read"),
        ("train.parquet", "labels_not_read"),
    ] {
        let mut files = images(&["images/1.jpg", "images/2.jpg"]);
        files.push(File::new(name, "x"));
        let run = ingest(&zip(&files));
        assert_eq!(run.warning(code).examples, [name]);
    }
    let mut files = images(&["images/1.jpg", "images/2.jpg"]);
    files.extend(["labels/1.txt", "labels/2.txt"].map(|name| File::new(name, "0 0.5 0.5 0.1 0.1\n")));
    assert_eq!(ingest(&zip(&files)).warning("annotations_not_read").count, 2);
    assert!(other_classes(&ingest(&zip(&files))).is_empty());
}

#[test]
fn what_is_told_of_a_reading_gives_the_same_again() {
    for folders in [
        &[
            "seg_train/seg_train/a",
            "seg_train/seg_train/b",
            "seg_test/seg_test/a",
        ][..],
        &["fold_1/a", "fold_1/b", "fold_2/a", "fold_2/b"],
        &[
            "fold_1/train/a",
            "fold_1/val/a",
            "fold_1/train/b",
            "fold_2/train/a",
            "fold_2/val/a",
            "fold_2/train/b",
        ],
        &["a/train", "a/val", "b/train", "b/val"],
        &["w/train/images/a", "w/train/images/b", "w/test/images/a"],
        &["x/a", "x/b/deep"],
        &["images"],
        &[
            "poodle/indoor",
            "poodle/outdoor",
            "beagle/indoor",
            "beagle/outdoor",
        ],
    ] {
        let files = filled(folders, 2);
        let first = ingest(&zip(&files));
        let told = first.ingested().report.reading.clone().unwrap();
        let again = ingest_as(&zip(&files), told.clone());
        assert_eq!(again.classes(), first.classes(), "{folders:?}: {told:?}");
        assert_eq!(again.splits(), first.splits(), "{folders:?}: {told:?}");
        assert_eq!(
            again.ingested().report.reading.as_ref(),
            Some(&told),
            "{folders:?}"
        );
    }
}
