//! Links of tar and zip archives.

use tar::EntryType;

use super::*;

fn regular(name: &str, number: u8) -> (EntryType, File) {
    (EntryType::Regular, File::new(name, png(number)))
}

fn link(kind: EntryType, name: &str, target: &str) -> (EntryType, File) {
    let link = File {
        target: target.into(),
        ..File::new(name, "")
    };
    (kind, link)
}

/// Six images in one folder, sorted into two others by links.
fn sorted(kind: EntryType, target: fn(u8) -> String) -> Vec<(EntryType, File)> {
    let mut entries: Vec<_> = (0..6)
        .map(|number| regular(&format!("all/{number}.png"), number))
        .collect();
    for number in 0..6 {
        let class = if number < 3 { "ants" } else { "bees" };
        entries.push(link(kind, &format!("ds/{class}/{number}.png"), &target(number)));
    }
    entries
}

fn images(run: &Run) -> Vec<(String, String)> {
    let classes = &run.ingested().classes;
    let mut images: Vec<_> = run
        .manifest()
        .into_iter()
        .map(|image| (image.path, classes[image.class.unwrap() as usize].name.clone()))
        .collect();
    images.sort();
    images
}

#[test]
fn hard_links_have_the_bytes_of_the_earlier_entry_in_every_tar() {
    let plain = tar_of(&sorted(EntryType::Link, |number| format!("all/{number}.png")));
    for archive in [
        plain.clone(),
        gzip(&plain),
        xz(&plain),
        zstd(&plain),
        bzip2(&plain),
    ] {
        let run = ingest(&archive);
        assert_eq!(run.classes(), ["ants:3", "bees:3"]);
        assert_eq!(images(&run)[0], ("ds/ants/0.png".to_owned(), "ants".to_owned()));
        assert_eq!(run.warning("linked_files").count, 6);
        assert_eq!(run.entry("all/0.png").codes, ["linked"]);
        // The bytes are those of the file, wherever they are stored.
        let stored = fs::read(run.file(IMAGES_FILE)).unwrap();
        for image in run.manifest() {
            let bytes = &stored[image.offset as usize..(image.offset + image.bytes) as usize];
            assert_eq!(digest::of_bytes(bytes), image.sha256);
            let number: u8 = image.path[image.path.len() - 5..][..1].parse().unwrap();
            assert_eq!(bytes, png(number));
        }
    }
}

#[test]
fn it_does_not_matter_which_name_is_the_file_and_which_the_link() {
    let mut entries: Vec<_> = (0..6)
        .map(|number| {
            regular(
                &format!("ds/{}/{number}.png", if number < 3 { "ants" } else { "bees" }),
                number,
            )
        })
        .collect();
    for number in 0..6 {
        let class = if number < 3 { "ants" } else { "bees" };
        let target = format!("ds/{class}/{number}.png");
        entries.push(link(EntryType::Link, &format!("zz/{number}.png"), &target));
    }
    assert_eq!(ingest(&tar_of(&entries)).classes(), ["ants:3", "bees:3"]);
}

#[test]
fn symbolic_links_lead_to_files_of_the_archive_earlier_or_later() {
    let mut entries = sorted(EntryType::Symlink, |number| format!("../../all/{number}.png"));
    assert_eq!(ingest(&tar_of(&entries)).classes(), ["ants:3", "bees:3"]);
    entries.reverse();
    assert_eq!(ingest(&gzip(&tar_of(&entries))).classes(), ["ants:3", "bees:3"]);
    // In a zip archive the target is what is in the file.
    let files: Vec<File> = entries
        .into_iter()
        .map(|(kind, file)| match kind {
            EntryType::Symlink => File::new(&file.name, file.target).mode(0o120_777),
            _ => file,
        })
        .collect();
    assert_eq!(ingest(&zip(&files)).classes(), ["ants:3", "bees:3"]);
}

#[test]
fn links_to_links_and_to_hidden_stores_are_followed() {
    let mut entries = vec![
        regular(".store/aa", 1),
        regular(".store/bb", 2),
        regular("bees/3.png", 3),
    ];
    entries.push(link(EntryType::Symlink, "ants/1.png", "../.store/aa"));
    entries.push(link(EntryType::Link, "ants/again.png", "ants/1.png"));
    entries.push(link(EntryType::Symlink, "bees/2.png", "./../.store/bb"));
    let run = ingest(&tar_of(&entries));
    assert_eq!(run.classes(), ["ants:2", "bees:2"]);
    assert_eq!(run.entry(".store/aa").codes, ["hidden"]);
}

#[test]
fn links_that_lead_to_no_file_are_left_out_by_name() {
    let mut entries: Vec<_> = ants_and_bees()
        .into_iter()
        .map(|file| (EntryType::Regular, file))
        .collect();
    entries.push(link(EntryType::Symlink, "ants/away.jpg", "/data/a.jpg"));
    entries.push(link(EntryType::Symlink, "ants/gone.jpg", "../wasps/a.jpg"));
    entries.push(link(EntryType::Symlink, "wasps", "bees"));
    entries.push(link(EntryType::Link, "ants/lost.jpg", "elsewhere/a.jpg"));
    let run = ingest(&tar_of(&entries));
    assert_eq!(run.ingested().images, 4);
    for (name, word) in [
        ("ants/away.jpg", "out of the archive"),
        ("ants/gone.jpg", "`wasps/a.jpg`"),
        ("wasps", "folder `bees`"),
        ("ants/lost.jpg", "`elsewhere/a.jpg`"),
    ] {
        let entry = run.entry(name);
        assert_eq!(entry.codes, ["not_a_file"]);
        assert!(entry.message.unwrap().contains(word), "{name}");
    }
    assert_eq!(run.warning("not_a_file").count, 4);
}

#[test]
fn a_damaged_file_takes_its_links_with_it() {
    let mut broken = png(1);
    broken.truncate(60);
    let mut entries: Vec<_> = ants_and_bees()
        .into_iter()
        .map(|file| (EntryType::Regular, file))
        .collect();
    entries.push((EntryType::Regular, File::new("ants/broken.png", broken)));
    entries.push(link(EntryType::Link, "bees/broken.png", "ants/broken.png"));
    let run = ingest(&tar_of(&entries));
    assert_eq!(run.ingested().images, 4);
    assert_eq!(
        run.entry("bees/broken.png").codes,
        run.entry("ants/broken.png").codes
    );
}
