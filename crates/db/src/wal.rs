//! One sync for many commits of SQLite.
//!
//! With `synchronous = FULL` each commit waits for the disk while it holds the file's write lock, and everybody who wants
//! to write waits with it. Here SQLite only writes to its log (`synchronous = NORMAL`: never torn, but the last commits
//! could be lost when the power fails), and who committed waits, without the lock, until the log was synced after that. All
//! who wait when a sync begins are served by it. As with FULL, [`commit`](crate::Transaction::commit) returns when the
//! disk has it; others may see it a moment earlier.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};

use tokio::sync::oneshot;

type Waiter = oneshot::Sender<io::Result<()>>;

/// The log of an open database, and the thread that syncs it. The thread ends with the last clone. The database must stay
/// open for as long: its last connection deletes the log.
#[derive(Clone, Debug)]
pub(crate) struct Wal {
    waiters: Sender<Waiter>,
}

impl Wal {
    /// Of a database that has been read from or written to, which is when SQLite makes the log.
    pub(crate) fn open(database: &Path) -> io::Result<Self> {
        let mut path = OsString::from(database);
        path.push("-wal");
        let log = OpenOptions::new().write(true).open(path)?;
        let (waiters, received) = mpsc::channel();
        std::thread::Builder::new().name("wal-sync".to_owned()).spawn(move || serve(&log, &received))?;
        Ok(Self { waiters })
    }

    /// Returns when everything that was committed before the call is on disk.
    pub(crate) async fn synced(&self) -> io::Result<()> {
        let ended = |_| io::Error::other("the thread that syncs the log has ended");
        let (waiter, synced) = oneshot::channel();
        self.waiters.send(waiter).map_err(|mpsc::SendError(_)| io::Error::from(io::ErrorKind::BrokenPipe))?;
        synced.await.map_err(ended)?
    }
}

fn serve(log: &File, received: &Receiver<Waiter>) {
    while let Ok(first) = received.recv() {
        let waiters: Vec<Waiter> = std::iter::once(first).chain(received.try_iter()).collect();
        let synced = log.sync_data();
        for waiter in waiters {
            let answer = synced.as_ref().copied().map_err(|error| io::Error::new(error.kind(), error.to_string()));
            // Who does not wait any more has been cancelled.
            let _ = waiter.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_wait_are_told_and_the_thread_ends_with_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("some.sqlite");
        std::fs::write(directory.path().join("some.sqlite-wal"), b"frames").unwrap();
        let wal = Wal::open(&database).unwrap();
        let waiting: Vec<_> = (0..64)
            .map(|_| {
                let wal = wal.clone();
                tokio::spawn(async move { wal.synced().await })
            })
            .collect();
        for waiter in waiting {
            waiter.await.unwrap().unwrap();
        }
        let (unheard, answer) = oneshot::channel();
        wal.waiters.send(unheard).unwrap();
        drop(wal);
        answer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_disk_that_fails_is_no_success() {
        // A pipe cannot be synced.
        let (_reader, writer) = std::io::pipe().unwrap();
        let (waiters, received) = mpsc::channel();
        let wal = Wal { waiters };
        let thread = std::thread::spawn(move || serve(&File::from(std::os::fd::OwnedFd::from(writer)), &received));
        assert_eq!(wal.synced().await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        drop(wal);
        thread.join().unwrap();
    }

    #[test]
    fn there_is_no_log_without_a_database() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Wal::open(&directory.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
