//! Reserve and settle on one team's books, alone and with a second thread on the same counters.
//!
//! ```sh
//! cargo bench --bench contention
//! ```
#![allow(
    missing_docs,
    unused_qualifications,
    clippy::unwrap_used,
    clippy::excessive_nesting,
    clippy::disallowed_methods,
    reason = "a bench, and what its macros make"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use breakerbox::budget::admission::OnTrip;
use breakerbox::budget::books::{Ask, PeriodBooks, PoolLimits, TeamBooks, TeamLimits};
use breakerbox::budget::credits::MicroCredits;
use breakerbox::budget::operation::Class;
use breakerbox::budget::percent::Percent;
use breakerbox::budget::period::Calendar;
use criterion::{Criterion, criterion_group, criterion_main};
use jiff::tz::TimeZone;

fn rounds(books: &PeriodBooks, team: &TeamBooks, count: u64) {
    let roomy = MicroCredits::from_micros(1 << 61);
    let trip = Percent::parse("90%").unwrap();
    let limits = TeamLimits {
        allocation: roomy,
        trip,
        trip_at: trip.of(roomy),
        on_trip: OnTrip::Reject,
        buffer_max: roomy,
        emergency: MicroCredits::ZERO,
    };
    let pool = PoolLimits {
        month: roomy,
        trip,
        trip_at: trip.of(roomy),
        buffer: roomy,
        burst: roomy,
        annual: roomy,
        overage_cap: MicroCredits::ZERO,
    };
    let (estimate, bound) = (MicroCredits::from_micros(2), MicroCredits::from_micros(6));
    let ask = Ask {
        class: Class::Standard,
        estimate,
        bound,
        continued: false,
    };
    for _ in 0..count {
        let taken = books.reserve(
            (team, &limits),
            &pool,
            black_box(&ask),
            MicroCredits::ZERO,
            || Ok(()),
        );
        books.settle(team, taken.unwrap(), MicroCredits::from_micros(1));
    }
}

fn contended(criterion: &mut Criterion) {
    let calendar = Calendar::new("2026-02-01".parse().unwrap(), TimeZone::UTC);
    for threads in [1, 2] {
        criterion.bench_function(
            &format!("reserve and settle, {threads} threads"),
            |bencher| {
                bencher.iter_custom(|count| {
                    let books = PeriodBooks::new(calendar.period(9).unwrap(), Arc::default());
                    let team = TeamBooks::default();
                    team.own.raise_grant(MicroCredits::MAX);
                    let started = Instant::now();
                    std::thread::scope(|scope| {
                        for _ in 0..threads {
                            scope.spawn(|| rounds(&books, &team, count));
                        }
                    });
                    started.elapsed()
                });
            },
        );
    }
}

criterion_group!(benches, contended);
criterion_main!(benches);
