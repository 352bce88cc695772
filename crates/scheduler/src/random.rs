//! Chance, from the kernel.

/// A number below `end`; 0 where `end` is 0.
pub(crate) fn below(end: usize) -> usize {
    let random = getrandom::u64()
        .expect("a kernel without random bytes cannot give the uuid and the token that this request came with");
    // The remainder favours small numbers by less than end / 2⁶⁴.
    usize::try_from(random % (end.max(1) as u64)).unwrap_or_default()
}

/// In any order.
pub(crate) fn shuffle<T>(items: &mut [T]) {
    for end in (1..items.len()).rev() {
        items.swap(end, below(end + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_below_the_end_comes_and_none_above() {
        let mut seen = [0; 4];
        for _ in 0..400 {
            seen[below(4)] += 1;
        }
        // All equal to 0 for one of them has a chance of 4 × (3/4)⁴⁰⁰.
        assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
        assert_eq!((below(0), below(1)), (0, 0));
    }

    #[test]
    fn shuffling_loses_nothing() {
        let mut items: Vec<u32> = (0..50).collect();
        shuffle(&mut items);
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
