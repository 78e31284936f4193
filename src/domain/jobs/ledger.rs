//! Which blobs may be deleted: the database's references compared with what exists. Only the rules, without any file or row.

use std::collections::{HashMap, HashSet};

use crate::domain::data_directory::Mismatch;

/// The database's references to blobs.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Digests that rows reference.
    pub named: HashSet<String>,
    /// Digests that an operation released, and whether they can be regenerated.
    pub released: HashMap<String, bool>,
}

/// Blobs that no row references.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unnamed {
    /// Those that an operation released, or that were added so recently that a crash may have come before their row; sorted.
    pub explained: Vec<String>,
    /// Those of unknown origin; sorted.
    pub strays: Vec<String>,
}

/// Up to this many strays may be left over from a power failure.
const FEW: usize = 2;
/// And up to one in this many blobs.
const ONE_IN: usize = 20;

impl Ledger {
    /// Finds the blobs that no row references. `placed` are those that were added since the last sweep.
    pub fn unnamed<'a>(
        &self,
        present: impl IntoIterator<Item = &'a String>,
        placed: &HashSet<String>,
    ) -> Unnamed {
        let mut unnamed = Unnamed::default();
        for blob in present {
            if self.named.contains(blob) {
                continue;
            }
            let is_explained = self.released.contains_key(blob) || placed.contains(blob);
            let list = if is_explained {
                &mut unnamed.explained
            } else {
                &mut unnamed.strays
            };
            list.push(blob.clone());
        }
        unnamed.explained.sort();
        unnamed.strays.sort();
        unnamed
    }
}

impl Unnamed {
    /// Refuses to trust a database that does not know a considerable fraction of the files.
    pub fn check(&self, blobs: usize) -> Result<(), Mismatch> {
        let strays = self.strays.len();
        if strays > FEW && strays.saturating_mul(ONE_IN) > blobs {
            return Err(Mismatch::Strays { strays, blobs });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_that_were_let_go_or_just_put_in_place_are_no_strays() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let ledger = Ledger {
            named: HashSet::from_iter(names(&["a", "b"])),
            released: HashMap::from([("c".to_owned(), false), ("a".to_owned(), true)]),
        };
        let placed = HashSet::from_iter(names(&["d", "b"]));
        let present = names(&["e", "a", "d", "c", "b"]);
        let unnamed = ledger.unnamed(&present, &placed);
        assert_eq!(
            (unnamed.explained, unnamed.strays),
            (names(&["c", "d"]), names(&["e"]))
        );
    }

    #[test]
    fn a_few_strays_are_swept_and_more_than_a_small_share_is_refused() {
        let with = |strays: usize| Unnamed {
            explained: vec!["let go".to_owned(); 50],
            strays: vec!["stray".to_owned(); strays],
        };
        for (strays, blobs, fits) in [
            (0, 50, true),
            (1, 51, true),
            (2, 2, true),
            (3, 3, false),
            (3, 59, false),
            (3, 60, true),
            (50, 1000, true),
            (51, 1000, false),
        ] {
            assert_eq!(with(strays).check(blobs).is_ok(), fits, "{strays} of {blobs}");
        }
    }
}
