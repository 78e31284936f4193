//! An LRU cache. Used for networks (by bytes) and cards (by count).

/// Values by key, each with a weight; together at most `budget`, except that the newest is kept however heavy it is.
pub(super) struct Lru<K, V> {
    /// Least recently used first.
    entries: Vec<Entry<K, V>>,
    budget: u64,
}

struct Entry<K, V> {
    key: K,
    value: V,
    weight: u64,
    /// What it has in common with others, and the weight of that, which counts once.
    common: Option<(K, u64)>,
}

impl<K: PartialEq, V> Lru<K, V> {
    pub fn new(budget: u64) -> Self {
        Self {
            entries: Vec::new(),
            budget,
        }
    }

    /// The value of a key, which is marked as used.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        let index = self.entries.iter().position(|entry| entry.key == *key)?;
        let entry = self.entries.remove(index);
        self.entries.push(entry);
        self.entries.last().map(|entry| &entry.value)
    }

    /// Makes room for `weight`; to be called before creating what needs the room.
    pub fn make_room(&mut self, weight: u64) {
        while !self.entries.is_empty() && self.weight().saturating_add(weight) > self.budget {
            self.entries.remove(0);
        }
    }

    pub fn insert(&mut self, key: K, value: V, weight: u64) -> &V {
        self.insert_with(key, value, weight, None)
    }

    /// The same for a value that has something of a weight in common with others.
    pub fn insert_with(&mut self, key: K, value: V, weight: u64, common: Option<(K, u64)>) -> &V {
        self.entries.retain(|entry| entry.key != key);
        self.entries.push(Entry {
            key,
            value,
            weight,
            common,
        });
        while self.entries.len() > 1 && self.weight() > self.budget {
            self.entries.remove(0);
        }
        let last = self.entries.len() - 1;
        &self.entries[last].value
    }

    /// Changes what a value weighs, if it is still there.
    pub fn reweigh(&mut self, key: &K, weight: u64) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.key == *key) {
            entry.weight = weight;
        }
        while self.entries.len() > 1 && self.weight() > self.budget {
            self.entries.remove(0);
        }
    }

    fn weight(&self) -> u64 {
        let (mut sum, mut counted) = (0, Vec::new());
        for entry in &self.entries {
            sum += entry.weight;
            if let Some((common, weight)) = &entry.common
                && !counted.contains(&common)
            {
                counted.push(common);
                sum += weight;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_become_heavier_makes_room_for_itself() {
        let mut lru = Lru::new(10);
        for key in ["a", "b", "c"] {
            lru.insert(key, (), 3);
        }
        lru.reweigh(&"c", 4);
        assert_eq!(lru.entries.len(), 3);
        lru.reweigh(&"c", 5);
        assert!(lru.get(&"a").is_none() && lru.get(&"b").is_some());
        lru.reweigh(&"a", 99);
        assert!(lru.get(&"c").is_some(), "what is gone weighs nothing");
    }

    #[test]
    fn the_longest_unused_leaves_when_room_is_needed() {
        let mut kept = Lru::new(10);
        kept.insert("a", 1, 4);
        kept.insert("b", 2, 4);
        assert_eq!(kept.get(&"a"), Some(&1));
        kept.insert("c", 3, 4);
        assert_eq!(kept.get(&"b"), None);
        assert_eq!(kept.get(&"a"), Some(&1));
        kept.insert("huge", 4, 11);
        assert_eq!(kept.get(&"huge"), Some(&4));
        assert_eq!(kept.get(&"a"), None);
        kept.insert("a", 5, 4);
        kept.insert("a", 6, 4);
        assert_eq!(kept.get(&"a"), Some(&6));
        assert_eq!(kept.entries.len(), 1);
    }

    #[test]
    fn what_several_have_in_common_counts_once() {
        let mut kept = Lru::new(10);
        for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
            kept.insert_with(key, value, 1, Some(("base", 7)));
        }
        assert_eq!((kept.entries.len(), kept.weight()), (3, 10));
        kept.insert_with("d", 4, 1, Some(("other", 2)));
        // All of a base have to go before it does.
        assert_eq!(kept.get(&"a"), None);
        assert_eq!(kept.get(&"d"), Some(&4));
        assert_eq!(kept.entries.len(), 1);
    }
}
