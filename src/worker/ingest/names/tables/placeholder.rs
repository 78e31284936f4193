//! Forms of competitions: a line for each test image, with a label that stands for nothing.

use super::super::layout::words;

/// Whether a table is named like one: `sample_submission.csv`, `SubmissionFormat.csv`.
pub fn is_named_so(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let words = words(stem);
    let has = |word: &str| words.iter().any(|other| other.starts_with(word));
    has("submission")
        || has("samplesub")
        || (has("sample") && (has("sub") || has("solution") || has("answer")))
}

#[cfg(test)]
mod tests {
    use super::is_named_so;

    #[test]
    fn forms_are_known_by_their_names() {
        for name in [
            "sample_submission.csv",
            "SubmissionFormat.csv",
            "sampleSubmission.csv",
            "submission.csv",
            "sample_solution.csv",
        ] {
            assert!(is_named_so(name), "{name}");
        }
        for name in ["train.csv", "samples.csv", "labels.csv", "subset.csv"] {
            assert!(!is_named_so(name), "{name}");
        }
    }
}
