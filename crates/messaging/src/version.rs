//! RPC versions, and oslo.messaging's rule of which version can stand in for which.

use std::fmt;
use std::str::FromStr;

/// The version of an RPC interface or of a message: `major.minor`, rarely `major.minor.rev`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version {
    /// Changes when old callers can no longer be served.
    pub major: u32,
    /// Grows with every addition.
    pub minor: u32,
    /// Zero nearly always, and then not written.
    pub rev: u32,
}

/// The text is not `major.minor` or `major.minor.rev`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an RPC version")]
pub struct ParseVersionError(String);

impl Version {
    /// What a message or an endpoint without a version is taken for.
    pub const DEFAULT: Version = Version::new(1, 0);

    /// `major.minor`.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor, rev: 0 }
    }

    /// Whether an implementation of version `self` can serve a message of version `requested`.
    pub fn is_compatible(self, requested: Version) -> bool {
        self.major == requested.major && (requested.minor, requested.rev) <= (self.minor, self.rev)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        match self.rev {
            0 => Ok(()),
            rev => write!(f, ".{rev}"),
        }
    }
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseVersionError(text.to_owned());
        let parts: Vec<u32> = text.split('.').map(parse_part).collect::<Option<_>>().ok_or_else(malformed)?;
        match parts[..] {
            [major, minor] => Ok(Version { major, minor, rev: 0 }),
            [major, minor, rev] => Ok(Version { major, minor, rev }),
            _ => Err(malformed()),
        }
    }
}

/// Digits only: the integer parser of the standard library would also take a sign.
fn parse_part(part: &str) -> Option<u32> {
    part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_version_convert_both_ways() {
        assert_eq!(version("6.0"), Version::new(6, 0));
        assert_eq!(version("1.2.3"), Version { major: 1, minor: 2, rev: 3 });
        for text in ["6.0", "5.13", "1.2.3"] {
            assert_eq!(version(text).to_string(), text);
        }
    }

    #[test]
    fn text_that_is_no_version_is_refused() {
        for text in ["", "6", "6.", ".0", "6.x", "+6.0", "6.-1", "1.2.3.4", "6.99999999999", "6.0 "] {
            assert!(text.parse::<Version>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn compatible_means_same_major_and_not_newer_than_implemented() {
        let cases = [
            ("6.5", "6.0", true),
            ("6.5", "6.5", true),
            ("6.5", "6.6", false),
            ("6.5", "5.13", false),
            ("5.13", "6.0", false),
            ("1.2.3", "1.2.3", true),
            ("1.2.3", "1.2.4", false),
            ("1.2.3", "1.1.9", true),
            ("1.2", "1.2.1", false),
        ];
        for (implemented, requested, expected) in cases {
            let answer = version(implemented).is_compatible(version(requested));
            assert_eq!(answer, expected, "{implemented} serving {requested}");
        }
    }
}
