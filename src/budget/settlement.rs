//! The settlement table of design.md, section 2: from how far an exchange got to what it costs.
//!
//! The only place that decides. Guards on the request path note facts; dropping them calls this.

use std::time::Duration;

use super::credits::MicroCredits;
use super::operation::Operation;

/// What a call will cost, as known before it is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The operation that is priced.
    pub operation: Operation,
    /// Taken from the allocation before forwarding.
    pub estimate: MicroCredits,
    /// The most this call may cost; covered by the grant.
    pub bound: MicroCredits,
    /// The least a call costs that was executed at all.
    pub base: MicroCredits,
}

/// An answer that took longer than this ran its actions: Salesforce gives up at 120 s.
pub const LATE_ANSWER: Duration = Duration::from_secs(100);

/// How far the exchange got: facts, noted as they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The upstream never saw a whole request.
    Unsent,
    /// The request was sent, no response head came.
    Sent,
    /// A response head other than 2xx, after this time.
    Refused {
        /// The upstream's status code.
        status: u16,
        /// From the end of the request to the response head.
        after: Duration,
    },
    /// A 2xx head; the body has not ended.
    Streaming,
    /// A 2xx whose body ended as it should.
    Complete,
}

/// What was learned of the price while the answer went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The price of what was measured so far.
    pub metered: MicroCredits,
    /// A turn's `END_OF_TURN` or final INFORM went by; true for operations without turns.
    pub turn_over: bool,
    /// An Error message inside the answer.
    pub error_inside: bool,
    /// What to charge a late 500, 502 or 504 of an operation that runs actions.
    pub on_late_5xx: OnLate5xx,
}

/// The policy for late server errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnLate5xx {
    /// The actions ran: charge the estimate.
    #[default]
    Estimate,
    /// Charge nothing.
    Void,
}

/// What an exchange is charged, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Given back whole.
    Void,
    /// The measured price.
    Measured(MicroCredits),
    /// What was measured before the answer broke off, at least the base.
    Partial(MicroCredits),
    /// Actions may have run unseen: the larger of measured and estimate.
    Uncertain(MicroCredits),
}

impl Charge {
    /// The credits to settle.
    pub const fn credits(self) -> MicroCredits {
        match self {
            Self::Void => MicroCredits::ZERO,
            Self::Measured(credits) | Self::Partial(credits) | Self::Uncertain(credits) => credits,
        }
    }
}

/// Decides what an exchange costs.
pub fn charge(reached: Reached, quote: &Quote, seen: &Seen) -> Charge {
    match reached {
        Reached::Unsent => Charge::Void,
        Reached::Sent => uncertain(quote.estimate),
        Reached::Refused {
            status: 500 | 502 | 504,
            after,
        } if quote.operation.runs_actions()
            && after > LATE_ANSWER
            && seen.on_late_5xx == OnLate5xx::Estimate =>
        {
            uncertain(quote.estimate)
        }
        Reached::Refused { .. } => Charge::Void,
        Reached::Complete | Reached::Streaming if seen.error_inside => {
            Charge::Measured(seen.metered)
        }
        Reached::Complete | Reached::Streaming
            if quote.operation.runs_actions() && !seen.turn_over =>
        {
            uncertain(seen.metered.max(quote.estimate))
        }
        Reached::Complete => Charge::Measured(seen.metered),
        Reached::Streaming if quote.operation.runs_actions() => Charge::Measured(seen.metered),
        Reached::Streaming => Charge::Partial(seen.metered.max(quote.base)),
    }
}

/// An unpriced uncertainty is none: a free call stays a void one.
fn uncertain(credits: MicroCredits) -> Charge {
    if credits.is_zero() {
        Charge::Void
    } else {
        Charge::Uncertain(credits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTE: Quote = Quote {
        operation: Operation::AgentTurn,
        estimate: MicroCredits::from_micros(2),
        bound: MicroCredits::from_micros(6),
        base: MicroCredits::from_micros(1),
    };

    fn check(operation: Operation, reached: Reached, metered: i64, turn_over: bool, want: Charge) {
        let seen = Seen {
            metered: MicroCredits::from_micros(metered),
            turn_over,
            error_inside: false,
            on_late_5xx: OnLate5xx::Estimate,
        };
        let quote = Quote { operation, ..QUOTE };
        assert_eq!(
            charge(reached, &quote, &seen),
            want,
            "{operation} {reached:?} {metered} {turn_over}"
        );
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table, a line each")]
    fn every_row_of_the_settlement_table() {
        let (turn, prompt) = (Operation::AgentTurn, Operation::PromptGenerate);
        let micros = MicroCredits::from_micros;
        let refused = |status, secs| Reached::Refused {
            status,
            after: Duration::from_secs(secs),
        };
        check(
            turn,
            Reached::Complete,
            3,
            true,
            Charge::Measured(micros(3)),
        );
        check(
            turn,
            Reached::Complete,
            1,
            false,
            Charge::Uncertain(micros(2)),
        );
        check(
            turn,
            Reached::Streaming,
            1,
            false,
            Charge::Uncertain(micros(2)),
        );
        check(
            turn,
            Reached::Streaming,
            4,
            false,
            Charge::Uncertain(micros(4)),
        );
        check(
            turn,
            Reached::Streaming,
            1,
            true,
            Charge::Measured(micros(1)),
        );
        check(
            prompt,
            Reached::Streaming,
            0,
            true,
            Charge::Partial(micros(1)),
        );
        check(
            prompt,
            Reached::Complete,
            2,
            true,
            Charge::Measured(micros(2)),
        );
        for status in [100, 302, 400, 404, 423, 429, 503, 501] {
            check(turn, refused(status, 110), 0, false, Charge::Void);
        }
        for status in [500, 502, 504] {
            check(turn, refused(status, 100), 0, false, Charge::Void);
            check(
                turn,
                refused(status, 101),
                0,
                false,
                Charge::Uncertain(micros(2)),
            );
            check(prompt, refused(status, 101), 0, true, Charge::Void);
        }
        check(prompt, Reached::Unsent, 0, true, Charge::Void);
        check(prompt, Reached::Sent, 0, true, Charge::Uncertain(micros(2)));
    }

    #[test]
    fn an_error_inside_a_200_costs_what_was_measured_so_far() {
        let seen = Seen {
            metered: MicroCredits::from_micros(1),
            turn_over: false,
            error_inside: true,
            on_late_5xx: OnLate5xx::Estimate,
        };
        for reached in [Reached::Complete, Reached::Streaming] {
            let want = Charge::Measured(MicroCredits::from_micros(1));
            assert_eq!(charge(reached, &QUOTE, &seen), want);
        }
    }
}
