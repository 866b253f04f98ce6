//! What a caller must show: a token, and to the Models API who calls (salesforce-apis.md, sections 1.9 and 3).
//!
//! Any token will do: nobody's secret is needed here, and a gateway that loses it is seen at once.

use http::StatusCode;
use http::header::AUTHORIZATION;

use super::call::Call;
use super::errors::{Fault, Shape};
use super::route::Route;
use super::state::State;

/// What the Models API asks for beside the token.
const CONTEXT: [&str; 2] = ["x-sfdc-app-context", "x-client-feature-id"];

/// Why a request is not let in; `None` if it is.
pub(crate) fn refusal(state: &State, call: &Call, route: &Route) -> Option<Fault> {
    if !state.settings.needs_credentials {
        return None;
    }
    let shape = route.shape();
    if route.needs_token() && !has_token(call) {
        return Some(Fault::told(StatusCode::UNAUTHORIZED, shape));
    }
    let missing = |name: &&str| call.header(name).is_none_or(str::is_empty);
    let header = CONTEXT
        .into_iter()
        .find(missing)
        .filter(|_| shape == Shape::Models)?;
    Some(Fault::without_header("REQUIRED_FIELD_MISSING", header))
}

/// `Bearer`, in any case, and something after it.
fn has_token(call: &Call) -> bool {
    let given = call.header(AUTHORIZATION.as_str()).unwrap_or_default();
    let (scheme, token) = given.split_once(' ').unwrap_or_default();
    scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()
}
