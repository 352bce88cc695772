//! REST microversions: `2.37` and its order.

use std::fmt;
use std::str::FromStr;

/// A microversion of the compute API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Microversion {
    /// Always 2 for the compute API.
    pub major: u16,
    /// The part that counts.
    pub minor: u16,
}

impl Microversion {
    /// `Microversion::new(2, 37)`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The text is not of the form `MAJOR.MINOR` without leading zeros.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a microversion")]
pub struct InvalidMicroversion;

impl FromStr for Microversion {
    type Err = InvalidMicroversion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (major, minor) = text.split_once('.').ok_or(InvalidMicroversion)?;
        Ok(Self { major: part(major, false)?, minor: part(minor, true)? })
    }
}

fn part(digits: &str, zero_allowed: bool) -> Result<u16, InvalidMicroversion> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let leading_zero = digits.starts_with('0') && !(zero_allowed && digits == "0");
    if !plain || leading_zero {
        return Err(InvalidMicroversion);
    }
    digits.parse().map_err(|_| InvalidMicroversion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_parts_are_compared_as_numbers() {
        let parse = |text: &str| text.parse::<Microversion>().unwrap();
        assert!(parse("2.9") < parse("2.10"));
    }

    #[test]
    fn only_plain_numbers_are_microversions() {
        for bad in ["", "2", "2.", ".1", "2.01", "02.1", "2.1.1", "2.-1", "2. 1", "a.b", "2.99999999"] {
            assert_eq!(bad.parse::<Microversion>(), Err(InvalidMicroversion), "{bad:?}");
        }
        assert_eq!("2.0".parse(), Ok(Microversion::new(2, 0)));
    }
}
