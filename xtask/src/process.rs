//! Running other programs. None outlives this one by being forgotten: all are killed when their handle is dropped.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;

/// A program, to be killed when its handle is dropped.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    command.kill_on_drop(true);
    command
}

/// The cargo that started this program, in the workspace, without what it told this program about its own package: there
/// are build scripts that look at these variables, and what they built would be built again for each way to call cargo.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).env_remove("OUT_DIR");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

/// How a command would be typed, for messages.
pub(crate) fn shown(command: &Command) -> String {
    let command = command.as_std();
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words: Vec<_> = std::iter::once(name).chain(command.get_args()).map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Runs a program to its end with its output on ours.
pub(crate) async fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().await.with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs a program to its end and returns its stdout; its stderr becomes part of the error.
pub(crate) async fn capture(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}\n{}", shown(command), output.status, last_lines(&stderr, 20));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program to its end with its output on ours only if it fails.
pub(crate) async fn run_quietly(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{} failed: {}", shown(command), output.status);
    }
    Ok(())
}

/// Runs a program to its end, showing its output while it runs and returning all of it.
pub(crate) async fn run_and_keep(command: &mut Command) -> anyhow::Result<(ExitStatus, String)> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", shown(command)))?;
    let stdout = child.stdout.take().context("stdout is not piped")?;
    let stderr = child.stderr.take().context("stderr is not piped")?;
    let (out, err, status) = tokio::join!(show_and_keep(stdout), show_and_keep(stderr), child.wait());
    Ok((status?, out? + &err?))
}

async fn show_and_keep(stream: impl AsyncRead + Unpin) -> anyhow::Result<String> {
    let mut reader = BufReader::new(stream);
    let mut kept = String::new();
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("    {text}");
        kept.push_str(&text);
        line.clear();
    }
    Ok(kept)
}

/// Where a program is, in PATH and where administration programs are.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// The end of a text, at most `count` lines.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_short_text_are_all_of_it() {
        assert_eq!(last_lines("a\nb\n", 5), "a\nb");
        assert_eq!(last_lines("a\nb\nc\n\n", 2), "b\nc");
        assert_eq!(last_lines("", 2), "");
    }

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        assert_eq!(shown(program("/usr/bin/apt-get").args(["install", "-y", "cpio"])), "apt-get install -y cpio");
    }

    #[tokio::test]
    async fn a_failure_carries_what_the_program_said() {
        let failure = capture(program("sh").args(["-c", "echo no room >&2; exit 3"])).await.unwrap_err().to_string();
        assert!(failure.contains("exit status: 3") && failure.ends_with("no room"), "{failure}");
    }

    #[tokio::test]
    async fn output_that_is_shown_is_kept_too() {
        let mut command = program("sh");
        let (status, output) = run_and_keep(command.args(["-c", "echo one; echo two >&2; exit 1"])).await.unwrap();
        assert_eq!(status.code(), Some(1));
        assert_eq!(output, "one\ntwo\n");
    }
}
