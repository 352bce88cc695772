//! The hosts of one request as its weighers see them, kept while servers are placed: one server more on a host changes what
//! is seen of that host, and of no other.

use kilonova_objects::RequestSpec;

use super::{Weighers, Weighted, normalize};
use crate::SchedulerError;
use crate::host_state::HostState;

/// What each weigher says of each host.
#[derive(Debug)]
pub(crate) struct Weighing(Vec<Column>);

/// One weigher's. A value for each host, in their order; what stands for one that nobody asked for means nothing.
#[derive(Debug)]
struct Column {
    counts_from_zero: bool,
    raw: Vec<f64>,
    multipliers: Vec<f64>,
}

impl Weighers {
    /// Looks at those of `hosts` that are in `places`.
    pub(crate) fn weighing(
        &self,
        spec: &RequestSpec,
        hosts: &[HostState],
        places: &[usize],
    ) -> Result<Weighing, SchedulerError> {
        let column = |weighted: &Weighted| {
            let Weighted { multiplier, weigher } = weighted;
            let mut column = Column {
                counts_from_zero: weigher.counts_from_zero(),
                raw: vec![0.0; hosts.len()],
                multipliers: vec![0.0; hosts.len()],
            };
            for place in places {
                column.raw[*place] = weigher.weigh(&hosts[*place], spec)?;
                column.multipliers[*place] = multiplier.of(&hosts[*place]);
            }
            Ok(column)
        };
        self.0.iter().map(column).collect::<Result<_, _>>().map(Weighing)
    }

    /// Looks at one host again.
    pub(crate) fn weigh_again(
        &self,
        weighing: &mut Weighing,
        spec: &RequestSpec,
        hosts: &[HostState],
        place: usize,
    ) -> Result<(), SchedulerError> {
        for (column, Weighted { multiplier, weigher }) in weighing.0.iter_mut().zip(&self.0) {
            column.raw[place] = weigher.weigh(&hosts[place], spec)?;
            column.multipliers[place] = multiplier.of(&hosts[place]);
        }
        Ok(())
    }
}

impl Weighing {
    /// The weight of each of `places` beside the others, in their order.
    pub(crate) fn weights(&self, places: &[usize]) -> Vec<f64> {
        let mut sums = vec![0.0; places.len()];
        // There is nothing to compare.
        if places.len() < 2 {
            return sums;
        }
        for column in &self.0 {
            let raw = |place: &usize| column.raw[*place];
            let Some(scale) = normalize(places.iter().map(raw), column.counts_from_zero) else { continue };
            for (sum, place) in sums.iter_mut().zip(places) {
                *sum += column.multipliers[*place] * scale.of(column.raw[*place]);
            }
        }
        sums
    }

    /// A host is gone; those behind it move up.
    pub(crate) fn remove(&mut self, place: usize) {
        for column in &mut self.0 {
            column.raw.remove(place);
            column.multipliers.remove(place);
        }
    }
}
