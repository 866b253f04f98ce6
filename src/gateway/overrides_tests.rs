//! Which overrides are in force, and what they do to limits.

use jiff::tz::TimeZone;

use super::*;
use crate::budget::percent::Percent;
use crate::budget::period::Calendar;

const SALES: TeamId = TeamId(1);

fn credits(text: &str) -> MicroCredits {
    MicroCredits::parse(text).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn november() -> Period {
    let calendar = Calendar::new("2026-02-01".parse().unwrap(), TimeZone::UTC);
    calendar.period_at(at("2026-11-10T00:00:00Z")).unwrap()
}

fn row(effect: Effect, until: &str) -> Arc<Override> {
    Arc::new(Override {
        id: 7,
        at: at("2026-11-10T00:00:00Z"),
        period: november().name,
        team: Some(SALES),
        effect,
        until: at(until),
        reason: "r".to_owned(),
        author: "a".to_owned(),
        asked_as: None,
        ended: None,
    })
}

#[test]
fn each_ends_at_its_time_and_credits_with_their_period() {
    let extra = Effect::Credits(Funded::Buffer, credits("5"));
    let december = Period {
        start: at("2026-12-01T00:00:00Z"),
        end: at("2027-01-01T00:00:00Z"),
        name: crate::budget::period::PeriodName::from_code(202_612).unwrap(),
        ..november()
    };
    let check = |effect, until, period: &Period, now: &str, want: bool| {
        let all = Overrides {
            rows: vec![row(effect, until)],
        };
        let live = all.live(period, at(now)).len() == 1;
        assert_eq!(live, want, "{effect:?} until {until} at {now}");
        assert_eq!(all.over(period, at(now)).len(), usize::from(!want));
    };
    let (noon, end) = ("2026-11-10T12:00:00Z", "2026-12-01T00:00:00Z");
    check(extra, noon, &november(), "2026-11-10T11:59:59Z", true);
    check(extra, noon, &november(), noon, false);
    check(extra, end, &november(), "2026-11-30T23:59:59Z", true);
    check(extra, end, &november(), "2026-12-02T00:00:00Z", true); // the period is held
    check(extra, end, &december, "2026-12-01T00:00:00Z", false);
    let hold = Effect::Hold(Hold::Open);
    check(hold, "2026-12-05T00:00:00Z", &december, end, true); // over a month's edge
    check(Effect::Shadow, noon, &november(), noon, false);
}

#[test]
fn the_buffer_shrinks_or_the_month_grows_and_the_sum_stays() {
    let month = credits("1000");
    let mut pool = PoolLimits {
        month,
        trip: Percent::parse("90%").unwrap(),
        trip_at: credits("900"),
        buffer: credits("150"),
        burst: credits("150"),
        annual: credits("12000"),
        overage_cap: MicroCredits::ZERO,
    };
    let live = [
        row(
            Effect::Credits(Funded::Buffer, credits("50.5")),
            "2026-12-01T00:00:00Z",
        ),
        row(
            Effect::Credits(Funded::Annual, credits("100")),
            "2026-12-01T00:00:00Z",
        ),
        row(Effect::Hold(Hold::Closed), "2026-12-01T00:00:00Z"),
    ];
    let given = Given::to(SALES, &live);
    given.fund(&mut pool);
    assert_eq!(given.credits(), credits("150.5"));
    assert_eq!(
        (pool.buffer, pool.month, pool.trip_at),
        (credits("99.5"), credits("1100"), credits("990"))
    );
    assert_eq!(Given::to(TeamId(2), &live), Given::default());
    given.fund(&mut pool);
    given.fund(&mut pool);
    assert_eq!(pool.buffer, credits("-1.5"), "a debt is shown as one");
}

#[test]
fn a_reason_is_said_in_one_line_of_bounded_length() {
    let check = |said: &str, want: bool| {
        assert_eq!(text("reason", said, 5).is_ok(), want, "{said:?}");
    };
    check("INC-1", true);
    check(" ok ", true);
    check("", false);
    check(" \t", false);
    check("INC-12", false);
    check("a\nb", false);
    check("été é", true);
}
