use tar::EntryType;

use super::*;

fn rejection(archive: &[u8], limits: IngestLimits) -> String {
    ingest_within(archive, limits, 2).rejected().0.code.clone()
}

#[test]
fn an_archive_with_a_path_that_escapes_is_rejected_whole() {
    for name in [
        "../a.jpg",
        "ants/../../a.jpg",
        "ants/../a.jpg",
        "..",
        "/etc/a.jpg",
        "//server/a.jpg",
        "C:\\a.jpg",
        "c:a.jpg",
        "..\\a.jpg",
        "ants\\..\\a.jpg",
        "\\a.jpg",
        "ants/.. /a.jpg",
        "ants/...\\a.jpg",
    ] {
        let mut files = ants_and_bees();
        files.push(File::new(name, jpeg(9)));
        for archive in [zip(&files), tar(&files), gzip(&tar(&files))] {
            let run = ingest(&archive);
            let (error, _) = run.rejected();
            assert_eq!(error.code, "path_escape", "{name}");
            assert!(error.message.contains(name), "{}", error.message);
        }
    }
    // A folder that escapes tells as much.
    let run = ingest(&zip(&[File::new("../up/", "").mode(0o040_755)]));
    assert_eq!(run.rejected().0.code, "path_escape");
}

#[test]
fn links_and_special_files_in_a_tar_are_skipped() {
    let kinds = [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
    ];
    let mut files: Vec<_> = ants_and_bees()
        .into_iter()
        .map(|file| (EntryType::Regular, file))
        .collect();
    for (number, kind) in kinds.iter().enumerate() {
        files.push((*kind, File::new(format!("ants/special{number}.jpg"), "")));
    }
    let run = ingest(&tar_of(&files));
    assert_eq!(run.ingested().report.skipped, 5);
    assert_eq!(run.entry("ants/special0.jpg").codes, ["not_a_file"]);
    assert_eq!(run.warning("not_a_file").count, 5);
    assert_eq!(run.ingested().images, 4);
}

#[test]
fn what_is_no_archive_or_only_part_of_one_is_unreadable() {
    let files = ants_and_bees();
    let (whole_zip, whole_tar) = (zip(&files), tar(&files));
    let whole_gz = gzip(&whole_tar);
    let mut flipped = whole_gz.clone();
    flipped[whole_gz.len() / 2] ^= 0xff;
    let cases: [(&str, &[u8]); 10] = [
        ("empty", b""),
        ("text", b"hello"),
        ("image", &jpeg(1)),
        ("rar", b"Rar!\x1a\x07\x01\0"),
        ("truncated zip", &whole_zip[..whole_zip.len() - 30]),
        ("first half of a zip", &whole_zip[..whole_zip.len() / 2]),
        ("truncated tar", &whole_tar[..1000]),
        ("truncated tar.gz", &whole_gz[..whole_gz.len() - 10]),
        ("damaged tar.gz", &flipped),
        ("gzip without a tar", &gzip(&[b'x'; 2000])),
    ];
    for (what, archive) in cases {
        let run = ingest(archive);
        let (error, _) = run.rejected();
        assert_eq!(error.code, "archive_unreadable", "{what}");
        assert!(error.message.contains("upload"), "{what}: {}", error.message);
    }
}

#[test]
fn bombs_are_stopped_by_what_really_comes_out() {
    // 3 MB of zeros in an image file: a thousand to one.
    let mut files = ants_and_bees();
    files.push(File::new("ants/bomb.bmp", black_bmp(1000)));
    assert_eq!(rejection(&zip(&files), IngestLimits::DEFAULT), "expansion_ratio");
    let message = ingest(&zip(&files)).rejected().0.message.clone();
    assert!(message.contains("ants/bomb.bmp"), "{message}");

    // The same, declared as 100 bytes: it is not even unpacked.
    if let Some(bomb) = files.last_mut() {
        bomb.declared_bytes = Some(100);
    }
    let run = ingest(&zip(&files));
    assert_eq!(run.entry("ants/bomb.bmp").codes, ["damaged"]);
    assert_eq!(run.ingested().images, 4);

    // A tar.gz of nothing but zeros, whatever they are called.
    let zeros = File::new("ants/zeros.txt", vec![0; 3 << 20]);
    let archive = gzip(&tar(&[zeros]));
    assert_eq!(rejection(&archive, IngestLimits::DEFAULT), "expansion_ratio");
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
fn an_endless_description_of_an_entry_is_not_read_into_memory() {
    let long_name = (
        EntryType::GNULongName,
        File::new("././@LongLink", vec![b'a'; 2 << 20]),
    );
    let archive = tar_of(&[long_name, (EntryType::Regular, File::new("ants/1.jpg", jpeg(1)))]);
    let run = ingest(&archive);
    assert_eq!(run.rejected().0.code, "archive_unreadable");
    assert!(run.rejected().0.message.contains("absurdly long"));
}

#[test]
fn a_table_that_promises_more_entries_than_it_holds_is_refused() {
    let mut archive = zip(&ants_and_bees());
    let end = archive.len() - 22;
    archive[end + 8..end + 12].copy_from_slice(&[0xf0, 0xff, 0xf0, 0xff]);
    assert_eq!(rejection(&archive, IngestLimits::DEFAULT), "archive_unreadable");
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
                    Ok(RunResult::Rejected { .. }) => {}
                    other => panic!("{what} at {at}: {other:?}"),
                }
            }
        }
    }
}
