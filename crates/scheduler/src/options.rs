//! Options with bounds.

use kilonova_core::{Config, ConfigError};

pub(crate) fn at_least_one(config: &Config, group: &str, name: &str, default: usize) -> Result<usize, ConfigError> {
    match config.parse(group, name, default)? {
        0 => Err(out_of_bounds(config, group, name, "at least 1")),
        value => Ok(value),
    }
}

pub(crate) fn finite(config: &Config, group: &str, name: &str, default: f64) -> Result<f64, ConfigError> {
    let value: f64 = config.parse(group, name, default)?;
    if value.is_finite() { Ok(value) } else { Err(out_of_bounds(config, group, name, "a finite number")) }
}

pub(crate) fn at_least_zero(config: &Config, group: &str, name: &str, default: f64) -> Result<f64, ConfigError> {
    let value = finite(config, group, name, default)?;
    if value >= 0.0 { Ok(value) } else { Err(out_of_bounds(config, group, name, "at least 0")) }
}

/// `name=ratio, name=ratio, …`
pub(crate) fn ratios(config: &Config, group: &str, name: &str) -> Result<Vec<(String, f64)>, ConfigError> {
    let pair = |text: &String| {
        let (key, ratio) = text.split_once('=')?;
        let ratio = ratio.trim().parse().ok().filter(|ratio: &f64| ratio.is_finite())?;
        Some((key.trim().to_owned(), ratio))
    };
    let pairs: Option<Vec<_>> = config.list(group, name, &[]).iter().map(pair).collect();
    pairs.ok_or_else(|| out_of_bounds(config, group, name, "a list of name=ratio"))
}

fn out_of_bounds(config: &Config, group: &str, name: &str, expected: &str) -> ConfigError {
    ConfigError::Value {
        group: group.to_owned(),
        name: name.to_owned(),
        value: config.get(group, name).unwrap_or_default(),
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_pairs_with_a_number() {
        let read = |value: &str| {
            let config = Config::from_text(&format!("[metrics]\nweight_setting = {value}\n")).unwrap();
            ratios(&config, "metrics", "weight_setting").map_err(|error| error.to_string())
        };
        assert_eq!(read("a=1, b = -2.5"), Ok(vec![("a".to_owned(), 1.0), ("b".to_owned(), -2.5)]));
        assert_eq!(read(""), Ok(Vec::new()));
        for wrong in ["a", "a=x", "a=1, b", "a=NaN"] {
            let error = read(wrong).unwrap_err();
            assert!(error.starts_with("[metrics] weight_setting: "), "{error}");
        }
    }
}
