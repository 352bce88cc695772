//! Any host that the filters let pass.

use crate::random;
use crate::ranking::Ranking;

pub(super) fn any(ranking: &Ranking, count: usize) -> Vec<usize> {
    let mut places = ranking.places();
    random::shuffle(&mut places);
    places.truncate(count);
    places
}
