//! What a conversation costs with its turns in flight, and which sessions are remembered.

use super::*;
use crate::budget::operation::Operation;

const AT: Timestamp = Timestamp::UNIX_EPOCH;

fn row(session: &str, last_used: i64) -> SessionRow {
    SessionRow {
        session: session.into(),
        agent: "0Xx1".into(),
        team: TeamId(0),
        charged: MicroCredits::from_micros(2),
        opened_below_trip: true,
        opening_paid: true,
        last_used: Timestamp::from_second(last_used).unwrap(),
        version: 1,
    }
}

/// Enters a turn that is estimated at 3; where the conversation stood.
fn enter<'s>(sessions: &'s Sessions, session: &str) -> ((i64, bool), Entered<'s>) {
    let mut stood = Conversation::default();
    let (_, entered) = sessions.enter(session, AT, |conversation| {
        stood = conversation;
        Terms::flat(Operation::AgentTurn, MicroCredits::from_micros(3))
    });
    ((stood.charged.micros(), stood.opening_owed), entered)
}

fn settled(sessions: &Sessions, turn: Entered<'_>, micros: i64) -> Option<SessionRow> {
    let charged = (TeamId(7), MicroCredits::from_micros(micros));
    sessions.turn_settled(&turn.admitted().unwrap(), Some(charged))
}

#[test]
fn a_turn_in_flight_counts_with_its_estimate() {
    let sessions = Sessions::default();
    sessions.opened(row("a", 0));
    let (stood, first) = enter(&sessions, "a");
    assert_eq!(stood, (2, false));
    let (stood, refused) = enter(&sessions, "a");
    assert_eq!(stood, (5, false));
    drop(refused);
    let row = settled(&sessions, first, 1).unwrap();
    assert_eq!(
        (row.charged.micros(), row.team, row.version),
        (3, TeamId(0), 2)
    );
    assert_eq!(enter(&sessions, "a").0, (3, false));
}

#[test]
fn a_look_says_what_a_turn_would_find_and_changes_nothing() {
    let sessions = Sessions::default();
    sessions.opened(row("a", 0));
    let check = |session: &str, want: (i64, bool, Option<&str>)| {
        let stands = sessions.look(session);
        let stood = stands.conversation;
        let got = (stood.charged.micros(), stood.opening_owed);
        assert_eq!((got.0, got.1, stands.agent.as_deref()), want, "{session}");
    };
    check("b", (0, true, None));
    assert_eq!(sessions.len(), 1, "a look leaves no name behind");
    let (stood, _first) = enter(&sessions, "a");
    assert_eq!(stood, (2, false));
    let (stood, _second) = enter(&sessions, "b");
    assert_eq!(stood, (0, true));
    check("a", (5, false, Some("0Xx1")));
    check("b", (3, false, None));
}

#[test]
fn a_turn_that_is_over_counts_with_what_was_measured() {
    let sessions = Sessions::default();
    sessions.opened(row("a", 0));
    let mut first = enter(&sessions, "a").1.admitted().unwrap();
    sessions.turn_counts(&mut first, MicroCredits::from_micros(1));
    let (stood, second) = enter(&sessions, "a");
    assert_eq!(stood, (3, false));
    let charged = Some((TeamId(7), MicroCredits::from_micros(1)));
    assert!(sessions.turn_settled(&first, charged).is_some());
    let (stood, third) = enter(&sessions, "a");
    assert_eq!(stood, (6, false), "the second counts with its estimate");
    drop((second, third));
    assert_eq!(enter(&sessions, "a").0, (3, false));
}

#[test]
fn an_opening_not_seen_is_owed_once() {
    let sessions = Sessions::default();
    let (stood, first) = enter(&sessions, "b");
    assert_eq!(stood, (0, true));
    let (stood, second) = enter(&sessions, "b");
    assert_eq!(stood, (3, false), "not by a turn beside it");
    drop(first);
    let (stood, third) = enter(&sessions, "b");
    assert_eq!(stood, (3, true), "a refused turn paid for nothing");
    assert_eq!(settled(&sessions, third, 2).unwrap().team, TeamId(7));
    assert_eq!(settled(&sessions, second, 1).unwrap().charged.micros(), 3);
    let (terms, entered) = sessions.enter("b", AT, |stood| {
        Terms::flat(Operation::AgentTurn, stood.charged)
    });
    assert_eq!(terms.quote.estimate.micros(), 3);
    assert!(!entered.opened_below_trip);
}

#[test]
fn a_name_that_never_cost_anything_is_forgotten() {
    let sessions = Sessions::default();
    let (_, refused) = enter(&sessions, "c");
    let (_, voided) = enter(&sessions, "c");
    drop(refused);
    assert_eq!(sessions.len(), 1, "one is in flight");
    assert_eq!(
        sessions.turn_settled(&voided.admitted().unwrap(), None),
        None
    );
    assert!(sessions.is_empty());
    // One that was opened is kept, whatever becomes of its turns.
    sessions.opened(row("d", 0));
    let (_, voided) = enter(&sessions, "d");
    assert!(
        sessions
            .turn_settled(&voided.admitted().unwrap(), None)
            .is_some()
    );
    assert_eq!(sessions.len(), 1);
}

#[test]
fn the_oldest_idle_go_first_and_a_day_is_the_limit() {
    let sessions = Sessions::default();
    for at in 0..SESSIONS_MAX {
        sessions.opened(row(&at.to_string(), i64::try_from(at).unwrap()));
    }
    let knows = |session: &str| sessions.by_id.contains_key(session);
    for stranger in ["x", "y"] {
        drop(enter(&sessions, stranger));
    }
    assert!(knows("0"), "a made-up name makes nobody else go");
    sessions.opened(row("new", 1_000_000));
    assert!(sessions.len() <= SESSIONS_MAX);
    assert!(!knows("0") && knows("new"));
    sessions.expire(Timestamp::from_second(1_000_000 + 86_399).unwrap());
    assert_eq!(sessions.len(), 1);
    sessions.expire(Timestamp::from_second(1_000_000 + 86_400).unwrap());
    assert!(sessions.is_empty());
}

/// A streaming client reads its session's id in the first bytes of the opening's answer.
#[test]
fn a_turn_that_comes_before_the_opening_is_over_goes_on_counting() {
    let sessions = Sessions::default();
    let (stood, first) = enter(&sessions, "a");
    assert_eq!(stood, (0, true));
    let opened = sessions.opened(row("a", 0));
    assert!(opened.version > 0, "it is newer than what was known");
    let (stood, _second) = enter(&sessions, "a");
    assert_eq!(stood, (2 + 3, false), "the opening and the turn in flight");
    drop(first);
    assert_eq!(sessions.look("a").conversation.charged.micros(), 2 + 3);
}
