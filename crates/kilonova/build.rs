//! Builds noVNC into the binary, where `KILONOVA_NOVNC` names a directory with it (the npm package `@novnc/novnc`, which
//! `cargo xtask` fetches). Without it the page of a console says what is missing.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=KILONOVA_NOVNC");
    let mut files = Vec::new();
    if let Some(root) = std::env::var_os("KILONOVA_NOVNC").map(PathBuf::from) {
        println!("cargo::rerun-if-changed={}", root.display());
        for part in ["core", "vendor", "docs", "AUTHORS"] {
            collect(&root, &root.join(part), &mut files);
        }
        files.sort();
    }
    let list: String = files
        .iter()
        .map(|(name, path)| format!("    ({name:?}, include_bytes!({:?})),\n", path.display().to_string()))
        .collect();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("novnc.rs");
    let text = format!("const FILES: &[(&str, &[u8])] = &[\n{list}];\n");
    std::fs::write(&out, text).expect("OUT_DIR can be written");
}

/// The files below `path`, by their names below `root`.
fn collect(root: &Path, path: &Path, files: &mut Vec<(String, PathBuf)>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("a directory that can be read") {
            collect(root, &entry.expect("an entry").path(), files);
        }
    } else {
        let name = path.strip_prefix(root).expect("below it").display().to_string();
        files.push((name, path.canonicalize().expect("a file that is there")));
    }
}
