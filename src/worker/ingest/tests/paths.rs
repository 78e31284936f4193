//! Paths as some programs write them, which mean no harm.

use super::*;

/// Three images of each of two classes, their paths as a program writes them.
fn files(path: fn(&str, usize) -> String) -> Vec<File> {
    let each = ["ants", "bees"].iter().enumerate();
    each.flat_map(|(number, class)| {
        (0..3).map(move |index| File::new(path(class, index), png((number * 3 + index) as u8)))
    })
    .collect()
}

#[test]
fn a_folder_without_a_name_is_skipped() {
    let usual = files(|class, index| format!("{class}/{index}.png"));
    for name in ["/", "//", "./", ".", "\\"] {
        let folder = File::new(name, "").mode(0o040_755);
        let run = ingest(&zip(&[vec![folder], usual.clone()].concat()));
        assert_eq!(run.classes(), ["ants:3", "bees:3"], "{name}");
        assert!(run.ingested().report.warnings.is_empty(), "{name}");
    }
    let folder = File::new("/", "");
    assert_eq!(
        ingest(&zip(&[vec![folder], usual].concat())).classes(),
        ["ants:3", "bees:3"]
    );
}

#[test]
fn roots_and_drives_are_left_out_and_told() {
    for path in [
        (|class, index| format!("/{class}/{index}.png")) as fn(&str, usize) -> String,
        |class, index| format!("C:\\data\\{class}\\{index}.png"),
        |class, index| format!("d:/{class}/{index}.png"),
        |class, index| format!("\\\\server\\share\\{class}\\{index}.png"),
        |class, index| format!("/home/me/data/{class}/{index}.png"),
    ] {
        for pack in [zip, tar] {
            let run = ingest(&pack(&files(path)));
            assert_eq!(run.classes(), ["ants:3", "bees:3"], "{}", path("ants", 0));
            let warning = run.warning("paths_normalised");
            assert_eq!((warning.count, warning.examples[0].clone()), (6, path("ants", 0)));
            for image in run.manifest() {
                assert!(
                    !image.path.starts_with(['/', '\\']) && !image.path.contains(':'),
                    "{}",
                    image.path
                );
            }
        }
    }
}

#[test]
fn empty_parts_are_left_out_and_told_but_not_where_every_program_writes_them() {
    for (path, count) in [
        (
            (|class, index| format!("./{class}/{index}.png")) as fn(&str, usize) -> String,
            None,
        ),
        (|class, index| format!("{class}//{index}.png"), Some(6)),
        (|class, index| format!("././{class}/{index}.png"), Some(6)),
        (|class, index| format!("{class}/./{index}.png"), Some(6)),
        (|class, index| format!("{class}\\\\{index}.png"), Some(6)),
    ] {
        let run = ingest(&zip(&files(path)));
        assert_eq!(run.classes(), ["ants:3", "bees:3"]);
        let warnings = &run.ingested().report.warnings;
        let told = warnings.iter().find(|warning| warning.code == "paths_normalised");
        assert_eq!(told.map(|warning| warning.count), count, "{}", path("ants", 0));
    }
}

#[test]
fn two_spellings_of_one_path_are_one_file() {
    let mut twice = files(|class, index| format!("{class}/{index}.png"));
    twice.push(File::new("/ants/0.png", png(9)));
    let run = ingest(&zip(&twice));
    assert_eq!(run.classes(), ["ants:3", "bees:3"]);
    let replaced = run
        .report()
        .into_iter()
        .filter(|entry| entry.codes == ["replaced"]);
    assert_eq!(replaced.count(), 1);
}

#[test]
fn paths_that_climb_are_still_refused() {
    for name in [
        "../ants/9.png",
        "/../ants/9.png",
        "C:\\..\\9.png",
        "ants/../../9.png",
    ] {
        let mut climbing = files(|class, index| format!("{class}/{index}.png"));
        climbing.push(File::new(name, png(9)));
        let run = ingest(&zip(&climbing));
        let (refused, _) = run.rejected();
        assert!(
            refused.code == "path_escape" && refused.message.contains(name),
            "{refused:?}"
        );
    }
}
