//! An LRU cache. Used for networks (by bytes) and cards (by count).

/// Values by key, each with a weight; together at most `budget`, except that the newest is kept however heavy it is.
pub(super) struct Lru<K, V> {
    /// Least recently used first.
    entries: Vec<(K, V, u64)>,
    budget: u64,
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
        let index = self.entries.iter().position(|(known, ..)| known == key)?;
        let entry = self.entries.remove(index);
        self.entries.push(entry);
        self.entries.last().map(|(_, value, _)| value)
    }

    /// Makes room for `weight`; to be called before creating what needs the room.
    pub fn make_room(&mut self, weight: u64) {
        while !self.entries.is_empty() && self.weight().saturating_add(weight) > self.budget {
            self.entries.remove(0);
        }
    }

    pub fn insert(&mut self, key: K, value: V, weight: u64) -> &V {
        self.entries.retain(|(known, ..)| *known != key);
        self.make_room(weight);
        self.entries.push((key, value, weight));
        let last = self.entries.len() - 1;
        &self.entries[last].1
    }

    fn weight(&self) -> u64 {
        self.entries.iter().map(|(_, _, weight)| weight).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
