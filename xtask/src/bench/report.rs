//! The table: figures, targets, verdicts, and what they were measured on.

use std::path::Path;

use anyhow::Context as _;

use crate::process;
use crate::workspace::Workspace;

/// How a figure is compared with its target.
#[derive(Clone, Copy)]
enum Target {
    Below(f64),
    AtLeast(f64),
}

/// One figure.
pub(super) struct Row {
    name: String,
    value: f64,
    target: Option<Target>,
    unit: &'static str,
}

impl Row {
    /// A figure that must stay below its target.
    pub(super) fn at_most(name: impl Into<String>, value: f64, target: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, target: Some(Target::Below(target)), unit }
    }

    /// A figure that must reach its target.
    pub(super) fn at_least(name: impl Into<String>, value: f64, target: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, target: Some(Target::AtLeast(target)), unit }
    }

    /// A figure that nothing was promised about.
    pub(super) fn figure(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, target: None, unit }
    }

    fn cells(&self) -> [String; 4] {
        let shown = |number: f64| match number {
            small if small < 10.0 => format!("{small:.2} {}", self.unit),
            large => format!("{large:.1} {}", self.unit),
        };
        // a figure that is not a number has not been measured, and that is no success
        let (target, is_met) = match self.target {
            Some(Target::Below(target)) => (format!("< {target} {}", self.unit), self.value < target),
            Some(Target::AtLeast(target)) => (format!("≥ {target} {}", self.unit), self.value >= target),
            None => return [self.name.clone(), shown(self.value), String::new(), String::new()],
        };
        let verdict = if is_met { "met" } else { "MISSED" };
        [self.name.clone(), shown(self.value), target, verdict.to_owned()]
    }
}

/// All figures of a run, and its circumstances.
pub(super) struct Report {
    /// The command that gives them, which also names their part of the page.
    command: &'static str,
    rows: Vec<Row>,
    circumstances: String,
}

impl Report {
    pub(super) async fn new(workspace: &Workspace, command: &'static str, rows: Vec<Row>) -> anyhow::Result<Self> {
        let date = chrono::Utc::now().format("%Y-%m-%d");
        let circumstances = format!("`{command}`, {date}, commit {}, {}.", commit(workspace).await, machine()?);
        Ok(Self { command, rows, circumstances })
    }

    /// The table with its circumstances above, columns aligned.
    pub(super) fn markdown(&self) -> String {
        let heading = ["what", "measured", "target", "verdict"].map(str::to_owned);
        let cells: Vec<_> = std::iter::once(heading).chain(self.rows.iter().map(Row::cells)).collect();
        let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3].map(width);
        let line = |row: &[String; 4]| {
            let padded = row.iter().zip(widths).map(|(cell, width)| format!(" {cell:width$} |"));
            format!("|{}\n", padded.collect::<String>())
        };
        let rule: String = widths.map(|width| format!("{}|", "-".repeat(width + 2))).concat();
        let (heading, rows) = (line(&cells[0]), cells[1..].iter().map(line).collect::<String>());
        format!("{}\n\n{heading}|{rule}\n{rows}", self.circumstances)
    }

    /// Replaces what is between the markers of a page; a page without markers gets them at its end.
    pub(super) fn write_into(&self, page: &Path) -> anyhow::Result<()> {
        let old = match std::fs::read_to_string(page) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "# Performance\n".to_owned(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", page.display())),
        };
        let new = between_markers(&old, self.command, &self.markdown());
        std::fs::write(page, new).with_context(|| format!("cannot write {}", page.display()))
    }
}

fn between_markers(page: &str, command: &str, text: &str) -> String {
    let [begin, end] = ["begin", "end"].map(|side| format!("<!-- {command} --write: {side} -->"));
    let block = format!("{begin}\n\n{}\n\n{end}", text.trim_end());
    let marked = page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    match marked {
        Some((before, after)) => format!("{before}{block}{after}"),
        None => format!("{}\n\n{block}\n", page.trim_end()),
    }
}

async fn commit(workspace: &Workspace) -> String {
    let git = async |arguments: &[&str]| {
        process::capture(process::program("git").current_dir(workspace.root()).args(arguments)).await
    };
    let Ok(commit) = git(&["rev-parse", "--short", "HEAD"]).await else { return "unknown".to_owned() };
    let is_clean = git(&["status", "--porcelain", "--untracked-files=no"]).await.is_ok_and(|it| it.trim().is_empty());
    format!("{}{}", commit.trim(), if is_clean { "" } else { " with changes" })
}

fn machine() -> anyhow::Result<String> {
    let cpu_info = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let kib: f64 = kib.context("/proc/meminfo has no MemTotal")?.trim().parse()?;
    let cores = std::thread::available_parallelism()?;
    Ok(format!("{cores} cores of {model}, {:.0} GiB; the load comes from the same machine", kib / 1024.0 / 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "<!-- run --write: begin -->";
    const END: &str = "<!-- run --write: end -->";

    #[test]
    fn a_figure_at_its_target_misses_it() {
        let verdict = |value| Row::at_most("x", value, 5.0, "ms").cells()[3].clone();
        assert_eq!([verdict(4.9), verdict(5.0), verdict(f64::NAN)], ["met", "MISSED", "MISSED"]);
        let verdict = |value| Row::at_least("x", value, 5.0, "×").cells()[3].clone();
        assert_eq!([verdict(4.9), verdict(5.0), verdict(f64::NAN)], ["MISSED", "met", "MISSED"]);
        assert_eq!(Row::figure("x", 5.0, "ms").cells(), ["x", "5.00 ms", "", ""]);
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = format!("# P\n\nabove\n\n{BEGIN}\nold\n{END}\n\nbelow\n");
        let once = between_markers(&page, "run", "new\n");
        assert_eq!(once, format!("# P\n\nabove\n\n{BEGIN}\n\nnew\n\n{END}\n\nbelow\n"));
        assert_eq!(between_markers(&once, "run", "new\n"), once);
        let other = between_markers(&once, "run --more", "other");
        assert!(other.starts_with(&once) && other.contains("<!-- run --more --write: begin -->"));
    }

    #[test]
    fn a_page_without_markers_gets_them() {
        assert_eq!(between_markers("# P\n", "run", "t"), format!("# P\n\n{BEGIN}\n\nt\n\n{END}\n"));
    }

    #[test]
    fn the_columns_are_aligned() {
        let rows = vec![Row::at_most("a", 1.0, 2.0, "s"), Row::figure("longer", 12.34, "ms")];
        let report = Report { command: "run", rows, circumstances: "here".to_owned() };
        let text = report.markdown();
        let widths: std::collections::BTreeSet<_> = text.lines().skip(2).map(|line| line.chars().count()).collect();
        assert_eq!(widths.len(), 1, "{text}");
        assert!(text.contains("| longer | 12.3 ms  |        |         |"), "{text}");
    }
}
