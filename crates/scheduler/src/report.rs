//! Who refused how many hosts: what stands in the fault of a server that found no host.

use std::fmt::Write as _;

use kilonova_clients::placement::CandidatesQuery;

use crate::SchedulerError;

/// The steps of one look at the hosts, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
struct Step {
    name: String,
    refused: usize,
    of: usize,
}

impl Report {
    /// `of` hosts came to a step and `passed` went on. Steps that refuse nobody are not told.
    pub(crate) fn step(&mut self, name: impl Into<String>, of: usize, passed: usize) {
        let refused = of.saturating_sub(passed);
        if refused > 0 {
            self.steps.push(Step { name: name.into(), refused, of });
        }
    }

    /// `placed` of `wanted` servers had found a host when there was none left.
    pub(crate) fn no_valid_host(&self, placed: usize, wanted: usize) -> SchedulerError {
        let mut reason = "There are not enough hosts available.".to_owned();
        let mut parts: Vec<String> = self.steps.iter().map(Step::text).collect();
        if parts.is_empty() {
            parts.push("no compute host is known".to_owned());
        }
        if wanted > 1 {
            parts.push(format!("{placed} of {wanted} servers could be placed"));
        }
        // Writing to a string cannot fail.
        let _ = write!(reason, " ({})", parts.join("; "));
        SchedulerError::NoValidHost { reason }
    }
}

impl Step {
    fn text(&self) -> String {
        format!("{}: {} of {} refused", self.name, self.refused, self.of)
    }
}

/// `DISK_GB=1, MEMORY_MB=512, VCPU=1, HW_A, !HW_B`
pub(crate) fn amounts(query: &CandidatesQuery) -> String {
    let amounts = query.resources.iter().map(|(class, amount)| format!("{class}={amount}"));
    let required = query.required.iter().cloned();
    let forbidden = query.forbidden.iter().map(|name| format!("!{name}"));
    amounts.chain(required).chain(forbidden).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_novas_sentence_and_then_who_refused() {
        let mut report = Report::default();
        report.step("ComputeFilter", 3, 2);
        report.step("AllHostsFilter", 2, 2);
        report.step("ImagePropertiesFilter", 2, 0);
        assert_eq!(
            report.no_valid_host(0, 1).to_string(),
            "No valid host was found. There are not enough hosts available. \
             (ComputeFilter: 1 of 3 refused; ImagePropertiesFilter: 2 of 2 refused)"
        );
    }

    #[test]
    fn a_part_of_several_is_told_and_so_is_an_empty_cloud() {
        let text = Report::default().no_valid_host(2, 5).to_string();
        assert!(text.ends_with("(no compute host is known; 2 of 5 servers could be placed)"), "{text}");
    }
}
