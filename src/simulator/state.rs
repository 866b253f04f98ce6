//! What all threads share: settings, the book, the sessions.

#![expect(
    clippy::disallowed_types,
    reason = "a test tool's totals: held for a few additions"
)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Settings;
use super::book::{Billed, Book, Counts, Entry};
use super::call::Call;
use super::price::{self, Charge};
use super::sessions::{Sessions, Unavailable};
use crate::budget::operation::Operation;

/// Answers worked on at a time apart from their connections; more are refused with 503.
const RUNNING_MOST: usize = 65_536;

/// The simulator's one state.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    world: Mutex<World>,
    running: Arc<Semaphore>,
}

#[derive(Debug)]
struct World {
    book: Book,
    sessions: Sessions,
    /// Requests since the start or the last reset: each one's chance is drawn from its number.
    drawn: u64,
}

impl State {
    pub(crate) fn new(settings: Settings) -> Self {
        let sessions = Sessions::new(settings.seed);
        let world = Mutex::new(World {
            book: Book::default(),
            sessions,
            drawn: 0,
        });
        Self {
            settings,
            world,
            running: Arc::new(Semaphore::new(RUNNING_MOST)),
        }
    }

    /// Counts a request and gives it its number and its own chance, the same for the same seed.
    pub(crate) fn count_request(&self) -> (u64, fastrand::Rng) {
        let mut world = self.world();
        world.book.count_request();
        world.drawn += 1;
        let number = world.drawn;
        let seed = self.settings.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (number, fastrand::Rng::with_seed(seed))
    }

    /// A place for work that goes on without its caller; none when too much is going on.
    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.running).try_acquire_owned().ok()
    }

    /// Bills a request that runs all it runs at once.
    pub(crate) fn bill(&self, call: &Call, operation: Operation, counts: Counts, charge: Charge) {
        let mut world = self.world();
        let entry = world.book.open(operation, call.id(), None, call.team());
        world.book.bill(&entry, counts, charge);
    }

    /// Opens a session and bills the conversation; its id.
    pub(crate) fn open_session(&self, call: &Call, agent: &str) -> String {
        let charge = price::conversation();
        let mut world = self.world();
        let session = world.sessions.open(agent, charge.guide);
        let operation = Operation::AgentConversation;
        let entry = world
            .book
            .open(operation, call.id(), Some(&session), call.team());
        world.book.bill(
            &entry,
            Counts {
                calls: 1,
                ..Counts::default()
            },
            charge,
        );
        session
    }

    /// Takes a session for one request, until the lock is dropped.
    pub(crate) fn lock_session(self: &Arc<Self>, session: &str) -> Result<Lock, Unavailable> {
        let (number, agent) = self.world().sessions.take(session)?;
        Ok(Lock {
            state: Arc::clone(self),
            number,
            agent,
        })
    }

    /// Ends a session; its agent.
    pub(crate) fn end_session(&self, session: &str) -> Result<Box<str>, Unavailable> {
        self.world().sessions.end(session)
    }

    /// Whether a session is open.
    pub(crate) fn knows_session(&self, session: &str) -> bool {
        self.world().sessions.knows(session)
    }

    /// The totals.
    pub(crate) fn billed(&self) -> Billed {
        let running = RUNNING_MOST - self.running.available_permits();
        Billed {
            running,
            ..self.world().book.billed()
        }
    }

    /// The totals with the records.
    pub(crate) fn billed_by_request(&self) -> Billed {
        let by_request = Some(self.world().book.by_request());
        Billed {
            by_request,
            ..self.billed()
        }
    }

    /// The totals with the sums per team.
    pub(crate) fn billed_by_team(&self) -> Billed {
        let by_header = Some(self.world().book.by_team());
        Billed {
            by_header,
            ..self.billed()
        }
    }

    /// Starts again from zero, with the first request's chance; sessions stay as they are.
    pub(crate) fn reset(&self) {
        let mut world = self.world();
        world.book.reset();
        world.drawn = 0;
    }

    fn world(&self) -> MutexGuard<'_, World> {
        // Sums stay sums, whatever the thread that held them died of.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session in use; dropping it lets the next request in.
#[derive(Debug)]
pub(crate) struct Lock {
    state: Arc<State>,
    number: u64,
    agent: Box<str>,
}

impl Lock {
    /// The session's agent.
    pub(crate) fn agent(&self) -> &str {
        &self.agent
    }

    /// Books the turn itself, which costs nothing; its place for the actions to come.
    pub(crate) fn begin_turn(&self, call: &Call, session: &str) -> Entry {
        let mut world = self.state.world();
        let entry = world
            .book
            .open(Operation::AgentTurn, call.id(), Some(session), call.team());
        let turn = Counts {
            calls: 1,
            ..Counts::default()
        };
        world.book.bill(&entry, turn, Charge::default());
        entry
    }

    /// Runs, that is bills, one action of the turn.
    pub(crate) fn run_action(&self, entry: &Entry, first_of_its_name: bool) {
        let mut world = self.state.world();
        let spent = world
            .sessions
            .guide_spent(self.number)
            .map_or(i64::MAX, |spent| *spent);
        let charge = price::action(spent, first_of_its_name);
        if let Some(spent) = world.sessions.guide_spent(self.number) {
            *spent += charge.guide;
        }
        world.book.bill(
            entry,
            Counts {
                actions: 1,
                ..Counts::default()
            },
            charge,
        );
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.state.world().sessions.release(self.number);
    }
}
