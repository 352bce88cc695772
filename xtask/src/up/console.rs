//! The guest's console on the terminal, as it grows, until the guest asks who is there.

use std::time::{Duration, Instant};

use anyhow::bail;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::guest::{self, Guest};
use crate::api::Api;
use crate::process;
use crate::progress::Step;

/// Under emulation on a busy machine a boot takes half a minute.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(300);
const PROMPT: &str = "login:";
/// How SeaBIOS begins: it resets the terminal.
const FIRMWARE_RESET: &str = "c[?7l";
/// How much is shown of a console that was there before.
const OLD_LINES: usize = 8;

/// Prints the console until `login:`.
pub(super) async fn stream_until_login(api: &Api, guest: &Guest) -> anyhow::Result<()> {
    let step = Step::loud(format!("the console of {} until its login prompt", guest.name()));
    let started = Instant::now();
    let mut screen = Screen::default();
    loop {
        if let Some(output) = read(api, guest.id()).await? {
            let text = printable(&output);
            if guest.is_new() {
                screen.grow(&text);
            }
            if text.contains(PROMPT) {
                if guest.is_new() {
                    screen.finish(&text)
                } else {
                    Screen::default().finish(&last_of(&text))
                }
                step.done("");
                return Ok(());
            }
        }
        guest::check_not_failed(api, guest.id()).await?;
        if started.elapsed() > LOGIN_TIMEOUT {
            let console = guest::console_end(api, guest.id()).await;
            bail!("{console}\nno {PROMPT} on the console within {} s", LOGIN_TIMEOUT.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

fn last_of(text: &str) -> String {
    process::last_lines(text, OLD_LINES)
}

/// The whole console, or nothing while the guest has none yet.
async fn read(api: &Api, id: &str) -> anyhow::Result<Option<String>> {
    let path = format!("/servers/{id}/action");
    let answer = api.compute(Method::POST, &path, Some(&json!({"os-getConsoleOutput": {}}))).await?;
    if matches!(answer.status, StatusCode::CONFLICT | StatusCode::NOT_FOUND) {
        return Ok(None);
    }
    Ok(answer.ok()?["output"].as_str().map(str::to_owned))
}

/// What of a growing text is on the terminal: whole lines, each behind a margin.
#[derive(Default)]
struct Screen {
    shown: usize,
}

impl Screen {
    /// Prints the lines that are new and whole.
    fn grow(&mut self, text: &str) {
        for line in self.new_lines(text) {
            print_line(line);
        }
    }

    /// Prints what is left, also a line without an end: that is what a prompt is.
    fn finish(&mut self, text: &str) {
        self.grow(text);
        if let Some(rest) = text.get(self.shown..).filter(|rest| !rest.trim().is_empty()) {
            print_line(rest);
        }
    }

    fn new_lines<'a>(&mut self, text: &'a str) -> Vec<&'a str> {
        // a log that was cut at its beginning no longer has what was shown at that place: begin again
        let new = text.get(self.shown..).unwrap_or_else(|| {
            self.shown = 0;
            text
        });
        let whole = new.rfind('\n').map_or(0, |end| end + 1);
        self.shown += whole;
        new[..whole].lines().collect()
    }
}

fn print_line(line: &str) {
    println!("    | {}", line.trim_end());
}

/// Without what moves the cursor or changes colours: control characters but the line's end, and what an escape
/// character leaves behind when the API has taken it out, as Nova does.
pub(super) fn printable(output: &str) -> String {
    let text: String = output.chars().filter(|it| !it.is_control() || matches!(it, '\n' | '\t')).collect();
    let mut rest = text.strip_prefix(FIRMWARE_RESET).unwrap_or(&text);
    let mut kept = String::with_capacity(rest.len());
    while let Some((before, after)) = rest.split_once('[') {
        kept.push_str(before);
        rest = match sequence_length(after) {
            Some(length) => &after[length..],
            None => {
                kept.push('[');
                after
            }
        };
    }
    kept + rest
}

/// Length of the rest of a control sequence: `?` or nothing, numbers with semicolons, a letter.
fn sequence_length(after_bracket: &str) -> Option<usize> {
    let parameters = after_bracket.strip_prefix('?').unwrap_or(after_bracket);
    let end = parameters.find(|it: char| !it.is_ascii_digit() && it != ';')?;
    let is_sequence = end > 0 && parameters[end..].starts_with(['A', 'B', 'C', 'D', 'H', 'J', 'K', 'h', 'l', 'm']);
    is_sequence.then(|| after_bracket.len() - parameters.len() + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_left_out() {
        assert_eq!(printable("\u{1b}[2J\u{1b}[01;01HGRUB\r\nok\u{7}\tx"), "GRUB\nok\tx");
        assert_eq!(printable("\u{1b}c\u{1b}[?7lSeaBIOS"), "SeaBIOS");
    }

    #[test]
    fn sequences_go_also_where_their_escape_character_is_gone() {
        assert_eq!(printable("c[?7l[2J[0mSeaBIOS\n[0;30;47mGRUB"), "SeaBIOS\nGRUB");
    }

    #[test]
    fn brackets_of_a_text_stay() {
        for text in ["[    0.000000] Linux", "[  OK  ] up", "[1] done", "a[i] = [", "[m", "[12"] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn each_line_is_shown_once_and_only_when_it_is_whole() {
        let mut screen = Screen::default();
        assert_eq!(screen.new_lines("one\ntw"), ["one"]);
        assert_eq!(screen.new_lines("one\ntwo\nthree\nfo"), ["two", "three"]);
        assert_eq!(screen.new_lines("one\ntwo\nthree\nfo"), Vec::<&str>::new());
        assert_eq!(screen.shown, "one\ntwo\nthree\n".len());
    }

    #[test]
    fn a_console_that_became_shorter_is_shown_from_its_beginning() {
        let mut screen = Screen::default();
        assert_eq!(screen.new_lines("a long line\n"), ["a long line"]);
        assert_eq!(screen.new_lines("new\n"), ["new"]);
    }
}
