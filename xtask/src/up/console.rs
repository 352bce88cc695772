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
/// How much is shown of a console that was there before.
const OLD_LINES: usize = 8;

/// Prints the console until `login:`.
pub(super) async fn stream_until_login(api: &Api, guest: &Guest) -> anyhow::Result<()> {
    let step = Step::loud(format!("the console of {}, until {PROMPT}", guest.name()));
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
            bail!("no {PROMPT} on the console within {} s\n{console}", LOGIN_TIMEOUT.as_secs());
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

/// Without what moves the cursor or changes colours: escape sequences and control characters but the line's end.
pub(super) fn printable(output: &str) -> String {
    let mut text = String::with_capacity(output.len());
    let mut characters = output.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_escape(&mut characters),
            '\n' | '\t' => text.push(character),
            other if other.is_control() => {}
            other => text.push(other),
        }
    }
    text
}

/// ESC [ parameters letter, or ESC and one character.
fn skip_escape(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    if characters.next() != Some('[') {
        return;
    }
    while characters.next().is_some_and(|it| !('@'..='~').contains(&it)) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_left_out() {
        assert_eq!(printable("\u{1b}[2J\u{1b}[01;01HGRUB\r\n\u{1b}cok\u{7}\tx"), "GRUB\nok\tx");
        assert_eq!(printable("cut \u{1b}[0"), "cut ");
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
