//! A policy file: a YAML mapping, or the same in JSON, from the names of rules to rules.

use std::path::{Path, PathBuf};

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

use super::PolicyError;
use super::language::{Check, LanguageError, Written, parse_written};

/// One rule of a file.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: String,
    pub place: Place,
    pub check: Result<Check, LanguageError>,
}

/// Where the name of a rule is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
}

impl Place {
    pub(super) fn error(&self, reason: impl Into<String>) -> PolicyError {
        PolicyError::Line { path: self.path.clone(), line: self.line, reason: reason.into() }
    }
}

/// Reads the rules of a file, in their order; a rule that cannot be read among them.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, PolicyError> {
    let text = std::fs::read_to_string(path).map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, PolicyError> {
    let mut events = Events { path, parser: Parser::new_from_str(text) };
    let mut entries = Vec::new();
    let (root, place) = events.first()?;
    match root {
        Event::StreamEnd => return Ok(entries),
        Event::Scalar(text, style, ..) if is_null(&text, style) => {}
        Event::MappingStart(..) => {
            while let Some(entry) = events.entry()? {
                entries.push(entry);
            }
        }
        _ => return Err(place.error("a policy file is a mapping from names of rules to rules")),
    }
    match events.next()? {
        (Event::DocumentEnd, _) => {}
        (_, place) => return Err(place.error("something follows the mapping")),
    }
    match events.next()? {
        (Event::StreamEnd, _) => Ok(entries),
        (_, place) => Err(place.error("a policy file is one document")),
    }
}

fn is_null(text: &str, style: ScalarStyle) -> bool {
    style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

struct Events<'a> {
    path: &'a Path,
    parser: Parser<'a, StrInput<'a>>,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Place), PolicyError> {
        let place = |line| Place { path: self.path.to_owned(), line };
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, place(span.start.line()))),
            Some(Err(error)) => Err(place(error.marker().line()).error(error.info())),
            None => Err(place(1).error("the file ends too early")),
        }
    }

    /// What the file is: the first event that is not about streams and documents, or the end.
    fn first(&mut self) -> Result<(Event<'a>, Place), PolicyError> {
        loop {
            let next = self.next()?;
            if !matches!(next.0, Event::StreamStart | Event::DocumentStart(_)) {
                return Ok(next);
            }
        }
    }

    fn entry(&mut self) -> Result<Option<Entry>, PolicyError> {
        let (name, place) = match self.next()? {
            (Event::MappingEnd, _) => return Ok(None),
            (Event::Scalar(name, ..), place) => (name.into_owned(), place),
            (_, place) => return Err(place.error("the name of a rule is a text")),
        };
        let written = match self.next()?.0 {
            Event::Scalar(text, style, ..) if is_null(&text, style) => {
                return Err(place.error(format!("{name} has no rule: \"@\" is always, \"!\" is never, in quotes")));
            }
            Event::Scalar(text, ..) => Written::Text(text.into_owned()),
            Event::SequenceStart(..) => Written::Lists(self.lists()?),
            _ => return Err(place.error(format!("{name} is neither a text nor a list"))),
        };
        Ok(Some(Entry { name, place, check: parse_written(&written) }))
    }

    fn lists(&mut self) -> Result<Vec<Vec<String>>, PolicyError> {
        let mut lists = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(lists),
                (Event::Scalar(word, ..), _) => lists.push(vec![word.into_owned()]),
                (Event::SequenceStart(..), _) => lists.push(self.list()?),
                (_, place) => return Err(place.error("a rule's list has texts and lists of texts")),
            }
        }
    }

    fn list(&mut self) -> Result<Vec<String>, PolicyError> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(list),
                (Event::Scalar(word, ..), _) => list.push(word.into_owned()),
                (_, place) => return Err(place.error("a rule's inner list has texts")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, line and printed rule.
    fn rules(text: &str) -> Vec<(String, usize, String)> {
        let entries = parse(Path::new("policy.yaml"), text).unwrap();
        entries.into_iter().map(|entry| (entry.name, entry.place.line, entry.check.unwrap().to_string())).collect()
    }

    fn rule(name: &str, line: usize, text: &str) -> (String, usize, String) {
        (name.to_owned(), line, text.to_owned())
    }

    #[test]
    fn yaml_and_json_are_read_alike() {
        let yaml = "# ours\n\"a:b\": \"role:x or role:y\"\nplain: role:z\nopen: ''\nfolded: >\n  role:x\n  and role:y\n\
                    lists:\n- [\"role:x\", \"role:y\"]\n- \"@\"\n";
        let expected = [
            rule("a:b", 2, "(role:x or role:y)"),
            rule("plain", 3, "role:z"),
            rule("open", 4, "@"),
            rule("folded", 5, "(role:x and role:y)"),
            rule("lists", 8, "((role:x and role:y) or @)"),
        ];
        assert_eq!(rules(yaml), expected);
        let json =
            "{\n\t\"a:b\": \"role:x or role:y\",\n\t\"lists\": [[\"role:x\", \"role:y\"], [\"@\"]],\n\t\"e\": []\n}\n";
        assert_eq!(
            rules(json),
            [rule("a:b", 2, "(role:x or role:y)"), rule("lists", 3, "((role:x and role:y) or @)"), rule("e", 4, "@")]
        );
    }

    #[test]
    fn a_file_without_rules_is_no_error() {
        for text in ["", "# nothing\n", "---\n", "{}\n", "~\n"] {
            assert_eq!(rules(text), [], "{text:?}");
        }
    }

    #[test]
    fn a_broken_file_says_where() {
        let cases = [
            ("a: role:x\nb: [\n", 3),
            ("- a\n", 1),
            ("a: role:x\nb: @\n", 2),
            ("a: role:x\nb: !\n", 2),
            ("a: role:x\n\nb:\n", 3),
            ("a: {b: c}\n", 1),
            ("a: role:x\n---\nb: role:y\n", 2),
            ("a: &x role:x\nb: *x\n", 2),
        ];
        for (text, expected) in cases {
            match parse(Path::new("policy.yaml"), text) {
                Err(PolicyError::Line { line, .. }) => assert_eq!(line, expected, "{text:?}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }
}
