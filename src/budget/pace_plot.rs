//! `docs/pacing.svg`: the same demand under each `on_trip`, through the real admission.
//!
//! ```sh
//! BREAKERBOX_WRITE_DOCS=1 cargo test --lib the_plot_in_the_docs
//! ```

#![expect(
    clippy::arithmetic_side_effects,
    clippy::integer_division,
    reason = "figures of a test, within its own bounds"
)]

use std::fmt::Write;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use governor::clock::FakeRelativeClock;

use super::tests::Team;
use crate::budget::admission::OnTrip;
use crate::budget::credits::MicroCredits;
use crate::budget::percent::Percent;
use crate::budget::throttle::Throttle;

/// A call every 20 minutes from 9 to 17 o'clock, of 20 credits: an action on Salesforce's card. 480 a day.
const EVERY_S: i64 = 20 * 60;
const WORKING_S: std::ops::Range<i64> = 9 * 3_600..17 * 3_600;
const CREDITS: i64 = 20;
const ALLOCATION: i64 = 10_000;
const DAY_S: i64 = 86_400;
const DAYS: i64 = 30;

/// What is shown begins on this day, at this percent.
const FROM: (i64, i64) = (16, 75);
/// The plot within the picture: left, top, width, height.
const PLOT: (i64, i64, i64, i64) = (52, 44, 560, 250);

/// Credits used, at the end of each 20 minutes of the month.
fn used(on_trip: OnTrip) -> Vec<i64> {
    let allocation = MicroCredits::from_credits(ALLOCATION).unwrap();
    let team = Team::new(on_trip, allocation, Percent::whole(90));
    let clock = FakeRelativeClock::default();
    let throttle = Throttle::with_clock(NonZeroU32::new(6).unwrap(), clock.clone());
    let estimate = MicroCredits::from_credits(CREDITS).unwrap();
    let step = |second: i64| {
        if WORKING_S.contains(&second.rem_euclid(DAY_S)) {
            let slot = || throttle.take().is_ok();
            let _refused = team.request(team.after(second), estimate, slot).is_err();
        }
        clock.advance(Duration::from_secs(EVERY_S.unsigned_abs()));
        team.own.own.committed().whole_credits()
    };
    (0..DAYS * DAY_S).step_by(1_200).map(step).collect()
}

fn x(second: i64) -> i64 {
    let (left, _, width, _) = PLOT;
    let first = FROM.0 * DAY_S;
    left + (second - first) * width / (DAYS * DAY_S - first)
}

fn y(credits: i64) -> i64 {
    let (_, top, _, height) = PLOT;
    let first = ALLOCATION * FROM.1 / 100;
    top + (ALLOCATION - credits) * height / (ALLOCATION - first)
}

/// A stair: drawn where it rises only.
fn stair(used: &[i64]) -> String {
    let mut path = String::new();
    let mut at = None;
    for (credits, step) in used.iter().zip(1_i64..) {
        let second = step * EVERY_S;
        if second < FROM.0 * DAY_S || at == Some(y(*credits)) {
            continue;
        }
        let command = if at.is_none() { "M" } else { "H" };
        match at {
            None => write!(path, "{command}{} {}", x(second), y(*credits)).unwrap(),
            Some(_) => write!(path, "{command}{}V{}", x(second), y(*credits)).unwrap(),
        }
        at = Some(y(*credits));
    }
    write!(path, "H{}", x(DAYS * DAY_S)).unwrap();
    path
}

fn plot() -> String {
    let (left, top, width, height) = PLOT;
    let (right, bottom) = (left + width, top + height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 340\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Credits used over the last part of a month under throttle, pace and reject</title>\n\
         <rect width=\"720\" height=\"340\" fill=\"#fff\"/>\n\
         <text x=\"{left}\" y=\"22\" font-size=\"14\">Used of the allocation, 480 credits a day asked for on working hours</text>\n"
    );
    for percent in (FROM.1..=100).step_by(5) {
        let at = y(ALLOCATION * percent / 100);
        let colour = if percent == 90 { "#888" } else { "#ddd" };
        writeln!(
            svg,
            "<path d=\"M{left} {at}H{right}\" stroke=\"{colour}\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{percent} %</text>",
            left - 6,
            at + 4
        )
        .unwrap();
    }
    for day in (FROM.0..=DAYS).step_by(2) {
        let at = x(day * DAY_S);
        writeln!(
            svg,
            "<text x=\"{at}\" y=\"{}\" text-anchor=\"middle\">{day}</text>",
            bottom + 18
        )
        .unwrap();
    }
    writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">days since the period began</text>",
        left + width / 2,
        bottom + 36
    )
    .unwrap();
    let lines = [
        (OnTrip::Throttle, "throttle", "#c33", -4),
        (OnTrip::Pace, "pace", "#27a", 14),
        (OnTrip::Reject, "reject", "#666", 4),
    ];
    for (on_trip, name, colour, below) in lines {
        let used = used(on_trip);
        let end = y(*used.last().unwrap()) + below;
        writeln!(
            svg,
            "<path d=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{}\" y=\"{end}\" fill=\"{colour}\">{name}</text>",
            stair(&used),
            right + 6
        )
        .unwrap();
    }
    svg.push_str("</svg>\n");
    svg
}

#[test]
fn the_plot_in_the_docs_is_what_admission_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pacing.svg");
    if std::env::var_os("BREAKERBOX_WRITE_DOCS").is_some() {
        std::fs::write(&path, plot()).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap();
    assert_eq!(checked_in, plot(), "see the head of this file");
}

#[test]
fn throttle_runs_out_before_the_month_does_and_pace_does_not() {
    let day_of = |used: &[i64], credits: i64| {
        let step = used.iter().position(|used| *used >= credits);
        step.map(|step| i64::try_from(step).unwrap() * EVERY_S / DAY_S)
    };
    let (throttle, pace, reject) = (
        used(OnTrip::Throttle),
        used(OnTrip::Pace),
        used(OnTrip::Reject),
    );
    assert_eq!(day_of(&throttle, ALLOCATION), Some(20));
    assert_eq!(day_of(&pace, ALLOCATION), None);
    assert!(
        *pace.last().unwrap() >= ALLOCATION - 2 * CREDITS,
        "{:?}",
        pace.last()
    );
    assert_eq!(reject.last(), Some(&(ALLOCATION * 9 / 10)));
}
