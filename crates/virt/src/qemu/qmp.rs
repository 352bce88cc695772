//! A client for QEMU's monitor protocol: one connection, one command at a time, events skipped.
//!
//! QEMU serves one client of a socket at a time, so connections are short and their users take turns (see `locks`).
//!
//! ```text
//!   QEMU: {"QMP": {...}}           greeting
//!   we:   {"execute": "qmp_capabilities"}
//!   QEMU: {"return": {}}
//!   we:   {"execute": "query-status"}
//!   QEMU: {"event": ...}*          any time
//!   QEMU: {"return": ...} | {"error": {"class": ..., "desc": ...}}
//! ```

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::guest_dir::GuestDir;

/// No answer that we ask for comes near.
const LINE_MAX_BYTES: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum QmpError {
    /// Nobody is there, or went away: QEMU has ended or is ending.
    #[error("QEMU's monitor is not reachable: {0}")]
    Io(#[from] std::io::Error),
    #[error("QEMU's monitor did not answer within {} seconds", .0.as_secs())]
    Timeout(Duration),
    #[error("QEMU's monitor sent what is not QMP: {0}")]
    Protocol(String),
    #[error("QEMU refused {command}: {description}")]
    Refused { command: &'static str, description: String },
}

#[derive(Debug)]
pub(super) struct Qmp {
    stream: BufReader<UnixStream>,
    timeout: Duration,
}

impl Qmp {
    /// Connects, and is ready for commands. QEMU greets only once all its devices are made.
    pub(super) async fn connect(dir: &GuestDir, timeout: Duration) -> Result<Self, QmpError> {
        let connecting = async {
            let mut qmp = Self { stream: BufReader::new(dir.connect("qmp.sock").await?), timeout };
            // What a job of the client before us still has to say may come first.
            let mut greeting = qmp.read().await?;
            while greeting.get("event").is_some() {
                greeting = qmp.read().await?;
            }
            if greeting.get("QMP").is_none() {
                return Err(QmpError::Protocol(greeting.to_string()));
            }
            qmp.exchange("qmp_capabilities", json!({})).await?;
            Ok(qmp)
        };
        tokio::time::timeout(timeout, connecting).await.unwrap_or(Err(QmpError::Timeout(timeout)))
    }

    /// Runs a command and gives what it returns. `arguments` is an object.
    pub(super) async fn execute(&mut self, command: &'static str, arguments: Value) -> Result<Value, QmpError> {
        let timeout = self.timeout;
        let exchange = self.exchange(command, arguments);
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(QmpError::Timeout(timeout)))
    }

    async fn exchange(&mut self, command: &'static str, arguments: Value) -> Result<Value, QmpError> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        self.stream.get_mut().write_all(line.as_bytes()).await?;
        loop {
            let mut answer = self.read().await?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                let description = error.get("desc").and_then(Value::as_str);
                return Err(QmpError::Refused {
                    command,
                    description: description.unwrap_or("no reason given").to_owned(),
                });
            }
        }
    }

    async fn read(&mut self) -> Result<Value, QmpError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(LINE_MAX_BYTES);
        bounded.read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        serde_json::from_slice(&line).map_err(|error| QmpError::Protocol(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;
    use uuid::Uuid;

    /// A monitor that writes `lines`, one for each line that it reads, the first at once.
    fn monitor(dir: &GuestDir, lines: Vec<&'static str>) {
        dir.create().unwrap();
        let listener = UnixListener::bind(dir.qmp_socket()).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            for line in lines {
                stream.get_mut().write_all(line.as_bytes()).await.unwrap();
                stream.read_line(&mut String::new()).await.unwrap();
            }
        });
    }

    const TIMEOUT: Duration = Duration::from_millis(500);
    const GREETING: &str = "{\"QMP\": {\"version\": {}}}\r\n";

    async fn asked<const N: usize>(lines: [&'static str; N]) -> Result<Value, QmpError> {
        let root = tempfile::tempdir().unwrap();
        let dir = GuestDir::new(root.path(), Uuid::new_v4());
        monitor(&dir, lines.to_vec());
        let mut qmp = Qmp::connect(&dir, TIMEOUT).await?;
        qmp.execute("query-status", json!({})).await
    }

    #[tokio::test]
    async fn an_event_before_the_greeting_is_skipped() {
        let greeting = "{\"event\": \"JOB_STATUS_CHANGE\"}\r\n{\"QMP\": {\"version\": {}}}\r\n";
        let lines = [greeting, "{\"return\": {}}\r\n", "{\"return\": {\"status\": \"running\"}}\r\n"];
        assert_eq!(asked(lines).await.unwrap(), json!({"status": "running"}));
    }

    #[tokio::test]
    async fn an_event_before_the_answer_is_skipped() {
        let answer = "{\"event\": \"RESUME\"}\r\n{\"return\": {\"status\": \"running\"}}\r\n";
        let lines = [GREETING, "{\"return\": {}}\r\n", answer];
        assert_eq!(asked(lines).await.unwrap(), json!({"status": "running"}));
    }

    #[tokio::test]
    async fn a_refusal_carries_qemus_reason() {
        let refusal = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"not now\"}}\r\n";
        let error = asked([GREETING, "{\"return\": {}}\r\n", refusal]).await;
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "QEMU refused query-status: not now");
    }

    #[tokio::test]
    async fn silence_garbage_and_a_hangup_are_told_apart() {
        assert!(matches!(asked([""]).await, Err(QmpError::Timeout(_))));
        assert!(matches!(asked(["HTTP/1.1 200 OK\r\n"]).await, Err(QmpError::Protocol(_))));
        assert!(matches!(asked([]).await, Err(QmpError::Io(_))));
    }

    #[tokio::test]
    async fn a_socket_deep_in_the_tree_is_reached() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a-directory-with-a-long-name/".repeat(6));
        std::fs::create_dir_all(&deep).unwrap();
        let dir = GuestDir::new(&deep, Uuid::new_v4());
        dir.create().unwrap();
        let error = Qmp::connect(&dir, TIMEOUT).await.unwrap_err();
        // Not "path must be shorter than SUN_LEN".
        assert!(matches!(&error, QmpError::Io(error) if error.kind() == std::io::ErrorKind::NotFound), "{error}");
    }
}
