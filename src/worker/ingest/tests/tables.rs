//! Archives whose labels stand in a table.

use super::*;

fn images(paths: &[&str]) -> Vec<File> {
    (1..)
        .zip(paths)
        .map(|(number, path)| File::new(path, jpeg(number)))
        .collect()
}

fn with_table(paths: &[&str], name: &str, table: &str) -> Run {
    let mut files = images(paths);
    files.push(File::new(name, table));
    ingest(&zip(&files))
}

#[test]
fn a_table_says_class_and_split_of_each_image() {
    let run = with_table(
        &[
            "w/pictures/1.jpg",
            "w/pictures/2.jpg",
            "w/pictures/3.jpg",
            "w/pictures/4.jpg",
            "w/pictures/5.jpg",
        ],
        "w/labels.csv",
        "\u{feff}file;label;split\r\npictures/1.jpg;no;train\r\npictures/2.jpg;yes;train\r\n3.jpg;10;val\r\n4.jpg;2;Test\r\n\
         \"pictures/gone; \"\"away\"\".jpg\";no;train\r\n",
    );
    let result = run.ingested();
    assert_eq!(result.layout, Layout::Manifest);
    assert_eq!(run.classes(), ["10:1", "2:1", "no:1", "yes:1"], "sorted as names");
    assert_eq!(run.splits(), [2, 1, 1]);
    assert_eq!(
        result.report.structure.as_ref().unwrap().manifests,
        ["w/labels.csv"]
    );
    assert_eq!(run.entry("w/labels.csv").codes, ["manifest"]);

    assert_eq!(run.entry("w/pictures/5.jpg").codes, ["not_listed"]);
    assert_eq!(run.warning("not_listed").examples, ["w/pictures/5.jpg"]);
    let missing = run.entry("pictures/gone; \"away\".jpg");
    assert_eq!(
        (missing.outcome, &missing.codes[..]),
        (Outcome::Skipped, &["missing_file".to_owned()][..])
    );
    assert!(
        missing
            .message
            .unwrap()
            .starts_with("line 6 of `w/labels.csv` names it")
    );
    assert_eq!(run.warning("missing_file").count, 1);
    let report = &result.report;
    assert_eq!((report.used, report.skipped, report.ignored), (4, 2, 1));
}

#[test]
fn a_row_may_be_longer_than_the_header() {
    let run = with_table(
        &["a/1.jpg", "a/2.jpg", "b/3.jpg"],
        "labels.csv",
        "file\na/2.jpg 1\n",
    );
    let result = run.ingested();
    assert_eq!(result.images + result.report.skipped + result.report.ignored, 4);
}

#[test]
fn without_a_header_the_first_columns_are_file_and_label() {
    let run = with_table(
        &["1.jpg", "2.jpg", "3.jpg"],
        "classes.tsv",
        "1.jpg\tcat\n2.jpg\tbig dog\n3.jpg\tcat\n",
    );
    assert_eq!(run.classes(), ["big dog:1", "cat:2"]);
    assert_eq!(run.ingested().layout, Layout::Manifest);
}

#[test]
fn tables_of_the_splits_and_folders_of_the_splits_say_which_is_which() {
    let mut files = images(&["train/1.jpg", "train/2.jpg", "test/3.jpg", "test/4.jpg"]);
    files.push(File::new("train.csv", "id,class\n1,cat\n2,dog\n"));
    files.push(File::new("test.csv", "id,class\n3,cat\n4,dog\n"));
    assert_eq!(ingest(&zip(&files)).splits(), [2, 0, 2]);

    let table = "path,label\ntrain/1.jpg,cat\ntrain/2.jpg,dog\nval/3.jpg,cat\nval/4.jpg,dog\n";
    let run = with_table(
        &["train/1.jpg", "train/2.jpg", "val/3.jpg", "val/4.jpg"],
        "labels.csv",
        table,
    );
    assert_eq!(run.splits(), [2, 2, 0]);
}

#[test]
fn a_table_about_a_few_images_does_not_undo_class_folders() {
    let run = with_table(
        &["cats/1.jpg", "cats/2.jpg", "dogs/3.jpg", "dogs/4.jpg"],
        "bad_ones.csv",
        "file,label\ncats/1.jpg,blurred\n",
    );
    assert_eq!(run.classes(), ["cats:2", "dogs:2"]);
    assert_eq!(run.warning("manifest_not_used").examples, ["bad_ones.csv"]);
    assert_eq!(run.entry("bad_ones.csv").outcome, Outcome::Ignored);

    let run = with_table(
        &["cats/1.jpg", "dogs/2.jpg"],
        "sizes.csv",
        "file,width\ncats/1.jpg,40\ndogs/2.jpg,40\n",
    );
    assert_eq!(run.classes(), ["cats:1", "dogs:1"]);
}

#[test]
fn a_class_that_only_validation_has_shifts_no_index() {
    let table = "file,label,split\n1.jpg,bees,train\n2.jpg,wasps,train\n3.jpg,ants,val\n4.jpg,bees,val\n";
    let run = with_table(&["1.jpg", "2.jpg", "3.jpg", "4.jpg"], "labels.csv", table);
    assert_eq!(run.classes(), ["ants:1", "bees:2", "wasps:1"]);
    assert_eq!(run.warning("unknown_class_in_split").examples, ["ants"]);
    assert_eq!(run.warning("missing_class_in_split").examples, ["wasps"]);
    let by_path: Vec<_> = run
        .manifest()
        .into_iter()
        .map(|image| image.class.unwrap())
        .collect();
    assert_eq!(by_path, [1, 2, 0, 1]);
}

#[test]
fn all_labels_of_an_image_that_has_several_are_kept() {
    let images = ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "6.jpg", "7.jpg"];
    for (name, text) in [
        (
            "labels.csv",
            "file,labels\n1.jpg,a\n2.jpg,b\n3.jpg,b|a|c\n4.jpg,c\n5.jpg,a\n6.jpg,b\n7.jpg,c\n",
        ),
        (
            "labels.csv",
            "file,a,b,c\n1.jpg,1,0,0\n2.jpg,0,1,0\n3.jpg,1,1,1\n4.jpg,0,0,1\n5.jpg,1,0,0\n6.jpg,0,1,0\n7.jpg,0,0,1\n",
        ),
        (
            "labels.json",
            r#"{"1.jpg": ["a"], "2.jpg": ["b"], "3.jpg": ["b", "a", "c"], "4.jpg": ["c"], "5.jpg": ["a"], "6.jpg": ["b"], "7.jpg": ["c"]}"#,
        ),
    ] {
        let run = with_table(&images, name, text);
        assert_eq!(run.classes(), ["a:3", "b:3", "c:3"], "{text}");
        assert_eq!(run.ingested().several_labels, 1);
        let labels: Vec<(Option<u32>, Vec<u32>)> = run
            .manifest()
            .iter()
            .map(|image| (image.class, image.label_set().to_vec()))
            .collect();
        let expected = [
            (Some(0), vec![0]),
            (Some(1), vec![1]),
            (None, vec![0, 1, 2]),
            (Some(2), vec![2]),
        ];
        let labels = &labels[..4];
        assert_eq!(labels, expected, "{text}");
        assert_eq!(run.entry("3.jpg").labels, ["a", "b", "c"]);
        assert!(run.entry("1.jpg").labels.is_empty());
        let warning = run.warning("several_labels");
        assert_eq!((warning.count, warning.examples), (1, vec!["3.jpg".to_owned()]));
        assert!(warning.message.contains("multi_label"), "{}", warning.message);

        // The other reading is offered, and is as it says.
        let offered = &run.ingested().report.readings;
        let offered = offered
            .iter()
            .find(|reading| reading.options.leaves_out_several())
            .unwrap_or_else(|| panic!("{offered:?}"));
        assert_eq!((offered.images, offered.classes), (6, 3));
        let mut files = self::images(&images);
        files.push(File::new(name, text));
        let left_out = ingest_as(&zip(&files), offered.options.clone());
        assert_eq!(left_out.classes(), ["a:2", "b:2", "c:2"]);
        assert_eq!(left_out.entry("3.jpg").codes, ["several_labels"]);
        assert_eq!(left_out.entry("3.jpg").labels.len(), 3);
        assert_eq!(left_out.ingested().several_labels, 0);
    }
}

#[test]
fn what_looks_the_same_and_has_other_labels_is_contradictory() {
    let files = vec![
        File::new("1.jpg", jpeg(1)),
        File::new("2.jpg", jpeg(1)),
        File::new("3.jpg", jpeg(3)),
        File::new("labels.csv", "file,labels\n1.jpg,a|b\n2.jpg,a\n3.jpg,b\n"),
    ];
    let run = ingest(&zip(&files));
    assert!(
        run.entry("1.jpg")
            .codes
            .contains(&"contradictory_label".to_owned())
    );
}

#[test]
fn columns_that_answer_different_questions_are_tasks() {
    let images = ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "6.jpg"];
    let rows = [
        ("red", "disc"),
        ("red", "square"),
        ("blue", "disc"),
        ("blue", ""),
        ("red", "disc"),
        ("", ""),
    ];
    let by_comma = |head: &str| {
        let lines = images
            .iter()
            .zip(rows)
            .map(|(file, (colour, shape))| format!("{file},{colour},{shape}\n"));
        head.to_owned() + &lines.collect::<String>()
    };
    let by_json = |between: &str| {
        let lines = images.iter().zip(rows).map(|(file, (colour, shape))| {
            format!(
                "{}{between}\n",
                serde_json::json!({"file": file, "colour": colour, "shape": shape})
            )
        });
        lines.collect::<String>()
    };
    for (name, text, columns) in [
        ("labels.csv", by_comma("file,colour,shape\n"), ["colour", "shape"]),
        (
            "labels.csv",
            by_comma("file,Colour,the = shape\n"),
            ["Colour", "the = shape"],
        ),
        ("labels.csv", by_comma(""), ["2", "3"]),
        (
            "labels.tsv",
            by_comma("file,colour,shape\n").replace(',', "\t"),
            ["shape", "colour"],
        ),
        ("metadata.jsonl", by_json(""), ["colour", "shape"]),
    ] {
        let mut files = self::images(&images);
        files.push(File::new(name, text.clone()));
        let options = serde_json::json!({"classes": "table", "task_columns": columns});
        let run = ingest_as(&zip(&files), serde_json::from_value(options).unwrap());
        let classes: Vec<String> = run.classes();
        let counted = |end: &str| classes.iter().any(|class| class.ends_with(end));
        assert_eq!(classes.len(), 4, "{classes:?}");
        for end in ["=blue:2", "=red:3", "=disc:3", "=square:1"] {
            assert!(counted(end), "{text}: {classes:?}");
        }
        assert_eq!(run.entry("6.jpg").codes, ["no_label"]);
        let labels: Vec<usize> = run
            .manifest()
            .iter()
            .map(|image| image.label_set().len())
            .collect();
        assert_eq!(labels, [2, 2, 2, 1, 2], "{text}");
        let message = run.warning("several_labels").message;
        assert!(message.contains("`\"task\": \"multi_task\"`"), "{message}");
    }
}

#[test]
fn a_table_with_several_columns_of_labels_offers_them_as_tasks() {
    let mut text = "file,colour,shape\n".to_owned();
    let names: Vec<String> = (0..12).map(|number| format!("{number}.jpg")).collect();
    for (number, name) in names.iter().enumerate() {
        let (colour, shape) = (
            ["red", "blue"][number % 2],
            ["disc", "square", "star"][number % 3],
        );
        text += &format!("{name},{colour},{shape}\n");
    }
    let run = with_table(
        &Vec::from_iter(names.iter().map(String::as_str)),
        "labels.csv",
        &text,
    );
    let message = run.warning("table_not_understood").message;
    assert!(message.contains("task_columns"), "{message}");
    let result = run.ingested();
    let readings = &result.report.readings;
    let tasks = readings
        .iter()
        .find(|reading| reading.options.task_columns.is_some());
    let tasks = tasks.unwrap_or_else(|| panic!("{readings:#?}"));
    assert_eq!((tasks.classes, tasks.images), (5, 12));
    assert_eq!(tasks.class_names[0], "colour=blue");
}
