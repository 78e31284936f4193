//! Archives as many programs pack them: every compression that is read, and what is told of those that are not.

use super::*;

/// An archive of the four images of [`ants_and_bees`], entry by entry with this method.
fn zip_with(method: u16, pack: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let packed = |file: File| File {
        method,
        packed: Some(pack(&file.data)),
        ..file
    };
    zip(&ants_and_bees().into_iter().map(packed).collect::<Vec<_>>())
}

/// As a zip entry has it: a version, the properties and their length, the stream without a header of its own.
fn lzma(data: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::LzmaOptions::with_preset(1);
    let mut writer =
        lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, Some(data.len() as u64)).unwrap();
    std::io::Write::write_all(&mut writer, data).unwrap();
    let alone = writer.finish().unwrap();
    [b"\x10\x02\x05\0", &alone[..5], &alone[13..]].concat()
}

/// Stored blocks are the same in Deflate64 as in Deflate.
fn deflate64(data: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let pieces: Vec<&[u8]> = data.chunks(60_000).collect();
    for (index, piece) in pieces.iter().enumerate() {
        let length = piece.len() as u16;
        packed.push(u8::from(index + 1 == pieces.len()));
        packed.extend(length.to_le_bytes());
        packed.extend((!length).to_le_bytes());
        packed.extend(*piece);
    }
    packed
}

#[test]
fn every_compression_of_tar_archives_gives_the_same_dataset() {
    let plain = tar(&ants_and_bees());
    let expected = ingest(&plain);
    assert_eq!(expected.classes(), ["ants:2", "bees:2"]);
    let half = plain.len() / 2;
    let skipped = b"\x5e\x2a\x4d\x18\x05\0\0\0hello";
    for (what, archive) in [
        ("gzip", gzip(&plain)),
        ("bzip2", bzip2(&plain)),
        ("xz", xz(&plain)),
        ("zstd", zstd(&plain)),
        // As programs write that use several threads.
        (
            "bzip2 of two streams",
            [bzip2(&plain[..half]), bzip2(&plain[half..])].concat(),
        ),
        (
            "xz of two streams",
            [xz(&plain[..half]), xz(&plain[half..])].concat(),
        ),
        (
            "zstd of two frames",
            [zstd(&plain[..half]), zstd(&plain[half..])].concat(),
        ),
        (
            "zstd with frames to be skipped",
            [skipped.as_slice(), &zstd(&plain), skipped].concat(),
        ),
    ] {
        let run = ingest(&archive);
        assert_eq!(
            run.ingested().content_sha256,
            expected.ingested().content_sha256,
            "{what}"
        );
        assert!(run.ingested().report.warnings.is_empty(), "{what}");
    }
}

#[test]
fn every_compression_of_zip_entries_gives_the_same_dataset() {
    let expected = ingest(&zip(&ants_and_bees())).ingested().content_sha256.clone();
    for (what, archive) in [
        ("bzip2", zip_with(12, bzip2)),
        ("lzma", zip_with(14, lzma)),
        ("zstd", zip_with(93, zstd)),
        ("zstd by its earlier number", zip_with(20, zstd)),
        ("xz", zip_with(95, xz)),
        ("deflate64", zip_with(9, deflate64)),
    ] {
        assert_eq!(ingest(&archive).ingested().content_sha256, expected, "{what}");
    }
}

#[test]
fn a_compressed_file_without_a_tar_says_what_is_inside() {
    for (archive, words) in [
        (gzip(&zip(&ants_and_bees())), ["gzip", "zip archive"]),
        (
            xz(&gzip(&tar(&ants_and_bees()))),
            ["xz", "another compressed file"],
        ),
        (bzip2(&jpeg(1)), ["bzip2", "JPEG"]),
        (zstd(b"file,label\na.png,cat\n"), ["zstd", "text"]),
        (gzip(b"7z\xbc\xaf\x27\x1c\0\x04"), ["gzip", "7z"]),
    ] {
        let run = ingest(&archive);
        let message = &run.rejected().0.message;
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn archives_inside_the_archive_are_told_by_name() {
    let inner = zip(&ants_and_bees());
    for (name, data) in [
        ("train.zip", inner.clone()),
        ("train.tar", tar(&ants_and_bees())),
        ("train.tar.gz", gzip(&tar(&ants_and_bees()))),
        ("train.tar.xz", xz(&tar(&ants_and_bees()))),
        ("train.7z", b"7z\xbc\xaf\x27\x1c\0\x04".to_vec()),
        ("train.rar", b"Rar!\x1a\x07\x01\0".to_vec()),
    ] {
        let run = ingest(&zip(&[File::new(name, data.clone())]));
        let (refused, _) = run.rejected();
        assert!(
            refused.code == "no_images" && refused.message.contains(name),
            "{refused:?}"
        );
        let beside = [ants_and_bees(), vec![File::new(name, data)]].concat();
        let run = ingest(&zip(&beside));
        assert_eq!(run.entry(name).codes, ["archive_in_archive"], "{name}");
        assert_eq!(run.warning("archive_in_archive").examples, [name]);
    }
    // Documents are zip archives, too, and nobody means them as data.
    let document = [ants_and_bees(), vec![File::new("notes.docx", inner)]].concat();
    assert_eq!(
        ingest(&zip(&document)).entry("notes.docx").codes,
        ["not_an_image"]
    );
}
