//! Classes that are codes, and a file that names them: offered, never assumed.

use super::*;

fn with(classes: &[&str], file: &str, text: &str) -> Vec<File> {
    let mut files: Vec<File> = (0..)
        .zip(classes.iter().flat_map(|class| [class; 2]))
        .map(|(number, class)| File::new(format!("set/train/{class}/{number}.jpg"), jpeg(number)))
        .collect();
    files.push(File::new(file, text));
    files
}

fn read(files: &[File], options: &str) -> Run {
    ingest_as(&zip(files), serde_json::from_str(options).unwrap())
}

fn codes(run: &Run) -> Vec<String> {
    let warnings = run.ingested().report.warnings.iter();
    warnings.map(|warning| warning.code.clone()).collect()
}

/// The file is offered with these names, and choosing what is offered gives them.
fn offers(classes: &[&str], file: &str, text: &str, expected: &[&str]) {
    let files = with(classes, file, text);
    let plain = ingest(&zip(&files));
    let mut own: Vec<String> = classes.iter().map(|class| format!("{class}:2")).collect();
    own.sort();
    assert_eq!(plain.classes(), own, "{file}: nothing is assumed");
    let warning = plain.warning("classes_have_names");
    assert!(
        warning
            .message
            .contains(&format!("{{\"class_names\":\"{file}\"}}")),
        "{}",
        warning.message
    );
    let reading = &plain.ingested().report.readings[0];
    assert_eq!(reading.class_names, expected, "{file}");
    let chosen = read(&files, &serde_json::to_string(&reading.options).unwrap());
    assert_eq!(
        chosen
            .ingested()
            .classes
            .iter()
            .map(|class| class.name.as_str())
            .collect::<Vec<_>>(),
        expected,
        "{file}"
    );
    assert_eq!(chosen.entry(file).codes, ["class_names"]);
    assert!(
        !codes(&chosen).iter().any(|code| code.starts_with("class")),
        "{:?}",
        codes(&chosen)
    );
}

#[test]
fn wordnet_synsets_are_named_by_the_files_that_come_with_them() {
    let synsets = &["n01440764", "n02086240", "n02113799"];
    let expected = &["Shih-Tzu", "standard poodle", "tench"];
    // ImageNet's at Kaggle.
    let text = "n01440764 tench, Tinca tinca\nn02086240 Shih-Tzu\nn02113799 standard poodle\nn02123045 tabby, tabby cat\n";
    offers(synsets, "LOC_synset_mapping.txt", text, expected);
    // Tiny ImageNet's, with more than there is.
    let text =
        "n00001740\tentity\nn01440764\ttench, Tinca tinca\nn02086240\tShih-Tzu\nn02113799\tstandard poodle\n";
    offers(synsets, "set/words.txt", text, expected);
    // The first line has a comma, too.
    let text =
        "n01440764\ttench, Tinca tinca\nn02086240\tShih-Tzu\nn02113799\tstandard poodle, large poodle\n";
    offers(synsets, "set/words.txt", text, expected);
    // Keras's.
    let text = r#"{"0": ["n01440764", "tench"], "155": ["n02086240", "Shih-Tzu"], "267": ["n02113799", "standard poodle"]}"#;
    offers(synsets, "imagenet_class_index.json", text, expected);
    let text = r#"{"n01440764": "tench", "n02086240": "Shih-Tzu", "n02113799": "standard poodle"}"#;
    offers(synsets, "labels.json", text, expected);
    // Every name has two words, which is no third column.
    let text = "n01440764 great shark\nn02086240 small dog\nn02113799 standard poodle\n";
    offers(
        synsets,
        "synset_words.txt",
        text,
        &["great shark", "small dog", "standard poodle"],
    );
}

#[test]
fn numbers_are_named_by_a_list_of_labels() {
    let expected = &["cat", "dog", "hen"];
    offers(
        &["0", "1", "2"],
        "id2label.json",
        r#"{"0": "cat", "1": "dog", "2": "hen"}"#,
        expected,
    );
    offers(
        &["0", "1", "2"],
        "classes.csv",
        "id,name\n0,cat\n1,dog\n2,hen\n",
        expected,
    );
    offers(
        &["0", "1", "2"],
        "classes.csv",
        "name;id\ncat;0\ndog;1\nhen;2\n",
        expected,
    );
    offers(&["0", "1", "2"], "labels.txt", "0 cat\n1 dog\n2 hen\n", expected);
}

#[test]
fn two_classes_of_one_name_stay_two() {
    let text = "n02012849\tcrane\nn03126707\tcrane\nn02007558\tflamingo\n";
    let expected = &["crane (n02012849)", "crane (n03126707)", "flamingo"];
    offers(
        &["n02012849", "n03126707", "n02007558"],
        "words.txt",
        text,
        expected,
    );
}

#[test]
fn a_file_that_names_only_some_is_taken_when_chosen_and_said() {
    let files = with(&["0", "1", "2"], "names.txt", "0 cat\n1 dog\n");
    assert!(!codes(&ingest(&zip(&files))).contains(&"classes_have_names".to_owned()));
    let run = read(&files, r#"{"class_names": "names.txt"}"#);
    assert_eq!(run.classes(), ["2:2", "cat:2", "dog:2"]);
    assert_eq!(run.warning("class_names_missing").examples, ["2"]);
}

#[test]
fn what_names_no_class_is_not_offered() {
    let classes = &["ants", "bees"];
    for (file, text) in [
        // Of images.
        (
            "labels.csv",
            "file,class\n0.jpg,ants\n1.jpg,ants\n2.jpg,bees\n3.jpg,bees\n",
        ),
        // Numbers of the classes.
        ("classes.txt", "0 ants\n1 bees\n"),
        ("labels.json", r#"{"ants": 0, "bees": 1}"#),
        // The same words again.
        ("names.csv", "ants,ants\nbees,bees\n"),
        ("notes.txt", "ants are small and bees are not\n"),
        // Two different ones for one class.
        ("prices.csv", "ants,cheap\nants,dear\nbees,dear\n"),
    ] {
        let run = ingest(&zip(&with(classes, file, text)));
        assert_eq!(run.classes(), ["ants:2", "bees:2"], "{file}");
        assert!(
            !codes(&run).contains(&"classes_have_names".to_owned()),
            "{file}: {:?}",
            run.warning("classes_have_names")
        );
    }
}

#[test]
fn a_file_that_is_not_there_or_says_nothing_is_refused_by_name() {
    let files = with(&["0", "1"], "notes.txt", "made in spring\n");
    let run = read(&files, r#"{"class_names": "words.txt"}"#);
    assert!(
        run.rejected().0.message.contains("`words.txt`") && run.rejected().0.message.contains("`notes.txt`"),
        "{}",
        run.rejected().0.message
    );
    let run = read(&files, r#"{"class_names": "notes.txt"}"#);
    assert!(
        run.rejected()
            .0
            .message
            .contains("no names for the classes `0`, `1`"),
        "{}",
        run.rejected().0.message
    );
}
