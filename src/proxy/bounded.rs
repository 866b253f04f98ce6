//! Room in a map that is full: of what is idle the oldest eighth goes at once, so that it is rare.

use std::hash::{BuildHasher, Hash};

use dashmap::DashMap;
use jiff::Timestamp;

/// Makes room where there are `most` entries; what is in use is not idle, and stays. True if there was none left.
pub(super) fn make_room<K: Eq + Hash, V, S: BuildHasher + Clone>(
    map: &DashMap<K, V, S>,
    most: usize,
    idle_since: impl Fn(&V) -> Option<Timestamp>,
) -> bool {
    if map.len() < most {
        return false;
    }
    let mut ages: Vec<_> = map.iter().filter_map(|entry| idle_since(&entry)).collect();
    let last = ages.len().saturating_sub(1);
    if !ages.is_empty() {
        let (_, oldest_kept, _) = ages.select_nth_unstable(most.div_euclid(8).min(last));
        let oldest_kept = *oldest_kept;
        map.retain(|_, value| idle_since(value).is_none_or(|since| since >= oldest_kept));
    }
    true
}
