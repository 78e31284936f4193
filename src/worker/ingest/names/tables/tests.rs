use super::*;
use crate::domain::datasets::split::Split;

fn parts(path: &str) -> Vec<String> {
    path.split('/').map(str::to_owned).collect()
}

fn read(tables: &[(&str, &str)], images: &[&str], options: Option<&ReadOptions>) -> Manifest {
    read_with(tables, images, options, false)
}

fn read_with(
    tables: &[(&str, &str)],
    images: &[&str],
    options: Option<&ReadOptions>,
    leaves_out_several: bool,
) -> Manifest {
    let candidates: Vec<Candidate> = (images.len()..)
        .zip(tables)
        .map(|(entry, (name, text))| Candidate {
            entry,
            parts: parts(name),
            grid: match name.ends_with("json") || name.ends_with("jsonl") {
                true => Grid::of_json(text, 1000).unwrap().unwrap(),
                false => Grid::of_text(text, None, 1000).unwrap().unwrap(),
            },
        })
        .collect();
    let images: Vec<_> = images.iter().map(|path| parts(path)).enumerate().collect();
    let split = |image: usize| match images[image].1[0].as_str() {
        "train" => Some(Split::Train),
        "test" => Some(Split::Test),
        _ => None,
    };
    let around = Surroundings {
        images: &Images::new(&images),
        parts: &|image| &images[image].1,
        split: &split,
        leaves_out_several,
    };
    Manifest::of(&candidates.iter().collect::<Vec<_>>(), options, &around).unwrap()
}

fn manifest(table: (&str, &str), images: &[&str]) -> Manifest {
    read(&[table], images, None)
}

/// What each image is, `class` or `class:split`, or why it is left out.
fn told(manifest: &Manifest, images: usize) -> Vec<String> {
    let told = (0..images).map(|image| match manifest.labels.get(&image) {
        None => "-".to_owned(),
        Some(Err(settled)) => settled.code.to_owned(),
        Some(Ok(Label { classes, split: None })) => classes.join("+"),
        Some(Ok(Label {
            classes,
            split: Some(split),
        })) => format!("{}:{split:?}", classes.join("+")).to_lowercase(),
    });
    told.collect()
}

fn codes(manifest: &Manifest) -> Vec<&str> {
    manifest.doubts.iter().map(|doubt| doubt.code.as_str()).collect()
}

#[test]
fn files_are_found_from_the_table_s_folder_and_by_the_end_of_their_paths() {
    let images = [
        "set/a.png",
        "set/images/b.png",
        "set/images/c.jpeg",
        "other/d.png",
        "set/x/e.png",
        "set/y/e.png",
        "set/y/007.png",
    ];
    let text = "file,label\n./a.png,cat\nimages\\b.png,dog\nc,cat\n../other/d.png,dog\ne.png,cat\nx/e.png,dog\n../../f.png,cat\n7,bird\n";
    let manifest = manifest(("set/labels.csv", text), &images);
    assert_eq!(
        told(&manifest, 7),
        ["cat", "dog", "cat", "dog", "dog", "-", "bird"]
    );
    let missing: Vec<_> = manifest
        .missing
        .iter()
        .map(|missing| (missing.line, missing.file.as_str()))
        .collect();
    assert_eq!(missing, [(8, "../../f.png")]);
    assert_eq!(
        (manifest.ambiguous[0].line, &manifest.ambiguous[0].images[..]),
        (6, &[4, 5][..])
    );
}

#[test]
fn paths_of_other_machines_are_found_by_their_ends() {
    let images = ["images/cat/1.png", "images/dog/1.png", "images/dog/2.PNG"];
    for begin in [
        "/content/drive/MyDrive/x/",
        "C:\\Users\\me\\x\\",
        "gs://bucket/x/",
        "https://example.org/x/",
        "../input/x/",
    ] {
        let text = format!(
            "path,label\n{begin}images/cat/1.png,a\n{begin}images/dog/1.png,b\n{begin}images/dog/2.png,b\n"
        );
        assert_eq!(
            told(&manifest(("labels.csv", &text), &images), 3),
            ["a", "b", "b"],
            "{begin}"
        );
    }
}

#[test]
fn columns_are_found_by_what_is_in_them() {
    let images = ["1.png", "2.png", "3.png", "4.png"];
    let expected = ["a", "b", "a", "b"];
    for (name, text, doubts) in [
        ("t.csv", "Image,Id\n1.png,a\n2.png,b\n3.png,a\n4.png,b\n", &[][..]),
        (
            "t.csv",
            "bild,tier\n1.png,a\n2.png,b\n3.png,a\n4.png,b\n",
            &["label_column_guessed"],
        ),
        (
            "t.csv",
            "no,bild,tier,width\n9,1.png,a,40\n8,2.png,b,41\n7,3.png,a,42\n6,4.png,b,43\n",
            &["label_column_guessed"],
        ),
        (
            "t.csv",
            "filename, a, b\n1.png, 1, 0\n2.png, 0, 1\n3.png, 1, 0\n4.png, 0, 1\n",
            &[],
        ),
        (
            "t.csv",
            "filename,class_id,class_name\n1.png,0,a\n2.png,1,b\n3.png,0,a\n4.png,1,b\n",
            &[],
        ),
        ("t.txt", "1.png a\n2.png b\n3.png a\n4.png b\n", &[]),
        (
            "t.txt",
            "1.png\ta\t0\t5\n2.png\tb\t0\t7\n3.png\ta\t1\t6\n4.png\tb\t2\t8\n",
            &["label_column_guessed"],
        ),
        (
            "t.jsonl",
            "{\"file_name\":\"1.png\",\"label\":\"a\"}\n{\"file_name\":\"2.png\",\"label\":\"b\"}\n{\"file_name\":\"3.png\",\"label\":\"a\"}\n{\"file_name\":\"4.png\",\"label\":\"b\"}\n",
            &[],
        ),
        (
            "t.json",
            "{\"a\":[\"1.png\",\"3.png\"],\"b\":[\"2.png\",\"4.png\"]}",
            &[],
        ),
    ] {
        let manifest = manifest((name, text), &images);
        assert_eq!(told(&manifest, 4), expected, "{text}");
        assert_eq!(codes(&manifest), doubts, "{text}");
    }
}

#[test]
fn lists_without_header_say_the_split_too() {
    let images = ["images/1.png", "images/2.png", "images/3.png", "images/4.png"];
    let text = "TRAINING,images/1.png,a\nTRAINING,images/2.png,b\nVALIDATION,images/3.png,a\nUNASSIGNED,images/4.png,b\n";
    assert_eq!(
        told(&manifest(("import.csv", text), &images), 4),
        ["a:train", "b:train", "a:val", "b"]
    );
    let text =
        "gs://x/images/1.png,a\ngs://x/images/2.png,b,a\ngs://x/images/3.png,a\ngs://x/images/4.png,b\n";
    assert_eq!(
        told(&manifest(("import.csv", text), &images), 4),
        ["a", "a+b", "a", "b"]
    );
    let text = "{\"train\":[[\"1.png\",0,\"a\"],[\"2.png\",1,\"b\"]],\"test\":[[\"3.png\",0,\"a\"],[\"4.png\",1,\"b\"]]}";
    assert_eq!(
        told(&manifest(("split.json", text), &images), 4),
        ["a:train", "b:train", "a:test", "b:test"]
    );
}

#[test]
fn what_has_several_columns_that_could_be_labels_is_said_and_can_be_chosen() {
    let images = ["1.png", "2.png", "3.png", "4.png"];
    let text = "f,colour,shape\n1.png,red,round\n2.png,red,square\n3.png,blue,round\n4.png,blue,square\n";
    let unclear = manifest(("t.csv", text), &images);
    assert_eq!(codes(&unclear), ["table_not_understood"]);
    assert!(
        unclear.doubts[0].message.contains("`colour`, `shape`"),
        "{}",
        unclear.doubts[0].message
    );
    assert!(!unclear.has_labels());
    let options = ReadOptions {
        table: Some("t.csv".to_owned()),
        label_column: Some("shape".to_owned()),
        ..ReadOptions::default()
    };
    let chosen = read(&[("t.csv", text)], &images, Some(&options));
    assert_eq!(told(&chosen, 4), ["round", "square", "round", "square"]);
}

#[test]
fn several_labels_are_never_a_class_of_their_own() {
    let images = ["1.png", "2.png", "3.png", "4.png"];
    for text in [
        "file,labels\n1.png,a\n2.png,b\n3.png,\"a,b\"\n4.png,a\n",
        "file,labels\n1.png,a\n2.png,b\n3.png,a|b\n4.png,a\n",
        "file,labels\n1.png,[\"a\"]\n2.png,[\"b\"]\n3.png,\"[\"\"a\"\",\"\"b\"\"]\"\n4.png,a\n",
        "file,a,b\n1.png,1,0\n2.png,0,1\n3.png,1,1\n4.png,1,0\n",
        "file,label_1,label_2\n1.png,a,\n2.png,b,\n3.png,a,b\n4.png,a,\n",
        "file;labels\n1.png;a\n2.png;b\n3.png;a,b\n4.png;a\n",
    ] {
        assert_eq!(
            told(&manifest(("t.csv", text), &images), 4),
            ["a", "b", "a+b", "a"],
            "{text}"
        );
        assert_eq!(
            told(&read_with(&[("t.csv", text)], &images, None, true), 4),
            ["a", "b", "several_labels", "a"],
            "{text}"
        );
    }
}

#[test]
fn no_label_is_something_else_than_none_of_them() {
    let images = ["1.png", "2.png", "3.png", "4.png"];
    for (text, expected) in [
        // The columns say it of each class.
        (
            "file,a,b\n1.png,1,0\n2.png,0,0\n3.png,1,1\n4.png,0,1\n",
            ["a", "", "a+b", "b"],
        ),
        // Where no image has several, a row of zeros may as well be an image that nobody has labelled.
        (
            "file,a,b\n1.png,1,0\n2.png,0,0\n3.png,1,0\n4.png,0,1\n",
            ["a", "no_label", "a", "b"],
        ),
        (
            "file,labels\n1.png,a\n2.png,\n3.png,a|b\n4.png,b\n",
            ["a", "no_label", "a+b", "b"],
        ),
        (
            "file,labels\n1.png,[\"a\"]\n2.png,[]\n3.png,[\"b\"]\n4.png,[\"b\"]\n",
            ["a", "", "b", "b"],
        ),
    ] {
        assert_eq!(told(&manifest(("t.csv", text), &images), 4), expected, "{text}");
        let left_out = told(&read_with(&[("t.csv", text)], &images, None, true), 4);
        assert!(!left_out.contains(&String::new()), "{text}: {left_out:?}");
    }
}

#[test]
fn the_same_id_in_two_splits_is_decided_by_the_table_or_named() {
    let images = ["train/1.png", "train/2.png", "test/1.png"];
    let text = "id,label\n1,a\n2,b\n";
    for name in ["trainLabels.csv", "train.csv", "labels-train.csv"] {
        assert_eq!(
            told(&manifest((name, text), &images), 3)[..2],
            manifest_of_train(),
            "{name}"
        );
    }
    let near = manifest(("train/labels.csv", text), &images);
    assert_eq!(told(&near, 3), ["a", "b", "-"], "the split is that of the folder");
    let images = ["x/1.png", "x/2.png", "y/1.png", "y/2.png"];
    let unclear = manifest(("labels.csv", text), &images);
    assert_eq!(unclear.ambiguous.len(), 2);
    assert!(unclear.labels.is_empty());
    // A line for each image of `x`, but not of `y`.
    let images = ["x/1.png", "x/2.png", "y/1.png", "y/2.png", "y/3.png"];
    let text = "id,label\n1,a\n2,b\n3,a\n";
    assert_eq!(
        told(&manifest(("labels.csv", text), &images), 5),
        ["-", "-", "-", "-", "a"]
    );
}

fn manifest_of_train() -> [&'static str; 2] {
    ["a:train", "b:train"]
}

#[test]
fn placeholders_are_no_labels() {
    let images = ["train/1.png", "train/2.png", "test/3.png", "test/4.png"];
    let train = ("train.csv", "id,label\n1,a\n2,b\n");
    for (name, text) in [
        ("sample_submission.csv", "id,label\n3,a\n4,a\n"),
        ("SubmissionFormat.csv", "id,label\n3,a\n4,b\n"),
        ("answers.csv", "image_id,label\n3,a\n4,a\n"),
        ("sample_submission.csv", "id,a,b\n3,0.5,0.5\n4,0.5,0.5\n"),
    ] {
        let manifest = read(&[train, (name, text)], &images, None);
        assert_eq!(told(&manifest, 4)[2..], ["-", "-"], "{name}");
    }
    let real = read(&[train, ("test.csv", "id,label\n3,a\n4,b\n")], &images, None);
    assert_eq!(told(&real, 4)[2..], ["a:test", "b:test"]);
}

#[test]
fn tables_that_only_list_images_are_splits_or_classes() {
    let images = ["i/a/1.png", "i/a/2.png", "i/b/3.png", "i/b/4.png"];
    let lists = read(
        &[("meta/train.txt", "a/1\nb/3\n"), ("meta/test.txt", "a/2\nb/4\n")],
        &images,
        None,
    );
    assert!(lists.labels.is_empty());
    let splits: Vec<_> = (0..4).map(|image| lists.splits[&image]).collect();
    assert_eq!(splits, [Split::Train, Split::Test, Split::Train, Split::Test]);
    let classes = read(
        &[("cats.txt", "1.png\n2.png\n"), ("dogs.txt", "3.png\n4.png\n")],
        &images,
        None,
    );
    assert_eq!(told(&classes, 4), ["cats", "cats", "dogs", "dogs"]);
    assert_eq!(codes(&classes), ["classes_from_table_names"]);
    // What has more columns is about something else, even where its first word could be an image.
    let boxes = read(
        &[("a.txt", "1 0.5 0.5\n"), ("b.txt", "3 0.2 0.1\n")],
        &images,
        None,
    );
    assert!(!boxes.has_labels());
    assert!(!read(&[("all.txt", "1.png\n2.png\n3.png\n")], &images, None).has_labels());
}

#[test]
fn lines_that_say_too_little_or_too_much_leave_their_image_out() {
    let images = ["a.png", "b.png", "c.png", "d.png"];
    let text = "file,label,split\na.png,,train\nb.png,cat,perhaps\nc.png,cat,val\nc.png,dog,val\nd.png,cat,TRAINING\nd.png,cat,train\n";
    assert_eq!(
        told(&manifest(("labels.csv", text), &images), 4),
        ["no_label", "unknown_split", "listed_twice", "cat:train"]
    );
}

#[test]
fn a_table_of_something_else_is_none() {
    assert!(!manifest(("notes.csv", "hello,world\nz.png,cat\nx,y\n"), &["a.png"]).has_labels());
    let other = manifest(("notes.csv", "file,label\nz.png,cat\n"), &["a.png"]);
    assert!(!other.has_labels());
    assert_eq!(codes(&other), ["table_names_no_image"]);
    assert!(
        other.doubts[0].message.contains("`z.png`"),
        "{}",
        other.doubts[0].message
    );
    assert!(
        !manifest(
            ("sizes.csv", "file,width,height\na.png,3,4\nb.png,3,4\n"),
            &["a.png", "b.png"]
        )
        .has_labels()
    );
}

#[test]
fn names_are_one_in_either_form_of_unicode() {
    let manifest = manifest(
        ("l.csv", "file,label\ncafe\u{301}.png,cre\u{300}me\n"),
        &["caf\u{e9}.png"],
    );
    assert_eq!(told(&manifest, 1), ["cr\u{e8}me"]);
}

#[test]
fn tables_that_are_asked_for_must_be_there() {
    let images: Vec<_> = [parts("a.png")].into_iter().enumerate().collect();
    let around = Surroundings {
        images: &Images::new(&images),
        parts: &|image| &images[image].1,
        split: &|_| None,
        leaves_out_several: false,
    };
    let candidates = [Candidate {
        entry: 1,
        parts: parts("x/t.csv"),
        grid: Grid::of_text("file,label\na.png,cat\n", None, 9)
            .unwrap()
            .unwrap(),
    }];
    let refused = |json: &str| {
        let options: ReadOptions = serde_json::from_str(json).unwrap();
        Manifest::of(&candidates.iter().collect::<Vec<_>>(), Some(&options), &around)
            .map(|_| ())
            .unwrap_err()
    };
    let other = refused(r#"{"table":"other.csv"}"#);
    assert_eq!(other.code, "no_such_table");
    assert!(other.message.contains("`x/t.csv`"), "{other}");
    let column = refused(r#"{"table":"t.csv","label_column":"species"}"#);
    assert!(column.message.contains("`species`"), "{column}");
}
