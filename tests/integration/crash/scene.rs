//! One round: load, `kill -9`, sometimes another one while it starts, restart; then counted beside really spent.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use breakerbox::simulator::{Settings, Simulator};

use super::load::{self, CALLERS, READERS, Seen};
use super::summary::{Apart, Round};
use crate::process::Process;
use crate::stage::{Files, allocations, any_port, wait_for};

/// What the load's model calls really cost, answered whole or not.
const MODEL_CALL: i64 = 2_000_000;
/// The codes of `event.kind`.
const KINDS: [(i64, &str); 3] = [(1, "partial"), (2, "uncertain"), (3, "void")];

/// A gateway in front of a simulated Salesforce, and where both stood after the last round.
pub(super) struct Scene {
    simulator: Simulator,
    files: Files,
    chance: fastrand::Rng,
    process: Option<Process>,
    counted: i64,
    spent: i64,
    batch: i64,
}

impl Scene {
    pub(super) fn set(seed: u64) -> Self {
        let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
        let files = Files::write(simulator.address, &allocations("guide", "1_200_000_000"));
        let process = Some(Process::serve(&files));
        let chance = fastrand::Rng::with_seed(seed);
        Self {
            simulator,
            files,
            chance,
            process,
            counted: 0,
            spent: 0,
            batch: 0,
        }
    }

    pub(super) fn round(&mut self) -> Round {
        let (seen, load) = (Seen::default(), self.chance.u64(2..700));
        let streams = self.load_and_kill(&seen, Duration::from_millis(load));
        wait_for("the simulator is done", Duration::from_secs(20), || {
            self.simulator.billed().running == 0
        });
        let open = self.one("SELECT coalesce(sum(granted - settled), 0) FROM account");
        let tight = self.chance.bool();
        self.allocate(tight);
        let mut killed_at_start = 0;
        while self.chance.u32(0..4) == 0 {
            self.kill_at_start();
            killed_at_start += 1;
        }
        let process = Process::serve(&self.files);
        let counted = process.used();
        self.process = Some(process);
        let spent = self.simulator.billed().guide.total_micro_credits;
        let apart = self.apart(&seen);
        let round = Round {
            load_ms: load,
            streams,
            killed_at_start,
            counted: counted - self.counted,
            spent: spent - self.spent,
            open,
            apart,
        };
        (self.counted, self.spent) = (counted, spent);
        self.batch = self.one("SELECT value FROM meta WHERE key = 'batch'");
        round
    }

    /// How many streams were open.
    fn load_and_kill(&mut self, seen: &Seen, load: Duration) -> u64 {
        let mut process = self.process.take().expect("running");
        let (proxy, seed) = (process.proxy, self.chance.u64(..));
        std::thread::scope(|scope| {
            for n in 0..CALLERS {
                scope.spawn(move || load::call_models(proxy, seen, seed ^ n));
            }
            for n in CALLERS..CALLERS + READERS {
                scope.spawn(move || load::read_turns(proxy, seen, seed ^ n));
            }
            let until = std::time::Instant::now() + load;
            while let Some(left) = until.checked_duration_since(std::time::Instant::now()) {
                std::thread::park_timeout(left);
            }
            let streams = seen.open.load(Ordering::SeqCst);
            process.child.kill().expect("kill -9");
            process.child.wait().expect("gone");
            streams
        })
    }

    /// Recovery is cut short as well.
    fn kill_at_start(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_breakerbox"))
            .args(["serve", "--config"])
            .arg(self.files.config())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("serve");
        std::thread::park_timeout(Duration::from_millis(self.chance.u64(0..80)));
        child.kill().expect("kill -9");
        child.wait().expect("gone");
    }

    /// Plenty for the next round; or so little that it ends at the limit, where grants run only just ahead.
    fn allocate(&mut self, tight: bool) {
        let used = self.one("SELECT coalesce(sum(granted), 0) FROM account WHERE source = 0");
        let left = self.chance.i64(100..2_000);
        let of_sales = used / 1_000_000 + if tight { left } else { 1_000_000 };
        let annual = (of_sales * 12 * 100 / 35).to_string();
        let text = allocations("guide", &annual);
        std::fs::write(self.files.allocations(), text).expect("write");
    }

    fn one(&self, sql: &str) -> i64 {
        let database = rusqlite::Connection::open(self.files.ledger()).expect("open");
        database
            .query_row(sql, [], |row| row.get(0))
            .expect("a row")
    }

    /// What the round's events settled otherwise than as measured, beside what that really cost; and what clients
    /// know to have ended so, whose event was lost with the process.
    fn apart(&self, seen: &Seen) -> BTreeMap<&'static str, Apart> {
        let mut spent_in = self.turns();
        let mut apart = BTreeMap::from(KINDS.map(|(_, name)| (name, Apart::default())));
        let mut cut = 0;
        for (kind, session, credits) in self.events() {
            let kind = KINDS.iter().find(|(code, _)| *code == kind);
            let (name, of_turn) = match (kind, session) {
                (Some((_, name)), session) => (*name, session),
                (None, Some(session)) => {
                    spent_in.remove(&session); // measured: not apart, whatever its client did
                    continue;
                }
                (None, None) => continue,
            };
            let sum = apart.entry(name).or_default();
            sum.rows += 1;
            sum.counted += credits;
            match (of_turn, name) {
                (Some(session), _) => sum.spent += spent_in.remove(&session).unwrap_or(0),
                (None, "partial") => {
                    cut += 1;
                    sum.spent += MODEL_CALL;
                }
                (None, _) => {} // a model call that was refused costs nothing
            }
        }
        let lost = apart.entry("no event").or_default();
        for session in seen.apart.lock().unwrap().iter() {
            if let Some(spent) = spent_in.remove(session) {
                lost.rows += 1;
                lost.spent += spent;
            }
        }
        for _ in cut..seen.cut.load(Ordering::SeqCst) {
            lost.rows += 1;
            lost.spent += MODEL_CALL;
        }
        apart
    }

    /// Kind, a turn's session, and charge of every event of the round.
    fn events(&self) -> Vec<(i64, Option<String>, i64)> {
        let folder = self.files.folder.path().join("data/events");
        let days = std::fs::read_dir(folder).expect("the events");
        let mut events = Vec::new();
        for day in days {
            let path = day.expect("a file").path();
            if path.extension().is_none_or(|extension| extension != "db") {
                continue;
            }
            let database = rusqlite::Connection::open(path).expect("open");
            let mut select = database
                .prepare(
                    "SELECT kind, iif(operation = 1, session, NULL), credits FROM event WHERE batch > ?",
                )
                .expect("events");
            let rows = select.query_map([self.batch], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            });
            events.extend(rows.expect("rows").map(|row| row.expect("a row")));
        }
        events
    }

    /// What each session's turn really cost.
    fn turns(&self) -> BTreeMap<String, i64> {
        let records = self.simulator.billed_by_request().by_request;
        let turns = records.into_iter().flatten();
        let turns = turns.filter(|record| record.operation == "agent.turn");
        let session = |record: breakerbox::simulator::Record| {
            let session = record.session.map(String::from);
            (session.unwrap_or_default(), record.micro_credits.guide)
        };
        turns.map(session).collect()
    }
}
