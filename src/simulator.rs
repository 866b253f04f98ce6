//! A stand-in for Salesforce: its wire shapes, its faults, and a bill of its own.
//!
//! The gateway is tried against it, so it must not agree with the gateway by construction: it
//! prices by its own table, when an action *executes*, and whatever happens to the connection
//! afterwards. `GET /_sim/billed` is "really spent" in every test. Shapes are those of
//! salesforce-apis.md, sections 1 to 5, odd spacing included. All hosts are served on one port.
//! Callers must show a token, any; the Models API also asks for `x-sfdc-app-context` and
//! `x-client-feature-id`.
//!
//! # Controls
//!
//! Request headers say what is to happen; where none does, [`Settings`] and chance decide. A
//! request with a header marked * is left alone by [`Faults`]. A header that cannot be read
//! answers 400.
//!
//! | header | effect |
//! |---|---|
//! | `x-sim-actions: 3`, `x-sim-actions: Get_Order,Get_Order` | the turn's actions: so many different ones, or these; a name given twice runs twice |
//! | `x-sim-status: 503` * | answered before anything runs, in the API's error shape (empty below 400); 200 only keeps chance out |
//! | `x-sim-late: 1` * | everything runs, then `x-sim-status` or 500 is answered |
//! | `x-sim-delay-ms: 50` | before the work and the head |
//! | `x-sim-chunk-delay-ms: 5` | between the events of a stream; the actions run at this pace |
//! | `x-sim-cut-after: 2` * | the connection closes after so many body frames, without the end of the message; a JSON body is cut into one piece more |
//! | `x-sim-chunk-bytes: 100` | a JSON body comes chunked, in pieces of this size |
//! | `x-sim-hang: 60000` * | everything runs, no head is sent, the connection closes after so many ms |
//! | `x-sim-tokens: 6500` | the tokens of each model call, billed and reported |
//! | `x-sim-no-usage: 1` | tokens are not reported |
//! | `x-sim-body-bytes: 4096` | least length of the answer's text (for a stream: of its chunks together, and of its `INFORM` again) |
//! | `x-sim-repeat-progress: 2` | so many `ACTION` progress events more for each action |
//! | `x-sim-error-frame: 1` * | the actions run, then an `Error` message comes inside the 200 |
//! | `x-sim-messages: Inform,Escalate` | what the turn ends with: `Inform`, `Inquire`, `Confirm`, `Failure`, `Escalate`; only the first carries results |
//! | `x-sim-validation-failure: 1` | a stream takes its text back with a `ValidationFailureChunk`, and says it again |
//! | `x-sim-team: sales` | sums for `/_sim/billed?by=header:x-sim-team` |
//! | `x-request-id: r1` | names the request in `/_sim/billed?by=request` and in the answer's header |

mod agent;
mod body;
mod book;
mod call;
mod clock;
mod controls;
mod credentials;
mod errors;
mod exchange;
mod messages;
mod models;
mod org;
mod price;
mod prompts;
mod route;
mod server;
mod sessions;
mod state;
mod turn;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub use book::{
    Billed, CallUnits, CardTotal, Counts, EmbedUnits, MicroCredits, PredictUnits, Record,
    TurnUnits, Units,
};

/// How the simulator behaves where a request's headers do not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Everything drawn by chance repeats with it, as long as requests come in the same order.
    pub seed: u64,
    /// Time before an answer's head.
    pub latency: Latency,
    /// Time between the events of a stream.
    pub chunk_delay: Duration,
    /// What goes wrong, how often.
    pub faults: Faults,
    /// A turn runs 0 to this many actions, drawn evenly.
    pub actions_max: u32,
    /// Credits a started 2,000 tokens costs on the flex card, by model; others are Standard (4).
    pub tiers: BTreeMap<String, u32>,
    /// Base of the Agent API's links and of `api_instance_url`; if `None`, what the request's
    /// `Host` names.
    pub api_url: Option<String>,
    /// `instance_url` of tokens; if `None`, what the request's `Host` names.
    pub org_url: Option<String>,
    /// Threads that serve, at least one.
    pub threads: usize,
    /// Callers must show what Salesforce asks of them.
    pub needs_credentials: bool,
}

impl Default for Settings {
    /// No latency, no faults, up to 3 actions a turn, one thread, links to itself.
    fn default() -> Self {
        Self {
            seed: 1,
            latency: Latency::ZERO,
            chunk_delay: Duration::ZERO,
            faults: Faults::NONE,
            actions_max: 3,
            tiers: BTreeMap::new(),
            api_url: None,
            org_url: None,
            threads: 1,
            needs_credentials: true,
        }
    }
}

/// Time before an answer's head, drawn evenly from both bounds and all between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The least, in milliseconds.
    pub min_ms: u32,
    /// The most, in milliseconds.
    pub max_ms: u32,
}

impl Latency {
    /// Answers at once.
    pub const ZERO: Self = Self {
        min_ms: 0,
        max_ms: 0,
    };

    fn draw(self, rng: &mut fastrand::Rng) -> Duration {
        if self.max_ms == 0 {
            return Duration::ZERO;
        }
        let least = self.min_ms.min(self.max_ms);
        Duration::from_millis(u64::from(rng.u32(least..=self.max_ms)))
    }
}

/// How often each fault strikes, in requests per million. At most one strikes a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Answered 500; nothing runs.
    pub error_500: u32,
    /// Answered 429; nothing runs.
    pub error_429: u32,
    /// Answered 503; nothing runs.
    pub error_503: u32,
    /// Everything runs, no head comes.
    pub hang: u32,
    /// A stream breaks off after 0 to 3 events; the turn goes on.
    pub cut_stream: u32,
    /// Any other body breaks off.
    pub cut_body: u32,
    /// An `Error` message inside a 200 turn.
    pub error_frame: u32,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        error_500: 0,
        error_429: 0,
        error_503: 0,
        hang: 0,
        cut_stream: 0,
        cut_body: 0,
        error_frame: 0,
    };
}

/// A running simulator; dropping it stops it.
#[derive(Debug)]
pub struct Simulator {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<state::State>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Simulator {
    /// Binds `listen` (port 0: any free one) and serves on threads of its own, named
    /// `simulator-0` and so on, until dropped or stopped.
    ///
    /// # Errors
    /// When the address cannot be had, or a thread cannot be started.
    pub fn start(listen: SocketAddr, settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let count = settings.threads;
        let state = Arc::new(state::State::new(settings));
        let (stop, stopped) = watch::channel(false);
        let threads = server::start(&listener, &state, count, &stopped)?;
        Ok(Self {
            address,
            state,
            stop,
            threads,
        })
    }

    /// What it has billed so far; the same as `GET /_sim/billed`.
    ///
    /// Once [`Billed::running`] is 0 and no request is on its way, the totals stand still.
    pub fn billed(&self) -> Billed {
        self.state.billed()
    }

    /// The same with [`Billed::by_request`].
    pub fn billed_by_request(&self) -> Billed {
        self.state.billed_by_request()
    }

    /// The same with [`Billed::by_header`].
    pub fn billed_by_team(&self) -> Billed {
        self.state.billed_by_team()
    }

    /// Starts the totals again from zero, and chance from the seed; open sessions stay.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// Closes the listener and all connections; what still runs is given up, unbilled.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked has already said so.
            drop(thread.join());
        }
    }
}
