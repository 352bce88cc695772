//! oslo.policy's rule language: text to [`Check`] and back.
//!
//! ```text
//!   or    = and { "or" and }                words are separated by blanks, in any case
//!   and   = not { "and" not }
//!   not   = "not" not | "(" or ")" | check
//!   check = "@"                             always; so is the empty text
//!         | "!"                             never
//!         | "role:" text                    the caller has the role
//!         | "rule:" name                    another rule
//!         | "is_admin:" True | False        Nova's own: what `context_is_admin` said
//!         | key ":" text                    a value of the caller's is the text
//!         | literal ":" text                'quoted', a number, True, False or None is the text
//!   text  = characters and %(attribute)s    attributes of the resource
//! ```
//!
//! The older form is a list of lists of checks: the outer one is joined by `or`, the inner ones by `and`.
//!
//! Where oslo.policy logs and denies (a word without a colon, a missing parenthesis), reading fails here: whoever wrote
//! the rule is told.

use std::fmt;

/// Deeper nesting than anybody writes; a bound on the parser's stack.
const MAX_DEPTH: usize = 64;

/// A rule that can be asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Check {
    Always,
    Never,
    Role(Text),
    Rule(String),
    IsAdmin(bool),
    Match(Match),
    Not(Box<Check>),
    And(Vec<Check>),
    Or(Vec<Check>),
}

/// Something of the caller's, or a literal, that has to be equal to a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Match {
    /// The left side as it was written.
    pub kind: String,
    /// What the left side says, where it is a literal and not a key.
    pub literal: Option<String>,
    pub wanted: Text,
}

/// A text with attributes of the resource in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Text(pub Vec<Piece>);

/// A part of a [`Text`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    Plain(String),
    Attribute(String),
}

/// A rule as a file has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Written {
    Text(String),
    /// Alternatives, each a list of checks that must all hold.
    Lists(Vec<Vec<String>>),
}

/// Why a rule cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LanguageError(String);

/// Reads a rule as a file has it.
pub(crate) fn parse_written(written: &Written) -> Result<Check, LanguageError> {
    match written {
        Written::Text(text) => parse(text),
        Written::Lists(lists) => parse_lists(lists),
    }
}

/// Reads a rule in the language.
pub(crate) fn parse(text: &str) -> Result<Check, LanguageError> {
    if text.is_empty() {
        return Ok(Check::Always);
    }
    let tokens = tokens(text);
    let mut parser = Parser { rest: &tokens, depth: 0 };
    let check = parser.or()?;
    match parser.rest.first() {
        None => Ok(check),
        Some(token) => Err(LanguageError(format!("{token:?} is neither \"and\" nor \"or\""))),
    }
}

fn parse_lists(lists: &[Vec<String>]) -> Result<Check, LanguageError> {
    if lists.is_empty() {
        return Ok(Check::Always);
    }
    let mut alternatives = Vec::new();
    for list in lists.iter().filter(|list| !list.is_empty()) {
        let checks = list.iter().map(|word| leaf(word)).collect::<Result<Vec<_>, _>>()?;
        alternatives.push(joined(checks, Check::And));
    }
    Ok(if alternatives.is_empty() { Check::Never } else { joined(alternatives, Check::Or) })
}

fn joined(mut checks: Vec<Check>, join: fn(Vec<Check>) -> Check) -> Check {
    match checks.pop() {
        Some(only) if checks.is_empty() => only,
        last => {
            checks.extend(last);
            join(checks)
        }
    }
}

/// Words, with the parentheses around them (but not those of `%(key)s`) apart.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let inner = word.trim_start_matches('(');
        tokens.extend(std::iter::repeat_n("(", word.len() - inner.len()));
        let bare = inner.trim_end_matches(')');
        if !bare.is_empty() {
            tokens.push(bare);
        }
        tokens.extend(std::iter::repeat_n(")", inner.len() - bare.len()));
    }
    tokens
}

struct Parser<'a> {
    rest: &'a [&'a str],
    depth: usize,
}

impl<'a> Parser<'a> {
    fn or(&mut self) -> Result<Check, LanguageError> {
        self.series("or", Self::and, Check::Or)
    }

    fn and(&mut self) -> Result<Check, LanguageError> {
        self.series("and", Self::not, Check::And)
    }

    fn series(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Check, LanguageError>,
        join: fn(Vec<Check>) -> Check,
    ) -> Result<Check, LanguageError> {
        let mut all = vec![part(self)?];
        while self.rest.first().is_some_and(|token| token.eq_ignore_ascii_case(word)) {
            self.rest = &self.rest[1..];
            all.push(part(self)?);
        }
        Ok(joined(all, join))
    }

    fn not(&mut self) -> Result<Check, LanguageError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(LanguageError(format!("it is nested deeper than {MAX_DEPTH} levels")));
        }
        let token = self.take().ok_or_else(|| LanguageError("a check is missing at its end".to_owned()))?;
        let check = match token {
            "(" => self.group()?,
            _ if token.eq_ignore_ascii_case("not") => Check::Not(Box::new(self.not()?)),
            _ => leaf(token)?,
        };
        self.depth -= 1;
        Ok(check)
    }

    fn group(&mut self) -> Result<Check, LanguageError> {
        let check = self.or()?;
        match self.take() {
            Some(")") => Ok(check),
            Some(token) => Err(LanguageError(format!("{token:?} is neither \"and\" nor \"or\""))),
            None => Err(LanguageError("a parenthesis is not closed".to_owned())),
        }
    }

    fn take(&mut self) -> Option<&'a str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }
}

fn leaf(token: &str) -> Result<Check, LanguageError> {
    match token {
        "@" => return Ok(Check::Always),
        "!" => return Ok(Check::Never),
        _ if quoted(token).is_some() => return Err(LanguageError(format!("{token} is a text and not a check"))),
        _ => {}
    }
    let Some((kind, value)) = token.split_once(':') else {
        return Err(LanguageError(format!("{token:?} is not a check: it has no colon")));
    };
    Ok(match kind {
        "rule" => Check::Rule(value.to_owned()),
        "role" => Check::Role(Text::parse(value)?),
        "is_admin" => Check::IsAdmin(value.eq_ignore_ascii_case("true")),
        "http" | "https" => {
            return Err(LanguageError(format!("{token:?}: checks that ask a server ({kind}:) are not supported")));
        }
        _ => Check::Match(Match { kind: kind.to_owned(), literal: literal(kind), wanted: Text::parse(value)? }),
    })
}

/// What Python's `str` makes of a literal; nothing for a key.
fn literal(kind: &str) -> Option<String> {
    let digits = kind.strip_prefix('-').unwrap_or(kind);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty();
    let is_number = is_number && (digits == "0" || !digits.starts_with('0'));
    if is_number || matches!(kind, "True" | "False" | "None") {
        return Some(kind.to_owned());
    }
    quoted(kind).map(str::to_owned)
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

impl Text {
    fn parse(value: &str) -> Result<Self, LanguageError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = value;
        while let Some((before, after)) = rest.split_once('%') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                plain.push('%');
                rest = after;
                continue;
            }
            let attribute = after.strip_prefix('(').and_then(|inner| inner.split_once(")s"));
            let Some((name, after)) = attribute.filter(|(name, _)| !name.contains(')')) else {
                return Err(LanguageError(format!("{value:?}: a percent sign starts %(attribute)s or is written %%")));
            };
            if !plain.is_empty() {
                pieces.push(Piece::Plain(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Attribute(name.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain));
        }
        Ok(Self(pieces))
    }
}

impl Check {
    /// The rules that this one names, each as often as it does.
    pub(crate) fn references(&self) -> Vec<&str> {
        match self {
            Self::Rule(name) => vec![name],
            Self::Not(check) => check.references(),
            Self::And(checks) | Self::Or(checks) => checks.iter().flat_map(Self::references).collect(),
            Self::Always | Self::Never | Self::Role(_) | Self::IsAdmin(_) | Self::Match(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("@"),
            Self::Never => f.write_str("!"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::Rule(name) => write!(f, "rule:{name}"),
            Self::IsAdmin(expected) => write!(f, "is_admin:{}", if *expected { "True" } else { "False" }),
            Self::Match(Match { kind, wanted, .. }) => write!(f, "{kind}:{wanted}"),
            Self::Not(check) => write!(f, "not {check}"),
            Self::And(checks) => write_series(f, checks, " and "),
            Self::Or(checks) => write_series(f, checks, " or "),
        }
    }
}

fn write_series(f: &mut fmt::Formatter<'_>, checks: &[Check], between: &str) -> fmt::Result {
    let words: Vec<_> = checks.iter().map(ToString::to_string).collect();
    write!(f, "({})", words.join(between))
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Plain(text) => f.write_str(&text.replace('%', "%%")),
            Piece::Attribute(name) => write!(f, "%({name})s"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn role(name: &str) -> Check {
        Check::Role(Text(vec![Piece::Plain(name.to_owned())]))
    }

    #[test]
    fn and_binds_tighter_than_or_and_not_tighter_than_both() {
        let tight = Check::And(vec![role("b"), Check::Not(Box::new(role("c")))]);
        assert_eq!(parse("role:a OR role:b And not role:c"), Ok(Check::Or(vec![role("a"), tight])));
        let loose = Check::Or(vec![role("a"), role("b")]);
        assert_eq!(parse("(role:a or role:b) and role:c"), Ok(Check::And(vec![loose.clone(), role("c")])));
        assert_eq!(parse("not ( role:a or role:b )"), Ok(Check::Not(Box::new(loose))));
    }

    #[test]
    fn the_empty_rule_is_always_and_lists_are_alternatives_of_conjunctions() {
        assert_eq!(parse(""), Ok(Check::Always));
        let lists = |lists: &[&[&str]]| {
            parse_lists(
                &lists.iter().map(|list| list.iter().map(|&word| word.to_owned()).collect()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(lists(&[]), Ok(Check::Always));
        assert_eq!(lists(&[&[]]), Ok(Check::Never));
        assert_eq!(lists(&[&["role:a"], &[], &["role:b", "role:c"]]), parse("role:a or (role:b and role:c)"));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let cases = [
            ("role:a and", "a check is missing at its end"),
            ("   ", "a check is missing at its end"),
            ("(role:a", "a parenthesis is not closed"),
            ("role:a)", "\")\" is neither \"and\" nor \"or\""),
            ("role:a role:b", "\"role:b\" is neither \"and\" nor \"or\""),
            ("admin", "\"admin\" is not a check: it has no colon"),
            ("'a:b'", "'a:b' is a text and not a check"),
            ("http://x/%(id)s", "\"http://x/%(id)s\": checks that ask a server (http:) are not supported"),
            ("a:%(b)d", "\"%(b)d\": a percent sign starts %(attribute)s or is written %%"),
        ];
        for (text, reason) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), reason, "{text}");
        }
        assert!(parse(&"not ".repeat(MAX_DEPTH + 1)).unwrap_err().to_string().contains("nested deeper"));
    }

    #[test]
    fn the_left_side_is_a_literal_or_a_key() {
        for (text, said) in [
            ("'Member':x", Some("Member")),
            ("True:x", Some("True")),
            ("-7:x", Some("-7")),
            ("007:x", None),
            ("project_id:x", None),
        ] {
            let Ok(Check::Match(found)) = parse(text) else { panic!("{text}") };
            assert_eq!(found.literal.as_deref(), said, "{text}");
        }
    }

    fn text() -> impl Strategy<Value = Text> {
        let written = prop_oneof!["[a-z][a-z:._%-]{0,6}[a-z]", "[a-z]{0,3}"].prop_map(|text| text.replace('%', "%%"));
        (written.clone(), proptest::option::of("[a-z][a-z._]{0,8}"), written).prop_map(|(before, attribute, after)| {
            let attribute = attribute.map_or_else(String::new, |name| format!("%({name})s"));
            Text::parse(&format!("{before}{attribute}{after}")).unwrap()
        })
    }

    fn check() -> impl Strategy<Value = Check> {
        let kind =
            prop_oneof!["[a-z]{3}_id", "'[A-Za-z ]{0}[A-Za-z]{1,5}'", Just("True".to_owned()), "[1-9][0-9]{0,3}"];
        let leaf = prop_oneof![
            Just(Check::Always),
            Just(Check::Never),
            any::<bool>().prop_map(Check::IsAdmin),
            "[a-z_:-]{1,12}".prop_map(Check::Rule),
            text().prop_map(Check::Role),
            (kind, text()).prop_map(|(kind, wanted)| Check::Match(Match { literal: literal(&kind), kind, wanted })),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(|check| Check::Not(Box::new(check))),
                proptest::collection::vec(inner.clone(), 2..5).prop_map(Check::And),
                proptest::collection::vec(inner, 2..5).prop_map(Check::Or),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_rule_that_is_printed_and_read_again_is_the_same(check in check()) {
            prop_assert_eq!(parse(&check.to_string()), Ok(check));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[@!a-z:%()'\" ]{0,40}") {
            if let Ok(check) = parse(&text) {
                prop_assert_eq!(parse(&check.to_string()), Ok(check));
            }
        }
    }
}
