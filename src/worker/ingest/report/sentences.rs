//! The meaning of each code of the report, in a sentence for one entry and one for many; `{}` becomes their number.

/// The warning's own code, and its sentences.
pub fn sentences(code: &str) -> (&str, &'static str, &'static str) {
    let (one, many) = match code {
        "undecodable" => (
            "1 image is damaged and was left out",
            "{} images are damaged and were left out",
        ),
        "truncated" => (
            "1 image is cut short and was left out; copy it again",
            "{} images are cut short and were left out; copy them again",
        ),
        "damaged" => (
            "1 file is damaged inside the archive and was left out",
            "{} files are damaged inside the archive and were left out",
        ),
        "too_large" => (
            "1 image is too large and was left out",
            "{} images are too large and were left out",
        ),
        "not_an_image" => (
            "1 file is named like an image but is not one, and was left out",
            "{} files are named like images but are not, and were left out",
        ),
        "encrypted" => (
            "1 file is encrypted and was left out; pack without a password",
            "{} files are encrypted and were left out; pack without a password",
        ),
        "archive_in_archive" => (
            "1 archive inside the archive was not opened; unpack it and pack the folders that are in it",
            "{} archives inside the archive were not opened; unpack them and pack the folders that are in them",
        ),
        "not_a_file" => (
            "1 entry is a special file, or a link to something that the archive does not contain, and was left out",
            "{} entries are special files, or links to something that the archive does not contain, and were left out",
        ),
        "no_class" => (
            "1 image is in no class folder and was left out",
            "{} images are in no class folder and were left out",
        ),
        "outside_splits" => (
            "1 image is beside the folders for training, validation and test and was left out",
            "{} images are beside the folders for training, validation and test and were left out",
        ),
        "not_listed" => (
            "1 image is not listed in the table and was left out",
            "{} images are not listed in the table and were left out",
        ),
        "no_label" => (
            "1 image has no label in the table and was left out",
            "{} images have no label in the table and were left out",
        ),
        "listed_twice" => (
            "1 image has several lines in the table with different labels and was left out",
            "{} images have several lines in the table with different labels and were left out",
        ),
        "unknown_split" => (
            "1 image has a split in the table other than train, val and test and was left out",
            "{} images have splits in the table other than train, val and test and were left out",
        ),
        "missing_file" => (
            "1 line of the table names a file that the archive does not contain",
            "{} lines of the table name files that the archive does not contain",
        ),
        "ambiguous_file" => (
            "1 line of the table could mean several images of the archive and was left out",
            "{} lines of the table could mean several images of the archive each and were left out",
        ),
        "several_labels" => (
            "1 image has several labels in the table and was left out, as `several_labels` says",
            "{} images have several labels in the table and were left out, as `several_labels` says",
        ),
        "tiny" => (
            "1 image is less than 16 pixels wide or high and too small to show much",
            "{} images are less than 16 pixels wide or high and too small to show much",
        ),
        "extreme_aspect" => (
            "1 image is more than ten times as long as it is wide; training sees only a part of it",
            "{} images are more than ten times as long as they are wide; training sees only parts of them",
        ),
        "near_duplicate" => {
            let many = "{} images look like another one and differ only in their bytes: saved again, or taken in quick succession";
            return ("near_duplicates", many, many);
        }
        "near_leak" => {
            let many = "{} images look like one in another split: results measured on them look better than they are";
            return ("near_leaks", many, many);
        }
        "near_contradictory_label" => {
            let many = "{} images look like one of another class: some of their labels may be wrong";
            return ("near_contradictory_label", many, many);
        }
        "duplicate" => {
            let many = "{} images have the same bytes as another one";
            return ("duplicates", many, many);
        }
        "leak" => {
            let many =
                "{} images are in two splits at once: results measured on them look better than they are";
            return ("leaks", many, many);
        }
        "contradictory_label" => {
            let many =
                "{} images have the same bytes as one of another class: some of their labels are wrong";
            return ("contradictory_label", many, many);
        }
        _ => (
            "1 entry could not be used and was left out; the report says why",
            "{} entries could not be used and were left out; the report says why",
        ),
    };
    (code, one, many)
}
