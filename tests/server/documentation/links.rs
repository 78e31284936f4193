//! Links in the documents lead somewhere, and the README stays short.

use std::{collections::BTreeMap, fs, path::Path};

use crate::support::document::{self, Document};

#[test]
fn links_lead_somewhere() {
    let documents: BTreeMap<String, Document> = Document::all()
        .into_iter()
        .map(|document| (document.path.clone(), document))
        .collect();
    for document in documents.values() {
        let folder = Path::new(&document.path).parent().unwrap();
        for (path, anchor) in document.links() {
            let target = match path {
                "" => document.path.clone(),
                _ if path.starts_with("../") => path[3..].to_owned(),
                _ => folder.join(path).display().to_string(),
            };
            assert!(
                document::root().join(&target).exists(),
                "{}: no {path}",
                document.path
            );
            if let Some(anchor) = anchor {
                let anchors = documents[&target].anchors();
                assert!(
                    anchors.iter().any(|one| one == anchor),
                    "{}: no {path}#{anchor}",
                    document.path
                );
            }
        }
    }
}

#[test]
fn the_readme_is_short() {
    assert!(Document::read("README.md").text.lines().count() <= 120);
    assert!(
        fs::metadata(document::root().join("docs/dashboard.png"))
            .unwrap()
            .len()
            < 200_000
    );
}
