//! Questions that only read, answered on a thread of their own: a year's usage takes seconds, and whoever asks has
//! others to serve meanwhile.
//!
//! The queue is bounded. Whoever waits no longer, because it was dropped or its time is over, gives its question up:
//! it is skipped, or SQLite is told to stop.

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{LedgerError, sqlite};

/// How many of its own steps SQLite takes before it looks whether anybody waits: some microseconds.
const LOOK_EVERY: i32 = 1_000;
/// Questions waiting; with more the admin listener would only queue what nobody waits for any more.
const WAITING: usize = 16;

type Question = Box<dyn FnOnce() + Send>;

/// The thread that reads.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    #[expect(
        clippy::disallowed_types,
        reason = "never on the request path, held for one try_send"
    )]
    running: std::sync::Mutex<Option<(SyncSender<Question>, JoinHandle<()>)>>,
}

/// Gives the question up when its asker goes, whatever the reason. After the answer that means nothing.
#[derive(Default)]
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A question that fails is one that is not answered; the next ones are.
fn answer(question: Question) {
    if std::panic::catch_unwind(AssertUnwindSafe(question)).is_err() {
        tracing::error!("a question to the ledger panicked");
    }
}

impl Reader {
    /// Starts the thread.
    pub(super) fn start(path: PathBuf) -> io::Result<Self> {
        let (sender, questions) = sync_channel::<Question>(WAITING);
        let thread = std::thread::Builder::new().name("ledger-reader".to_owned());
        let thread = thread.spawn(move || questions.into_iter().for_each(answer))?;
        Ok(Self {
            path,
            running: Some((sender, thread)).into(),
        })
    }

    /// What `read` finds on a connection of its own, beside the writer.
    ///
    /// # Errors
    /// SQLite's, what `read` says, or that too many wait already.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting::default();
        let given_up = Arc::clone(&waiting.0);
        let path = self.path.clone();
        let question = move || {
            if given_up.load(Ordering::Relaxed) {
                return;
            }
            let answer = sqlite::open_to_read(&path).and_then(|mut connection| {
                let stops = move || given_up.load(Ordering::Relaxed);
                connection.progress_handler(LOOK_EVERY, Some(stops))?;
                Ok(connection)
            });
            let answer = answer.map_err(LedgerError::from);
            let answer = answer.and_then(|connection| read(&connection));
            // Nobody may wait any more.
            let _gone = reply.send(answer);
        };
        self.send(Box::new(question))?;
        answer.await.map_err(|_| LedgerError::NoAnswer)?
    }

    fn send(&self, question: Question) -> Result<(), LedgerError> {
        let running = self
            .running
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (sender, _) = running.as_ref().ok_or(LedgerError::NoAnswer)?;
        sender.try_send(question).map_err(|_| LedgerError::Busy)
    }

    /// Ends the thread, after the question it is at.
    pub(super) fn stop(&self) {
        let running = self
            .running
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some((sender, thread)) = running {
            drop(sender);
            if thread.join().is_err() {
                tracing::error!("the reading thread of the ledger panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Counts for minutes.
    const LONG: &str =
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 4000000000)
        SELECT count(*) FROM n";

    fn number(sql: &'static str) -> impl FnOnce(&Connection) -> Result<i64, LedgerError> + Send {
        move |connection| Ok(connection.query_row(sql, [], |row| row.get(0))?)
    }

    fn reader() -> (tempfile::TempDir, Reader) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        sqlite::open(&path, true).unwrap();
        (folder, Reader::start(path).unwrap())
    }

    #[tokio::test]
    async fn a_question_that_is_given_up_makes_room_for_the_next() {
        let (_folder, reader) = reader();
        for _ in 0..3 {
            let long = tokio::time::timeout(Duration::from_millis(100), reader.ask(number(LONG)));
            assert!(long.await.is_err(), "its time is over first");
        }
        let next = tokio::time::timeout(Duration::from_secs(10), reader.ask(number("SELECT 7")));
        assert_eq!(next.await.expect("at once").unwrap(), 7);
        reader.stop();
        let stopped = reader.ask(number("SELECT 7")).await;
        assert!(matches!(stopped, Err(LedgerError::NoAnswer)), "{stopped:?}");
    }

    #[tokio::test]
    async fn a_question_that_panics_leaves_the_next_ones_their_answers() {
        let (_folder, reader) = reader();
        let broken = reader.ask(|_| -> Result<i64, LedgerError> { panic!("as the test wants it") });
        let broken = broken.await;
        assert!(matches!(broken, Err(LedgerError::NoAnswer)), "{broken:?}");
        assert_eq!(reader.ask(number("SELECT 7")).await.unwrap(), 7);
        reader.stop();
    }

    #[tokio::test]
    async fn more_than_may_wait_are_told_so_at_once() {
        let (_folder, reader) = reader();
        let (begin, begun) = sync_channel(1);
        let first = reader.ask(move |connection| {
            begin.send(()).expect("the test waits");
            number(LONG)(connection)
        });
        let mut asking: Vec<std::pin::Pin<Box<dyn Future<Output = _>>>> = vec![Box::pin(first)];
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(asking[0].as_mut().poll(&mut context).is_pending());
        begun.recv().expect("taken");
        for _ in 0..WAITING {
            let mut next = Box::pin(reader.ask(number(LONG)));
            assert!(next.as_mut().poll(&mut context).is_pending());
            asking.push(next);
        }
        let busy = reader.ask(number("SELECT 7")).await;
        assert!(matches!(busy, Err(LedgerError::Busy)), "{busy:?}");
        drop(asking);
        reader.stop();
    }
}
