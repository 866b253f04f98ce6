//! Einstein Discovery predictions: counted by row or record, at most 200 a call.

use std::borrow::Cow;

use compact_str::CompactString;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::NamedKind;
use super::facts::RequestFacts;
use crate::budget::usage::Usage;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(default, borrow)]
    prediction_definition: Option<Cow<'a, str>>,
    #[serde(default)]
    rows: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    records: Option<Vec<IgnoredAny>>,
}

/// What a prediction request says: whose definition it is, and how many rows or records it has.
pub fn read(body: &[u8]) -> RequestFacts {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return RequestFacts::default();
    };
    let units = match (request.rows, request.records) {
        (None, None) => None,
        (rows, records) => {
            let count = |list: Option<Vec<IgnoredAny>>| list.map_or(0, |list| list.len());
            u64::try_from(count(rows).saturating_add(count(records))).ok()
        }
    };
    let named = request.prediction_definition;
    let named = named.map(|id| (NamedKind::Prediction, CompactString::from(id.as_ref())));
    RequestFacts {
        units,
        named,
        ..RequestFacts::default()
    }
}

#[derive(Deserialize)]
struct Answer {
    predictions: Vec<IgnoredAny>,
}

/// The predictions in the answer.
pub fn usage(answer: &[u8]) -> Option<Usage> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    Some(Usage::of_units(
        u64::try_from(answer.predictions.len()).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_records_are_counted() {
        let check = |body: &str, want: (Option<u64>, Option<&str>)| {
            let facts = read(body.as_bytes());
            let named = facts.named.as_ref().map(|(_, id)| id.as_str());
            assert_eq!((facts.units, named), want, "{body}");
        };
        check(
            r#"{"predictionDefinition":"1OR1","type":"RawData","rows":[["2"],["3"]]}"#,
            (Some(2), Some("1OR1")),
        );
        check(
            r#"{"predictionDefinition":"1OR1","records":["001"]}"#,
            (Some(1), Some("1OR1")),
        );
        check(r#"{"predictionDefinition":"1OR1"}"#, (None, Some("1OR1")));
        check(r#"{"rows":[["2"]],"rows":[]}"#, (None, None));
    }

    #[test]
    fn the_answer_states_the_count() {
        let answer = br#"{"predictionDefinition":"1OR1","predictions":[{"status":"Success"},{}]}"#;
        assert_eq!(usage(answer), Some(Usage::of_units(2)));
        assert_eq!(usage(b"[]"), None);
    }
}
