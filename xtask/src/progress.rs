//! One line per step with its seconds, on stdout; what the programs of a step print comes between.

use std::io::Write as _;
use std::time::Instant;

/// A step under way. One that is dropped before `done` is reported as failed.
pub(crate) struct Step {
    title: String,
    started: Instant,
    has_output: bool,
    is_done: bool,
}

impl Step {
    /// A step that prints nothing itself: its seconds come on the same line.
    pub(crate) fn quiet(title: impl Into<String>) -> Self {
        Self::start(title.into(), false)
    }

    /// A step whose programs print: its seconds come on a line of their own.
    pub(crate) fn loud(title: impl Into<String>) -> Self {
        Self::start(title.into(), true)
    }

    fn start(title: String, has_output: bool) -> Self {
        print!("==> {title} ...{}", if has_output { "\n" } else { " " });
        flush();
        Self { title, started: Instant::now(), has_output, is_done: false }
    }

    /// Seconds since the step began.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Ends the step; `note` may say what came of it.
    pub(crate) fn done(mut self, note: &str) {
        self.is_done = true;
        let separator = if note.is_empty() { "" } else { ": " };
        self.end(&format!("{:.1} s{separator}{note}", self.seconds()));
    }

    fn end(&self, result: &str) {
        if self.has_output {
            println!("==> {}: {result}", self.title);
        } else {
            println!("{result}");
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.is_done {
            self.end(&format!("failed after {:.1} s", self.seconds()));
        }
    }
}

fn flush() {
    // a terminal that is gone is no reason to stop
    let _ = std::io::stdout().flush();
}
