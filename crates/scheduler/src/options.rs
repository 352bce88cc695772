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

fn out_of_bounds(config: &Config, group: &str, name: &str, expected: &str) -> ConfigError {
    ConfigError::Value {
        group: group.to_owned(),
        name: name.to_owned(),
        value: config.get(group, name).unwrap_or_default(),
        expected: expected.to_owned(),
    }
}
