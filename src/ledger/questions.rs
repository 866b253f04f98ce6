//! How the ledger thread is asked, and what an answer is waited for; its end is the last question.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::time::Instant;

use super::commands::Command;
use super::{Ledger, LedgerError};

/// How long a question to the ledger thread may wait; a disk that stalls longer is an error to whoever asked.
const ANSWER: Duration = Duration::from_secs(10);
/// How often whoever waits for an answer looks whether the disk stalls.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Ledger {
    /// From now on whoever asks has others to serve: a disk that stalls is not waited for.
    pub fn begin_serving(&self) {
        self.0.shared.is_serving.store(true, Ordering::Relaxed);
    }

    /// What the ledger thread answers.
    pub(super) fn ask<T>(
        &self,
        command: impl FnOnce(SyncSender<Result<T, LedgerError>>) -> Command,
    ) -> Result<T, LedgerError> {
        let (reply, answer) = sync_channel(1);
        let shared = &self.0.shared;
        let is_hopeless =
            || shared.is_serving.load(Ordering::Relaxed) && shared.stalled().is_some();
        if is_hopeless() {
            return Err(LedgerError::NoAnswer);
        }
        self.0
            .commands
            .try_send(command(reply))
            .map_err(|_| LedgerError::NoAnswer)?;
        self.wake();
        let began = Instant::now();
        loop {
            match answer.recv_timeout(LOOK_AGAIN) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Disconnected) => return Err(LedgerError::NoAnswer),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if began.elapsed() >= ANSWER || is_hopeless() {
                return Err(LedgerError::NoAnswer);
            }
        }
    }

    /// Writes the last batch, hands grants back, and ends the thread.
    ///
    /// # Errors
    /// When the last batch cannot be written; what is lost then is charged as granted at the next start.
    pub fn stop(&self) -> Result<(), LedgerError> {
        self.0.reader.stop();
        let stopped = self.ask_to_stop();
        let join = self
            .0
            .join
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some((thread, lock)) = join {
            if !thread.is_finished() && stopped.is_err() && self.0.shared.stalled().is_some() {
                tracing::error!(
                    "the disk stalls: what is not written is charged at the next start"
                );
            } else if thread.join().is_err() {
                tracing::error!("the ledger thread panicked");
            }
            drop(lock);
        }
        stopped
    }

    /// Also of a disk that stalls: it may be back within the time an answer may take.
    fn ask_to_stop(&self) -> Result<(), LedgerError> {
        let (reply, answer) = sync_channel(1);
        self.0
            .commands
            .try_send(Command::Stop(reply))
            .map_err(|_| LedgerError::NoAnswer)?;
        self.wake();
        answer
            .recv_timeout(ANSWER)
            .map_err(|_| LedgerError::NoAnswer)?
    }

    #[cfg(test)]
    pub(super) fn abort(&self) {
        let sent = self.0.commands.send(Command::Abort);
        self.wake();
        assert!(sent.is_ok(), "the ledger thread runs");
        let join = self.0.join.lock().unwrap().take().unwrap();
        join.0.join().unwrap();
    }
}
