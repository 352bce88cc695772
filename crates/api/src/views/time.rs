//! Instants as the API writes them, without a string in between.

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use serde::{Serialize, Serializer};

/// `2026-11-22T18:35:34Z`
#[derive(Clone, Copy, Debug)]
pub(crate) struct IsoTime(pub DateTime<Utc>);

impl Serialize for IsoTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = self.0;
        let (date, time) = ((at.year(), at.month(), at.day()), (at.hour(), at.minute(), at.second()));
        serializer.collect_str(&format_args!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            date.0, date.1, date.2, time.0, time.1, time.2
        ))
    }
}

/// `2026-11-22T18:35:34.000000`: no zone, with microseconds, as older extensions write it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StrTime(pub DateTime<Utc>);

impl Serialize for StrTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = self.0;
        let (date, time) = ((at.year(), at.month(), at.day()), (at.hour(), at.minute(), at.second()));
        let micros = at.timestamp_subsec_micros();
        serializer.collect_str(&format_args!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{micros:06}",
            date.0, date.1, date.2, time.0, time.1, time.2
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kilonova_core::time::{isotime, strtime};
    use serde_json::json;

    #[test]
    fn both_forms_are_those_of_the_wire() {
        let at: DateTime<Utc> = "2026-01-02T03:04:05.000678Z".parse().unwrap();
        assert_eq!(json!(IsoTime(at)), json!(isotime(at)));
        assert_eq!(json!(StrTime(at)), json!(strtime(at)));
    }
}
