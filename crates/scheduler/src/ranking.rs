//! The hosts of a pool as they compete for the next server of a request: who may have it, and how good each is. It is kept
//! from one server to the next, so that many servers of one request cost little more than one.

use crate::SchedulerError;
use crate::asked::Asked;
use crate::filters::Filters;
use crate::host_state::HostState;
use crate::pool::Pool;
use crate::weights::{Weighers, Weighing};

/// Who may, and how good.
#[derive(Debug)]
pub(crate) struct Ranking {
    /// Of each host of the pool.
    may_have: Vec<bool>,
    /// `None` where nobody weighs.
    weighing: Option<Weighing>,
}

impl Ranking {
    /// Looks at all hosts of the pool.
    pub(crate) fn new(
        pool: &Pool,
        asked: &Asked<'_>,
        filters: &Filters,
        weighers: Option<&Weighers>,
    ) -> Result<Self, SchedulerError> {
        let may_have: Vec<bool> = pool.hosts.iter().map(|host| may_have(host, asked, filters)).collect();
        let places: Vec<usize> = (0..may_have.len()).filter(|place| may_have[*place]).collect();
        let weighing = weighers.map(|weighers| weighers.weighing(asked.spec, &pool.hosts, &places)).transpose()?;
        Ok(Self { may_have, weighing })
    }

    /// Looks at one host again, which got a server.
    pub(crate) fn look_again(
        &mut self,
        pool: &Pool,
        place: usize,
        asked: &Asked<'_>,
        filters: &Filters,
        weighers: Option<&Weighers>,
    ) -> Result<(), SchedulerError> {
        self.may_have[place] = may_have(&pool.hosts[place], asked, filters);
        match (weighers, &mut self.weighing) {
            (Some(weighers), Some(weighing)) if self.may_have[place] => {
                weighers.weigh_again(weighing, asked.spec, &pool.hosts, place)
            }
            _ => Ok(()),
        }
    }

    /// A host is out of the pool; those behind it move up.
    pub(crate) fn remove(&mut self, place: usize) {
        self.may_have.remove(place);
        if let Some(weighing) = &mut self.weighing {
            weighing.remove(place);
        }
    }

    /// The places of those who may.
    pub(crate) fn places(&self) -> Vec<usize> {
        (0..self.may_have.len()).filter(|place| self.may_have[*place]).collect()
    }

    /// The weight of each of `places`; all the same where nobody weighs.
    pub(crate) fn weights(&self, places: &[usize]) -> Vec<f64> {
        match &self.weighing {
            Some(weighing) => weighing.weights(places),
            None => vec![0.0; places.len()],
        }
    }
}

fn may_have(host: &HostState, asked: &Asked<'_>, filters: &Filters) -> bool {
    host.fits(&asked.query.resources) && (asked.is_forced() || filters.passes_each(host, asked))
}
