//! A worker's tasks: spawned in one place, counted, awaited by the drain.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// The tasks of one worker.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Rc<Running>);

#[derive(Debug, Default)]
struct Running {
    count: Cell<usize>,
    all_ended: Notify,
}

impl Tasks {
    /// Runs a task on this worker, to its end or until it is aborted.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the tracker the others are to use"
    )]
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> AbortHandle {
        self.0.count.set(self.0.count.get().saturating_add(1));
        let guard = Guard(Rc::clone(&self.0));
        // Boxed: an async block that awaits what it captured holds it twice.
        let task = Box::pin(task);
        let running = async move {
            let _guard = guard;
            task.await;
        };
        tokio::task::spawn_local(running).abort_handle()
    }

    /// Tasks still running.
    pub fn running(&self) -> usize {
        self.0.count.get()
    }

    /// Waits until none is left.
    pub async fn ended(&self) {
        while self.running() > 0 {
            self.0.all_ended.notified().await;
        }
    }
}

struct Guard(Rc<Running>);

impl Drop for Guard {
    fn drop(&mut self) {
        let left = self.0.count.get().saturating_sub(1);
        self.0.count.set(left);
        if left == 0 {
            self.0.all_ended.notify_one();
        }
    }
}
