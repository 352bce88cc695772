//! What the aggregates of a host say: values of their metadata, read as Nova's filters and weighers read them.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::host_state::HostState;

/// The values that the host's aggregates give to `key`, each once.
pub(crate) fn values<'h>(host: &'h HostState, key: &str) -> BTreeSet<&'h str> {
    let metadata = host.input.aggregates.iter().filter_map(|aggregate| aggregate.metadata.as_ref());
    metadata.filter_map(|metadata| metadata.get(key).map(String::as_str)).collect()
}

/// Everything that the host's aggregates say, by key. A value is a list with commas between its parts.
pub(crate) fn metadata(host: &HostState) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut all = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (key, value) in host.input.aggregates.iter().filter_map(|one| one.metadata.as_ref()).flatten() {
        all.entry(key).or_default().extend(value.split(',').map(str::trim));
    }
    all
}

/// The least number that the host's aggregates give to `key`; `configured` where none does. One value that is no number
/// makes the others count for nothing, too.
pub(crate) fn least<T: FromStr + PartialOrd>(host: &HostState, key: &str, configured: T) -> T {
    let mut least: Option<T> = None;
    for value in values(host, key) {
        let Ok(number) = value.trim().parse::<T>() else {
            tracing::debug!(host = host.host(), key, value, "an aggregate's metadata is no number");
            return configured;
        };
        if least.as_ref().is_none_or(|least| number < *least) {
            least = Some(number);
        }
    }
    least.unwrap_or(configured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::testing::host_in;

    #[test]
    fn values_are_whole_and_metadata_is_split_at_commas() {
        let host = host_in("a", &[&[("k", "x, y"), ("other", "1")], &[("k", "z")], &[("k", "z")]]);
        assert_eq!(values(&host, "k"), BTreeSet::from(["x, y", "z"]));
        assert_eq!(values(&host, "none"), BTreeSet::new());
        let expected = BTreeMap::from([("k", BTreeSet::from(["x", "y", "z"])), ("other", BTreeSet::from(["1"]))]);
        assert_eq!(metadata(&host), expected);
    }

    #[test]
    fn the_least_number_counts_unless_one_is_none() {
        assert_eq!(least(&host_in("a", &[]), "k", 7), 7);
        assert_eq!(least(&host_in("a", &[&[("k", "9")], &[("k", " 8 ")]]), "k", 7), 8);
        assert_eq!(least(&host_in("a", &[&[("k", "9")], &[("k", "many")]]), "k", 7), 7);
        assert_eq!(least(&host_in("a", &[&[("k", "-1.5")]]), "k", 1.0), -1.5);
    }
}
