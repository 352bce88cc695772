//! Files to be injected (`personality`, up to 2.56).

use serde_json::{Value, json};

use crate::compute::{ComputeError, quota::Limits};

/// Checks number, paths and contents against the quota. The path is told before the content.
pub(in crate::compute) fn check(limits: &Limits, files: &[(String, String)]) -> Result<(), ComputeError> {
    if limits.exceeds("injected_files", files.len()) {
        return Err(ComputeError::OnsetFileLimitExceeded);
    }
    let longest = |length: fn(&(String, String)) -> usize| files.iter().map(length).max().unwrap_or_default();
    if limits.exceeds("injected_file_path_bytes", longest(|(path, _)| path.chars().count())) {
        return Err(ComputeError::OnsetFilePathLimitExceeded { allowed: limits.get("injected_file_path_bytes") });
    }
    // Nova counts the base64 text.
    if limits.exceeds("injected_file_content_bytes", longest(|(_, content)| content.len())) {
        let allowed = limits.get("injected_file_content_bytes");
        return Err(ComputeError::OnsetFileContentLimitExceeded { allowed });
    }
    Ok(())
}

/// `[path, base64]` pairs.
pub(in crate::compute) fn on_the_wire(files: &[(String, String)]) -> Vec<Value> {
    files.iter().map(|(path, content)| json!([path, content])).collect()
}
