//! Calls that carry other calls: composite, batch and graph.
//!
//! Each sub-request is judged by the same function as a call of its own. One that would cost credits makes the
//! whole call unpriced: it is refused, whatever the policy for unpriced calls.

use std::borrow::Cow;

use http::Method;
use serde::Deserialize;

use super::call::{Composite, Price};
use super::routes;

#[derive(Deserialize)]
struct CompositeBody<'a> {
    #[serde(borrow, rename = "compositeRequest")]
    requests: Vec<SubRequest<'a>>,
}

#[derive(Deserialize)]
struct BatchBody<'a> {
    #[serde(borrow, rename = "batchRequests")]
    requests: Vec<SubRequest<'a>>,
}

#[derive(Deserialize)]
struct GraphBody<'a> {
    #[serde(borrow)]
    graphs: Vec<CompositeBody<'a>>,
}

#[derive(Deserialize)]
struct SubRequest<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
}

/// Whether no sub-request can cost anything. False where that cannot be proven.
pub fn is_harmless(kind: Composite, body: &[u8]) -> bool {
    let all = |requests: &[SubRequest<'_>]| requests.iter().all(is_harmless_request);
    match kind {
        Composite::Composite => {
            serde_json::from_slice::<CompositeBody<'_>>(body).is_ok_and(|body| all(&body.requests))
        }
        Composite::Batch => {
            serde_json::from_slice::<BatchBody<'_>>(body).is_ok_and(|body| all(&body.requests))
        }
        Composite::Graph => serde_json::from_slice::<GraphBody<'_>>(body)
            .is_ok_and(|body| body.graphs.iter().all(|graph| all(&graph.requests))),
    }
}

fn is_harmless_request(request: &SubRequest<'_>) -> bool {
    let Ok(method) = Method::from_bytes(request.method.to_ascii_uppercase().as_bytes()) else {
        return false;
    };
    let path = request.url.split(['?', '#']).next().unwrap_or_default();
    // Batch urls are relative to /services/data/.
    let absolute = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/services/data/{path}")
    };
    match routes::recognise(&method, &absolute) {
        _ if !references_stay_in_records(&absolute) => false,
        Ok(Some(call)) => match call.price {
            Price::Free => true,
            Price::Paid(_) | Price::Composite(_) => false,
            Price::Unpriced(service) => !call.on_paid_path && service == "org",
        },
        Ok(None) | Err(_) => false,
    }
}

/// A reference such as `@{a.id}` is filled in by Salesforce after we looked, with what a client may have put into a
/// record. It can lead nowhere but to records only where `/services/data/vN/sobjects/` stands before it.
fn references_stay_in_records(path: &str) -> bool {
    let Some((literal, _)) = path.split_once('@') else {
        return true;
    };
    let mut segments = literal.split('/');
    let mut next_is = |word: &str| segments.next() == Some(word);
    next_is("")
        && next_is("services")
        && next_is("data")
        && segments.next().is_some_and(routes::is_version)
        && segments.next() == Some("sobjects")
        && segments.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paid_call_does_not_hide_among_others() {
        let check =
            |kind, body: &str, want| assert_eq!(is_harmless(kind, body.as_bytes()), want, "{body}");
        let record = r#"{"method":"PATCH","url":"/services/data/v60.0/sobjects/Account/001","referenceId":"a"}"#;
        let refers = r#"{"method":"GET","url":"/services/data/v60.0/sobjects/Account/@{a.id}","referenceId":"b"}"#;
        let prompt = r#"{"method":"POST","url":"/services/data/v60.0/einstein/prompt-templates/T/generations"}"#;
        let hidden = r#"{"method":"POST","url":"/services/data/v60.0/@{a.path}"}"#;
        let composite = |requests: &str| format!(r#"{{"compositeRequest":[{requests}]}}"#);
        check(Composite::Composite, &composite(record), true);
        check(
            Composite::Composite,
            &composite(&format!("{record},{refers}")),
            true,
        );
        check(
            Composite::Composite,
            &composite(&format!("{record},{prompt}")),
            false,
        );
        check(Composite::Composite, &composite(hidden), false);
        let reference = |url: &str, want| {
            let request = format!(r#"{{"method":"POST","url":"{url}"}}"#);
            check(Composite::Composite, &composite(&request), want);
        };
        reference("/services/data/v60.0/sobjects/@{a.type}/@{a.id}", true);
        reference("/services/data/v60.0/@{a.path}/sobjects/x", false);
        reference("/services/data/@{a.v}/sobjects/x", false);
        reference("/services/@{a.x}/v60.0/sobjects/x", false);
        reference("/services/apexrest/sobjects/@{a.x}", false);
        reference("/services/data/v60.0/chatter/sobjects/@{a.x}", false);
        reference("/services/data/v60.0/sobjects@{a.x}", false);
        let relative =
            r#"{"batchRequests":[{"method":"GET","url":"v60.0/sobjects/Account/@{a.id}"}]}"#;
        check(Composite::Batch, relative, true);
        check(Composite::Composite, "{}", false);
        let batch =
            r#"{"batchRequests":[{"method":"POST","url":"v60.0/smartdatadiscovery/predict"}]}"#;
        check(Composite::Batch, batch, false);
        check(
            Composite::Batch,
            r#"{"batchRequests":[{"method":"GET","url":"v60.0/limits"}]}"#,
            true,
        );
        check(
            Composite::Graph,
            &format!(r#"{{"graphs":[{}]}}"#, composite(prompt)),
            false,
        );
        check(
            Composite::Graph,
            &format!(r#"{{"graphs":[{}]}}"#, composite(record)),
            true,
        );
    }
}
