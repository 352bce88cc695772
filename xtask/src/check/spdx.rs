//! Licence expressions as crates have them: names joined by OR, AND (which binds tighter) and parentheses; the old `/`
//! means OR.

use anyhow::bail;

/// Whether somebody may use what is under `expression`, choosing where it offers a choice.
pub(super) fn is_allowed(expression: &str, allowed: &[&str]) -> anyhow::Result<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed };
    let result = parser.any_of()?;
    if let Some(word) = parser.words.first() {
        bail!("unexpected {word:?}");
    }
    Ok(result)
}

struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a [&'a str],
}

impl Parser<'_> {
    fn any_of(&mut self) -> anyhow::Result<bool> {
        let mut result = self.all_of()?;
        while self.take("OR") {
            result |= self.all_of()?;
        }
        Ok(result)
    }

    fn all_of(&mut self) -> anyhow::Result<bool> {
        let mut result = self.one()?;
        while self.take("AND") {
            result &= self.one()?;
        }
        Ok(result)
    }

    fn one(&mut self) -> anyhow::Result<bool> {
        if self.take("(") {
            let result = self.any_of()?;
            if !self.take(")") {
                bail!("a parenthesis is open");
            }
            return Ok(result);
        }
        let mut name = match self.next() {
            Some(word) if !matches!(word, "OR" | "AND" | "WITH" | ")") => word.to_owned(),
            other => bail!("a licence is missing before {other:?}"),
        };
        if self.take("WITH") {
            let Some(exception) = self.next() else { bail!("an exception is missing") };
            name = format!("{name} WITH {exception}");
        }
        Ok(self.allowed.contains(&name.as_str()))
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.words.first() == Some(&word);
        if is_next {
            self.words = &self.words[1..];
        }
        is_next
    }

    fn next(&mut self) -> Option<&str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(expression: &str) -> bool {
        is_allowed(expression, &["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]).unwrap()
    }

    #[test]
    fn a_choice_needs_one_allowed_licence_and_a_conjunction_all() {
        assert!(allows("MIT"));
        assert!(allows("GPL-3.0 OR MIT"));
        assert!(allows("GPL-3.0/MIT"));
        assert!(allows("MIT AND ISC"));
        assert!(!allows("MIT AND GPL-3.0"));
        assert!(!allows("GPL-3.0"));
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert!(allows("MIT OR GPL-3.0 AND LGPL-3.0"));
        assert!(!allows("(MIT OR GPL-3.0) AND LGPL-3.0"));
        assert!(allows("(GPL-3.0 OR MIT) AND ISC"));
    }

    #[test]
    fn an_exception_makes_another_licence() {
        assert!(allows("Apache-2.0 WITH LLVM-exception"));
        assert!(!allows("Apache-2.0"));
        assert!(!allows("MIT WITH LLVM-exception"));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for bad in ["", "MIT OR", "(MIT", "MIT ISC", "AND MIT", "MIT WITH", "MIT)"] {
            assert!(is_allowed(bad, &["MIT"]).is_err(), "{bad:?}");
        }
    }
}
