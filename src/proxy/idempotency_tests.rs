//! What a key reads as, and how long it is taken.

use http::HeaderValue;

use super::*;

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(&IDEMPOTENCY_KEY, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_key_reads_the_same_in_quotes_and_bare() {
    let check = |values: &[&str], want: Result<Option<&str>, &str>| {
        let headers = headers(values);
        let got = key(&headers);
        let got = got.as_ref().map(|key| {
            let key = key.as_deref();
            key.map(|key| std::str::from_utf8(key).unwrap())
        });
        match (got, want) {
            (Err(said), Err(want)) => assert!(said.contains(want), "{values:?}: {said}"),
            (got, want) => assert_eq!(got.map_err(|said| *said), want, "{values:?}"),
        }
    };
    check(&[], Ok(None));
    check(&["8e03978e-40d5"], Ok(Some("8e03978e-40d5")));
    check(&["\"8e03978e-40d5\""], Ok(Some("8e03978e-40d5")));
    check(&["\"a\";v=1"], Ok(Some("a")));
    check(
        &[r#""say \"hi\" \\ there""#],
        Ok(Some(r#"say "hi" \ there"#)),
    );
    check(&["pay/42;x=1+2=="], Ok(Some("pay/42;x=1+2==")));
    check(&["a", "b"], Err("more than one"));
    check(&["a", "a"], Err("more than one"));
    check(&[""], Err("empty"));
    check(&["\"\""], Err("empty"));
    check(&["a, b"], Err("not one token"));
    check(&["a b"], Err("not one token"));
    check(&["\"a\", \"b\""], Err("in quotes"));
    check(&["\"a"], Err("in quotes"));
    check(&[r#""a\n""#], Err("in quotes"));
    check(&["\"ü\""], Err("in quotes"));
    check(&["ü"], Err("not one token"));
    let long = "k".repeat(KEY_CHARACTERS);
    check(&[&long], Ok(Some(&long)));
    check(&[&format!("{long}k")], Err("longer than 255"));
    check(&[&format!("\"{long}k\"")], Err("longer than 255"));
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn payload(call: u128, body: Option<u128>) -> Payload {
    Payload { call, body }
}

fn take(keys: &Idempotency, key: u128, payload: Payload, at: i64) -> Option<(bool, bool)> {
    let request = RequestId(u128::from(at.unsigned_abs()));
    let taken = keys.take(key, payload, request, second(at)).err()?;
    Some((taken.in_flight, taken.differs))
}

#[test]
fn another_payload_is_told_apart_where_both_were_read() {
    let check = |first: Payload, second: Payload, differs: bool| {
        let keys = Idempotency::default();
        assert_eq!(take(&keys, 1, first, 1), None);
        let told = take(&keys, 1, second, 2);
        assert_eq!(told, Some((true, differs)), "{first:?} {second:?}");
        assert_eq!(take(&keys, 2, second, 2), None, "another key");
    };
    check(payload(1, Some(1)), payload(1, Some(1)), false);
    check(payload(1, Some(1)), payload(1, Some(2)), true);
    check(payload(1, Some(1)), payload(2, Some(1)), true);
    check(payload(1, None), payload(1, Some(2)), false);
    check(payload(1, Some(1)), payload(1, None), false);
    check(payload(1, None), payload(2, None), true);
}

#[test]
fn a_key_is_free_again_unless_its_request_was_made() {
    let keys = Idempotency::default();
    let call = payload(1, Some(1));
    assert_eq!(take(&keys, 1, call, 10), None);
    keys.let_go(1);
    assert_eq!(take(&keys, 1, call, 20), None);
    let row = keys.used_up(1, second(30)).unwrap();
    assert_eq!((row.request, row.ended), (RequestId(20), second(30)));
    keys.let_go(1); // as the guard does in the end
    assert_eq!(take(&keys, 1, call, 40), Some((false, false)));
    let keys = Idempotency::restored(vec![row]);
    assert_eq!(take(&keys, 1, call, 40), Some((false, false)));
    assert_eq!(take(&keys, 1, payload(1, Some(2)), 40), Some((false, true)));
}

#[test]
fn a_key_used_up_is_known_for_a_day_and_one_in_flight_for_as_long_as_it_takes() {
    let keys = Idempotency::default();
    let call = payload(1, Some(1));
    assert_eq!(take(&keys, 1, call, 0), None);
    assert_eq!(take(&keys, 2, call, 0), None);
    keys.used_up(1, second(100)).unwrap();
    keys.expire(second(100 + 86_399));
    assert_eq!(keys.len(), 2);
    keys.expire(second(100 + 86_400));
    assert_eq!(take(&keys, 1, call, 90_000), None, "a day is over");
    assert_eq!(take(&keys, 2, call, 90_000), Some((true, false)));
}

#[test]
fn keys_are_bounded_and_none_in_flight_is_forgotten() {
    let keys = Idempotency::default();
    let call = payload(1, None);
    let in_flight = 100;
    for key in 0..KEYS_MAX {
        let at = i64::try_from(key).unwrap();
        let key = u128::try_from(key).unwrap();
        assert_eq!(take(&keys, key, call, at), None);
        if key >= in_flight {
            keys.used_up(key, second(at)).unwrap();
        }
    }
    let new = u128::try_from(KEYS_MAX).unwrap();
    assert_eq!(take(&keys, new, call, 1_000_000), None);
    assert!(keys.len() <= KEYS_MAX);
    for key in 0..in_flight {
        assert_eq!(
            take(&keys, key, call, 1_000_000),
            Some((true, false)),
            "{key}"
        );
    }
    let newest = take(&keys, new - 1, call, 1_000_000);
    assert_eq!(newest, Some((false, false)), "the newest is known");
    assert_eq!(
        take(&keys, in_flight, call, 1_000_000),
        None,
        "the oldest went"
    );
}
