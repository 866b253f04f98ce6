//! The org: tokens, predictions, and the free calls of ordinary CRM traffic.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

use super::body::{Body, json};
use super::book::Counts;
use super::call::Call;
use super::clock;
use super::errors::{Fault, quoted};
use super::price;
use super::state::State;
use crate::budget::operation::Operation;

/// Rows or records one prediction call takes.
const ROWS_MOST: usize = 200;

/// `POST /services/oauth2/token`
pub(crate) fn token(state: &State, call: &mut Call) -> Result<Response<Body>, Fault> {
    if form_field(&call.body, "grant_type").is_none() {
        let message = "grant type not supported";
        return Err(Fault::new(
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            message,
        ));
    }
    let now = clock::epoch_ms();
    let (api, org) = (call.api_url(&state.settings), call.org_url(&state.settings));
    let client = form_field(&call.body, "client_id").unwrap_or_default();
    let payload = format!(
        r#"{{"scp":"sfap_api chatbot_api api","aud":["https://api.salesforce.com"],"sub":"uid:005Hn00000AAAAAIA4","nbf":{0},"iss":{1},"iat":{0},"exp":{2},"client_id":{3}}}"#,
        now.div_euclid(1_000),
        quoted(&org),
        now.div_euclid(1_000) + 1_800,
        quoted(client),
    );
    let access_token = jwt(call, &payload);
    let (api, org) = (quoted(&api), quoted(&org));
    Ok(json(
        StatusCode::OK,
        Bytes::from(format!(
            r#"{{"access_token":"{access_token}","signature":"c2ltdWxhdGVk","token_format":"jwt","scope":"sfap_api chatbot_api api","instance_url":{org},"id":"https://login.salesforce.com/id/00DHn000000AAAAMA4/005Hn00000AAAAAIA4","token_type":"Bearer","issued_at":"{now}","api_instance_url":{api}}}"#
        )),
    ))
}

/// `POST /services/a360/token`: a Data Cloud token for a core one.
pub(crate) fn data_token(state: &State, call: &mut Call) -> Response<Body> {
    let org = quoted(&call.org_url(&state.settings));
    let access_token = jwt(
        call,
        r#"{"aud":"api://a360","scopes":"cdp_ingest_api cdp_query_api"}"#,
    );
    json(
        StatusCode::OK,
        Bytes::from(format!(
            r#"{{"access_token":"{access_token}","instance_url":{org},"token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:jwt","expires_in":7191}}"#
        )),
    )
}

/// `POST /services/data/vNN.0/smartdatadiscovery/predict`: a prediction for each row or record.
pub(crate) fn predict(state: &State, call: &mut Call) -> Result<Response<Body>, Fault> {
    let request = call.json()?;
    let Some(definition) = request.get("predictionDefinition").and_then(Value::as_str) else {
        let message = "Required fields are missing: [predictionDefinition]";
        return Err(Fault::new(
            StatusCode::BAD_REQUEST,
            "REQUIRED_FIELD_MISSING",
            message,
        ));
    };
    let length = |field: &str| {
        request
            .get(field)
            .and_then(Value::as_array)
            .map_or(0, Vec::len)
    };
    let rows = length("rows") + length("records");
    if rows > ROWS_MOST {
        let message = format!("The request has {rows} rows; at most {ROWS_MOST} are allowed.");
        return Err(Fault::new(
            StatusCode::BAD_REQUEST,
            "INVALID_INPUT",
            message,
        ));
    }
    let billed = u64::try_from(rows).unwrap_or(u64::MAX);
    let counts = Counts {
        calls: 1,
        rows: billed,
        ..Counts::default()
    };
    state.bill(
        call,
        Operation::EinsteinPredict,
        counts,
        price::prediction(billed),
    );
    let predictions: Vec<String> = (0..rows)
        .map(|_| {
            let (whole, cents) = (call.rng.u32(1..1_000), call.rng.u32(0..100));
            format!(
                r#"{{"model":{{"id":"1OtHn000000AAAAKA4"}},"prediction":{{"total":{whole}.{cents:02},"middleValues":[]}},"prescriptions":[],"status":"Success"}}"#
            )
        })
        .collect();
    let (definition, predictions) = (quoted(definition), predictions.join(","));
    Ok(json(
        StatusCode::CREATED,
        Bytes::from(format!(
            r#"{{"predictionDefinition":{definition},"predictions":[{predictions}],"settings":{{"maxMiddleValues":0,"maxPrescriptions":0,"prescriptionImpactPercentage":0}}}}"#
        )),
    ))
}

/// `GET /services/data`
pub(crate) fn versions() -> Response<Body> {
    json(
        StatusCode::OK,
        Bytes::from_static(
            br#"[{"label":"Summer '25","url":"/services/data/v64.0","version":"64.0"},{"label":"Winter '26","url":"/services/data/v65.0","version":"65.0"}]"#,
        ),
    )
}

/// `GET /services/data/vNN.0/limits`
pub(crate) fn limits() -> Response<Body> {
    json(
        StatusCode::OK,
        Bytes::from_static(
            br#"{"DailyApiRequests":{"Max":100000,"Remaining":99998},"DailyEinsteinDiscoveryPredictAPICalls":{"Max":50000,"Remaining":50000}}"#,
        ),
    )
}

/// `GET /services/data/vNN.0/sobjects/...`
pub(crate) fn sobjects(call: &Call) -> Response<Body> {
    let path = quoted(call.path());
    let body = format!(r#"{{"attributes":{{"type":"Account","url":{path}}},"Name":"Acme"}}"#);
    json(StatusCode::OK, Bytes::from(body))
}

/// A field of a form body, undecoded.
fn form_field<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let pairs = std::str::from_utf8(body).ok()?.split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, v)| v)
}

/// Looks like a signed token; the signature is noise.
fn jwt(call: &mut Call, payload: &str) -> String {
    let noise: Vec<u8> = std::iter::repeat_with(|| call.rng.u8(..))
        .take(32)
        .collect();
    let head =
        base64_url(br#"{"tnk":"core/prod/simulated","ver":"1.0","kid":"CORE","alg":"RS256"}"#);
    format!(
        "{head}.{}.{}",
        base64_url(payload.as_bytes()),
        base64_url(&noise)
    )
}

/// Base64 with the URL alphabet and no padding (RFC 4648, section 5).
fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for sextet in 0..=three.len() {
            let value = bits >> (18 - 6 * sextet) & 0x3f;
            let letter = usize::try_from(value)
                .ok()
                .and_then(|value| ALPHABET.get(value));
            text.extend(letter.copied().map(char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_agrees_with_the_rfc() {
        let check = |bytes: &str, want: &str| assert_eq!(base64_url(bytes.as_bytes()), want);
        check("", "");
        check("f", "Zg");
        check("fo", "Zm8");
        check("foo", "Zm9v");
        check("foobar", "Zm9vYmFy");
        check("??>", "Pz8-");
    }
}
