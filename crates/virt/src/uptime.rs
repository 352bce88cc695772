//! How long the host has been up, in the words of `uptime`: what Nova's drivers answer with.

use kilonova_core::time::utcnow;

/// Like ` 15:13:26 up 11:30,  load average: 5.70, 4.99, 4.16`; none where the system does not say.
pub(crate) fn host_uptime() -> Option<String> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let now = utcnow().format("%H:%M:%S").to_string();
    sentence(&now, &read("/proc/uptime")?, &read("/proc/loadavg")?)
}

fn sentence(now: &str, uptime: &str, loadavg: &str) -> Option<String> {
    let seconds: u64 = uptime.split('.').next()?.trim().parse().ok()?;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let days = match days {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        days => format!("{days} days, "),
    };
    let load: Vec<&str> = loadavg.split_whitespace().take(3).collect();
    Some(format!(" {now} up {days}{hours:2}:{minutes:02},  load average: {}", load.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_uptime_does() {
        let at = |uptime: &str| sentence("15:13:26", uptime, "5.70 4.99 4.16 2/345 6789\n").unwrap();
        assert_eq!(at("41405.61 1.0\n"), " 15:13:26 up 11:30,  load average: 5.70, 4.99, 4.16");
        assert_eq!(at("90065.00 1.0"), " 15:13:26 up 1 day,  1:01,  load average: 5.70, 4.99, 4.16");
        assert_eq!(at("172800.00 1.0"), " 15:13:26 up 2 days,  0:00,  load average: 5.70, 4.99, 4.16");
        assert_eq!(sentence("15:13:26", "?", ""), None);
    }
}
