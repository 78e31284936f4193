use super::*;

fn parts(path: &str) -> Vec<String> {
    path.split('/').map(str::to_owned).collect()
}

fn manifest(table: (&str, &str), images: &[&str]) -> Option<Manifest> {
    let candidate = Candidate {
        entry: 99,
        parts: parts(table.0),
        table: Table::read(table.1.as_bytes(), 1000).unwrap(),
    };
    let images: Vec<_> = images.iter().map(|path| parts(path)).enumerate().collect();
    Manifest::of(&[candidate], &images)
}

/// What each image is, `class` or `class:split`, or why it is left out.
fn told(manifest: &Manifest, images: usize) -> Vec<String> {
    let told = (0..images).map(|image| match manifest.labels.get(&image) {
        None => "-".to_owned(),
        Some(Err(settled)) => settled.code.to_owned(),
        Some(Ok(Label { class, split: None })) => class.clone(),
        Some(Ok(Label {
            class,
            split: Some(split),
        })) => format!("{class}:{split:?}").to_lowercase(),
    });
    told.collect()
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
    ];
    let text = "file,label\n./a.png,cat\nimages\\b.png,dog\nc,cat\n../other/d.png,dog\ne.png,cat\nx/e.png,dog\n../../f.png,cat\n";
    let manifest = manifest(("set/labels.csv", text), &images).unwrap();
    assert_eq!(told(&manifest, 6), ["cat", "dog", "cat", "dog", "dog", "-"]);
    let missing: Vec<_> = manifest
        .missing
        .iter()
        .map(|missing| (missing.line, missing.file.as_str()))
        .collect();
    assert_eq!(missing, [(6, "e.png"), (8, "../../f.png")]);
}

#[test]
fn lines_that_say_too_little_or_too_much_leave_their_image_out() {
    let images = ["a.png", "b.png", "c.png", "d.png"];
    let text = "file,label,split\na.png,,train\nb.png,cat,perhaps\nc.png,cat,val\nc.png,dog,val\nd.png,cat,TRAINING\nd.png,cat,train\n";
    let manifest = manifest(("labels.csv", text), &images).unwrap();
    assert_eq!(
        told(&manifest, 4),
        ["no_label", "unknown_split", "listed_twice", "cat:train"]
    );
}

#[test]
fn the_name_of_a_table_may_be_that_of_a_split() {
    let manifest = manifest(("test_set.csv", "file,label\na.png,cat\n"), &["a.png"]).unwrap();
    assert_eq!(told(&manifest, 1), ["cat:test"]);
}

#[test]
fn a_table_of_something_else_is_none() {
    assert!(manifest(("notes.csv", "file,label\nz.png,cat\n"), &["a.png"]).is_none());
    assert!(manifest(("notes.csv", "hello,world\na.png,cat\nx,y\n"), &["a.png"]).is_none());
    assert!(manifest(("notes.csv", "a.png,cat\nx,y\n"), &["a.png"]).is_some());
}

#[test]
fn names_are_one_in_either_form_of_unicode() {
    let manifest = manifest(
        ("l.csv", "file,label\ncafe\u{301}.png,cre\u{300}me\n"),
        &["caf\u{e9}.png"],
    )
    .unwrap();
    assert_eq!(told(&manifest, 1), ["cr\u{e8}me"]);
}
