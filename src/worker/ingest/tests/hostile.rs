//! What harm an archive can mean: that each of `crafted` comes to its end, that every limit holds, that no damage gets through.

use std::time::{Duration, Instant};

use super::{
    crafted::{Crafted, Expected, crafted},
    *,
};

/// Far longer than any of them takes, and far shorter than a server waits for a sign of life.
const LONG: Duration = Duration::from_secs(10);

fn rejection(archive: &[u8], limits: IngestLimits) -> String {
    ingest_within(archive, limits, 2).rejected().0.code.clone()
}

#[test]
fn every_crafted_archive_is_refused_or_harms_nothing() {
    let faults: Vec<String> = crafted()
        .iter()
        .filter_map(|case| fault(case).map(|fault| format!("{}: {fault}", case.what)))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// What is not as it should be.
fn fault(case: &Crafted) -> Option<String> {
    let begun = Instant::now();
    let run = ingest(&case.archive);
    if begun.elapsed() > LONG {
        return Some(format!("it took {:?}", begun.elapsed()));
    }
    // Nothing but the files of the run, and the archive that the test laid beside them.
    for file in fs::read_dir(run.dir.path()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let ours = [MANIFEST_FILE, IMAGES_FILE, PACK_FILE, REPORT_FILE, "archive"];
        if !ours.contains(&name.as_str()) {
            return Some(format!("it left {name}"));
        }
    }
    let (expected, result) = (&case.expected, &run.result);
    match (expected, result) {
        (Expected::NotTaken, Ok(RunResult::Refused(error))) => {
            let said = error.code == "archive_unreadable" && error.message.contains("upload");
            (!said).then(|| format!("{error:?}"))
        }
        (Expected::Rejected(code), Ok(RunResult::Refused(error))) => {
            (error.code != *code).then(|| format!("{error:?}, not {code}"))
        }
        (Expected::Inert(images, left_out), Ok(RunResult::Ingested(result))) => {
            let report = run.report();
            for (path, code) in left_out {
                let codes = report
                    .iter()
                    .find(|entry| entry.path == *path)
                    .map(|entry| entry.codes.join(" "));
                if !codes
                    .as_deref()
                    .is_some_and(|codes| code.split('|').any(|code| code == codes))
                {
                    return Some(format!("{path}: {codes:?}, not {code:?}"));
                }
            }
            let skipped: Vec<_> = report.iter().filter(|entry| !entry.codes.is_empty()).collect();
            (result.images != *images).then(|| format!("{} images: {skipped:?}", result.images))
        }
        _ => Some(format!("{result:?}, not {expected:?}")),
    }
}

#[test]
fn the_limits_hold_and_say_what_to_do() {
    let files = ants_and_bees();
    let archives = [zip(&files), tar(&files), gzip(&tar(&files))];
    for archive in &archives {
        let limits = IngestLimits {
            max_entries: 3,
            ..IngestLimits::DEFAULT
        };
        assert_eq!(rejection(archive, limits), "too_many_entries");
        let limits = IngestLimits {
            max_expanded_bytes: 2000,
            ..IngestLimits::DEFAULT
        };
        assert_eq!(rejection(archive, limits), "too_large");
        let limits = IngestLimits {
            max_classes: 1,
            ..IngestLimits::DEFAULT
        };
        assert_eq!(rejection(archive, limits), "too_many_classes");
    }
}

#[test]
fn single_files_over_a_limit_are_skipped() {
    let mut files = ants_and_bees();
    files.push(File::new("ants/large.bmp", black_bmp(60)));
    files.push(File::new(format!("ants/{}.jpg", "x".repeat(70)), jpeg(9)));
    let most_bytes = files[..4].iter().map(|file| file.data.len()).max().unwrap() as u64;
    let limits = IngestLimits {
        max_file_bytes: most_bytes,
        max_path_bytes: 60,
        ..IngestLimits::DEFAULT
    };
    for archive in [zip(&files), tar(&files)] {
        let run = ingest_within(&archive, limits.clone(), 2);
        assert_eq!(run.entry("ants/large.bmp").codes, ["too_large"]);
        let long = format!("ants/{}", "x".repeat(55));
        assert_eq!(run.entry(&long).codes, ["path_too_long"]);
        assert_eq!(run.ingested().images, 4);
    }
    let limits = IngestLimits {
        max_image_pixels: 50 * 50,
        ..IngestLimits::DEFAULT
    };
    let run = ingest_within(&zip(&files), limits, 2);
    let large = run.entry("ants/large.bmp");
    assert_eq!(large.codes, ["too_large"]);
    assert!(large.message.unwrap().contains("60 x 60"));
}

#[test]
fn damage_anywhere_is_the_archive_s_fault_and_never_ours() {
    let files = ants_and_bees();
    let plain = tar(&files);
    for (what, whole) in [("zip", zip(&files)), ("tar.gz", gzip(&plain)), ("tar", plain)] {
        for at in (0..whole.len()).step_by(whole.len() / 60) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0xff;
            for damaged in [&whole[..at], &flipped] {
                match ingest(damaged).result {
                    Ok(RunResult::Ingested(result)) => assert!(result.images <= 4, "{what} at {at}"),
                    Ok(RunResult::Refused(_)) => {}
                    other => panic!("{what} at {at}: {other:?}"),
                }
            }
        }
    }
}
