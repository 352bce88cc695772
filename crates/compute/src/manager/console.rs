//! `get_console_output`.

use kilonova_objects::Instance;

use super::{Manager, ManagerError};

/// No more of a console log than this travels in one answer.
const MAX_CONSOLE_BYTES: u64 = 100 * 1024;

impl Manager {
    /// The end of the console log: the last `tail_length` lines, or all (of what is kept).
    pub async fn get_console_output(
        &self,
        instance: &Instance,
        tail_length: Option<i64>,
    ) -> Result<String, ManagerError> {
        let log = self.driver.console_log(instance.uuid, MAX_CONSOLE_BYTES).await?;
        let text = String::from_utf8_lossy(&log.0);
        Ok(match tail_length {
            Some(lines) if lines >= 0 => tail(&text, lines as usize).to_owned(),
            _ => text.into_owned(),
        })
    }
}

/// The last `lines` lines of `text`. As in Nova, what comes behind the last line's end counts as one, also if it is
/// nothing.
fn tail(text: &str, lines: usize) -> &str {
    if lines == 0 {
        return "";
    }
    match text.rmatch_indices('\n').nth(lines - 1) {
        Some((at, _)) => &text[at + 1..],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn the_tail_has_as_many_lines_as_asked_for_or_all() {
        assert_eq!(tail("a\nb\nc\n", 2), "c\n");
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a\nb\n", 5), "a\nb\n");
        assert_eq!(tail("a\nb\n", 0), "");
        assert_eq!(tail("", 3), "");
    }
}
