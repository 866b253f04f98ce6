//! A bar on standard error, where a terminal is there; silence where not.

use std::io::IsTerminal;

use super::complain;

/// Characters of the bar.
const WIDTH: u64 = 30;

/// How far long work is.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    last: Option<u64>,
}

impl Progress {
    /// A bar that has shown nothing yet.
    pub(super) fn new() -> Self {
        Self {
            is_shown: std::io::stderr().is_terminal(),
            last: None,
        }
    }

    /// `done` of `total`, and what is being worked on. Draws only when the bar grew by a step.
    pub(super) fn show<N: TryInto<u64>>(&mut self, done: N, total: N, what: &str) {
        // A count that does not fit is more than anybody waits for.
        let [done, total] = [done, total].map(|count| count.try_into().unwrap_or(u64::MAX));
        let parts = done.min(total).saturating_mul(1_000);
        let permille = parts.checked_div(total).unwrap_or(1_000);
        if self.is_shown && self.last != Some(permille) {
            self.last = Some(permille);
            complain(&line(permille, what));
        }
    }

    /// Work is over: the line is free again.
    pub(super) fn end(&mut self) {
        if self.last.take().is_some() {
            complain("\r\x1b[K");
        }
    }
}

fn line(permille: u64, what: &str) -> String {
    let full = permille.saturating_mul(WIDTH).div_euclid(1_000);
    let bar: String = (0..WIDTH)
        .map(|at| if at < full { '#' } else { '.' })
        .collect();
    format!("\r\x1b[K[{bar}] {:>3} %  {what}", permille.div_euclid(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_with_the_work() {
        let check =
            |permille, want: &str| assert!(line(permille, "x").contains(want), "{permille}");
        check(0, "[..............................]   0 %  x");
        check(500, "[###############...............]  50 %  x");
        check(1_000, "[##############################] 100 %  x");
    }
}
