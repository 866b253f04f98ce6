//! What a round found, and what all of them did.

use std::collections::BTreeMap;
use std::fmt;

/// What was settled otherwise than as measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Apart {
    pub(super) rows: u64,
    pub(super) counted: i64,
    pub(super) spent: i64,
}

/// One round, in micro-credits.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) load_ms: u64,
    /// Open when the process was killed.
    pub(super) streams: u64,
    /// Kills while it started again.
    pub(super) killed_at_start: u32,
    pub(super) counted: i64,
    pub(super) spent: i64,
    /// Granted - durably settled at the crash.
    pub(super) open: i64,
    pub(super) apart: BTreeMap<&'static str, Apart>,
}

impl Round {
    /// Counted - really spent, of what was in flight or settled as measured.
    fn difference(&self) -> i64 {
        let apart: i64 = self
            .apart
            .values()
            .map(|apart| apart.counted - apart.spent)
            .sum();
        self.counted - self.spent - apart
    }

    /// `0 <= counted - really spent <= granted - durably settled at the crash`.
    pub(super) fn holds(&self) -> bool {
        (0..=self.open).contains(&self.difference())
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ms of load, {} streams open, counted {} spent {}, difference {} of {} granted and not settled",
            self.load_ms,
            self.streams,
            credits(self.counted),
            credits(self.spent),
            credits(self.difference()),
            credits(self.open)
        )
    }
}

/// All rounds.
#[derive(Debug, Default)]
pub(super) struct Summary {
    rounds: u32,
    pub(super) streams: u64,
    killed_at_start: u32,
    counted: i64,
    spent: i64,
    smallest: Option<i64>,
    largest: i64,
    largest_open: i64,
    apart: BTreeMap<&'static str, Apart>,
}

impl Summary {
    pub(super) fn add(&mut self, round: &Round) {
        self.rounds += 1;
        self.streams += round.streams;
        self.killed_at_start += round.killed_at_start;
        self.counted += round.counted;
        self.spent += round.spent;
        let difference = round.difference();
        self.smallest = Some(
            self.smallest
                .map_or(difference, |least| least.min(difference)),
        );
        self.largest = self.largest.max(difference);
        self.largest_open = self.largest_open.max(round.open);
        for (kind, apart) in &round.apart {
            let sum = self.apart.entry(kind).or_default();
            sum.rows += apart.rows;
            sum.counted += apart.counted;
            sum.spent += apart.spent;
        }
    }

    /// Whether each kind occurred.
    pub(super) fn apart_rows(&self) -> bool {
        ["partial", "uncertain", "void"]
            .iter()
            .all(|kind| self.apart.get(kind).is_some_and(|apart| apart.rows > 0))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rounds                              {:>14}", self.rounds)?;
        writeln!(
            f,
            "killed again while starting         {:>14}",
            self.killed_at_start
        )?;
        writeln!(
            f,
            "streams open at the kills           {:>14}",
            self.streams
        )?;
        let mut line = |name, micros| writeln!(f, "{name:<36}{:>14}", credits(micros));
        line("counted, credits", self.counted)?;
        line("really spent, credits", self.spent)?;
        line("smallest difference of a round", self.smallest.unwrap_or(0))?;
        line("largest difference of a round", self.largest)?;
        line("largest granted - settled at a crash", self.largest_open)?;
        writeln!(
            f,
            "settled otherwise than as measured, not in the differences:"
        )?;
        writeln!(
            f,
            "  {:<14}{:>8}{:>14}{:>14}{:>14}",
            "", "rows", "counted", "spent", "difference"
        )?;
        for (kind, apart) in &self.apart {
            let Apart {
                rows,
                counted,
                spent,
            } = *apart;
            writeln!(
                f,
                "  {kind:<14}{rows:>8}{:>14}{:>14}{:>14}",
                credits(counted),
                credits(spent),
                credits(counted - spent)
            )?;
        }
        Ok(())
    }
}

fn credits(micros: i64) -> String {
    breakerbox::budget::credits::MicroCredits::from_micros(micros).to_string()
}
