//! `[DEFAULT] instance_usage_audit_period`: the period that a usage record is about.

use std::str::FromStr;

use chrono::{DateTime, Datelike as _, Days, Duration, Months, NaiveDate, NaiveDateTime, Timelike as _, Utc};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Hour,
    Day,
    Month,
    Year,
}

/// `month`, or `month@15`: a unit, and the minute, hour, day or month of it at which a period begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditPeriod {
    unit: Unit,
    offset: u32,
}

impl Default for AuditPeriod {
    fn default() -> Self {
        Self { unit: Unit::Month, offset: 1 }
    }
}

impl FromStr for AuditPeriod {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (unit, offset) = text.split_once('@').unwrap_or((text, "0"));
        let offset: u32 = offset.trim().parse().map_err(|_| ())?;
        // Months and their days are counted from one, and Nova takes zero for that.
        let (unit, offset, last) = match unit.trim() {
            "hour" => (Unit::Hour, offset, 59),
            "day" => (Unit::Day, offset, 23),
            // Not every month has more.
            "month" => (Unit::Month, offset.max(1), 28),
            "year" => (Unit::Year, offset.max(1), 12),
            _ => return Err(()),
        };
        if offset <= last { Ok(Self { unit, offset }) } else { Err(()) }
    }
}

impl AuditPeriod {
    /// What a value should be.
    pub(super) const EXPECTED: &'static str = "hour, day, month or year, with or without @offset";

    /// The beginning of the period that is not over, and its end so far, which is now.
    pub(super) fn current(self, now: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
        let naive = now.naive_utc();
        let begin = self.begin_in_unit_of(naive);
        // Nova's period begins after its first instant.
        let begin = if begin < naive { Some(begin) } else { self.one_earlier(begin) };
        // Only at the end of time there is none.
        (begin.map_or(now, |begin| begin.and_utc()), now)
    }

    /// The last period that was over at `now`.
    pub fn last_completed(self, now: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
        let (end, _) = self.current(now);
        let begin = self.one_earlier(end.naive_utc());
        (begin.map_or(end, |begin| begin.and_utc()), end)
    }

    fn begin_in_unit_of(self, now: NaiveDateTime) -> NaiveDateTime {
        let (date, midnight) = (now.date(), now.date().and_time(chrono::NaiveTime::MIN));
        let begin = match self.unit {
            Unit::Hour => Some(midnight + Duration::hours(now.hour().into()) + Duration::minutes(self.offset.into())),
            Unit::Day => Some(midnight + Duration::hours(self.offset.into())),
            Unit::Month => NaiveDate::from_ymd_opt(date.year(), date.month(), self.offset).map(NaiveDateTime::from),
            Unit::Year => NaiveDate::from_ymd_opt(date.year(), self.offset, 1).map(NaiveDateTime::from),
        };
        // The offset was checked against its unit.
        begin.unwrap_or(midnight)
    }

    fn one_earlier(self, begin: NaiveDateTime) -> Option<NaiveDateTime> {
        match self.unit {
            Unit::Hour => begin.checked_sub_signed(Duration::hours(1)),
            Unit::Day => begin.checked_sub_days(Days::new(1)),
            Unit::Month => begin.checked_sub_months(Months::new(1)),
            Unit::Year => begin.checked_sub_months(Months::new(12)),
        }
    }
}

#[cfg(test)]
mod tests {
    use kilonova_core::time::isotime;

    use super::*;

    fn begin(period: &str, now: &str) -> String {
        let now = now.parse().unwrap();
        let (begin, end) = period.parse::<AuditPeriod>().unwrap().current(now);
        assert_eq!(end, now);
        isotime(begin)
    }

    #[test]
    fn a_period_began_at_its_last_offset() {
        let now = "2012-03-05T08:12:22Z";
        assert_eq!(begin("month", now), "2012-03-01T00:00:00Z");
        assert_eq!(begin("month@15", now), "2012-02-15T00:00:00Z");
        assert_eq!(begin("year", now), "2012-01-01T00:00:00Z");
        assert_eq!(begin("year@9", now), "2011-09-01T00:00:00Z");
        assert_eq!(begin("day", now), "2012-03-05T00:00:00Z");
        assert_eq!(begin("day@18", now), "2012-03-04T18:00:00Z");
        assert_eq!(begin("hour", now), "2012-03-05T08:00:00Z");
        assert_eq!(begin("hour@30", now), "2012-03-05T07:30:00Z");
    }

    #[test]
    fn the_first_instant_is_the_last_one_of_the_period_before() {
        assert_eq!(begin("month", "2012-01-01T00:00:00Z"), "2011-12-01T00:00:00Z");
        assert_eq!(begin("hour", "2012-01-01T00:00:00Z"), "2011-12-31T23:00:00Z");
    }

    #[test]
    fn the_last_completed_period_ends_where_the_current_one_begins() {
        let period = |period: &str, now: &str| {
            let (begin, end) = period.parse::<AuditPeriod>().unwrap().last_completed(now.parse().unwrap());
            (isotime(begin), isotime(end))
        };
        let of = |begin: &str, end: &str| (begin.to_owned(), end.to_owned());
        let now = "2012-03-05T08:12:22Z";
        assert_eq!(period("month", now), of("2012-02-01T00:00:00Z", "2012-03-01T00:00:00Z"));
        assert_eq!(period("month@15", now), of("2012-01-15T00:00:00Z", "2012-02-15T00:00:00Z"));
        assert_eq!(period("year", now), of("2011-01-01T00:00:00Z", "2012-01-01T00:00:00Z"));
        assert_eq!(period("day@18", now), of("2012-03-03T18:00:00Z", "2012-03-04T18:00:00Z"));
        assert_eq!(period("hour", now), of("2012-03-05T07:00:00Z", "2012-03-05T08:00:00Z"));
    }

    #[test]
    fn what_is_no_period_is_refused() {
        for text in ["", "decade", "month@x", "month@31", "day@24", "hour@60", "year@13"] {
            assert_eq!(text.parse::<AuditPeriod>(), Err(()), "{text}");
        }
    }
}
