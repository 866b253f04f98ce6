//! Which call is which: paid routes match exactly, free ones are an allow-list, everything else is unpriced.
//!
//! One table says it all. Matching ignores case, one trailing slash, `.json` and `.xml`.

use http::Method;

use super::Shape;
use super::call::{Call, Composite, Endpoint, Paid, Price, UpstreamName};
use super::path::{Ambiguous, Path};
use crate::budget::operation::Service;

/// The paths that begin alike, lead to one upstream, and have one error shape.
struct Area {
    prefix: &'static [&'static str],
    upstream: UpstreamName,
    shape: Shape,
    routes: &'static [Route],
}

/// One route: its methods, what follows the area's prefix, and what that is.
///
/// In a pattern `{version}` is one like `v60.0`, any other word in braces one segment of any kind, `...` none or
/// more of them.
struct Route(Methods, &'static [&'static str], Is);

enum Is {
    Paid(Endpoint),
    Composite(Composite),
    Free,
}

/// Methods of a route, a bit each.
#[derive(Clone, Copy)]
struct Methods(u8);

const GET: Methods = Methods(1);
const POST: Methods = Methods(1 << 1);
const DELETE: Methods = Methods(1 << 2);
const GET_POST: Methods = Methods(GET.0 | POST.0);
const ANY: Methods = Methods(u8::MAX);

/// The first area whose prefix fits has the call.
#[rustfmt::skip] // a table, a line each
static AREAS: [Area; 9] = [
    Area { prefix: &["einstein", "ai-agent"], upstream: UpstreamName::Api, shape: Shape::AgentApi, routes: &[
        Route(POST, &["v1", "agents", "{agent}", "sessions"], Is::Paid(Endpoint::SessionOpen)),
        Route(POST, &["v1", "sessions", "{session}", "messages"], Is::Paid(Endpoint::Turn)),
        Route(POST, &["v1", "sessions", "{session}", "messages", "stream"], Is::Paid(Endpoint::TurnStream)),
        Route(POST, &["v1", "sessions", "{session}", "feedback"], Is::Free),
        Route(DELETE, &["v1", "sessions", "{session}"], Is::Free),
    ] },
    Area { prefix: &["einstein", "platform"], upstream: UpstreamName::Api, shape: Shape::Models, routes: &[
        Route(POST, &["v1", "models", "{model}", "generations"], Is::Paid(Endpoint::Generation)),
        Route(POST, &["v1", "models", "{model}", "chat-generations"], Is::Paid(Endpoint::ChatGeneration)),
        Route(POST, &["v1", "models", "{model}", "embeddings"], Is::Paid(Endpoint::Embeddings)),
        Route(POST, &["v1", "feedback"], Is::Free),
    ] },
    Area { prefix: &["services", "data"], upstream: UpstreamName::Org, shape: Shape::CoreRest, routes: &[
        Route(POST, &["{version}", "einstein", "prompt-templates", "{template}", "generations"], Is::Paid(Endpoint::PromptTemplate)),
        Route(POST, &["{version}", "smartdatadiscovery", "predict"], Is::Paid(Endpoint::Predict)),
        Route(POST, &["{version}", "composite"], Is::Composite(Composite::Composite)),
        Route(POST, &["{version}", "composite", "batch"], Is::Composite(Composite::Batch)),
        Route(POST, &["{version}", "composite", "graph"], Is::Composite(Composite::Graph)),
        Route(ANY, &["{version}", "sobjects", "..."], Is::Free),
        Route(GET, &["{version}", "query", "..."], Is::Free),
        Route(GET, &["{version}", "queryall", "..."], Is::Free),
        Route(GET, &["{version}", "ssot", "query-sql", "{query}", "..."], Is::Free),
        Route(GET, &["{version}", "ssot", "queryv2", "{query}", "..."], Is::Free),
        Route(GET, &["{version}", "limits"], Is::Free),
        Route(GET, &["{version}"], Is::Free),
        Route(GET, &[], Is::Free),
    ] },
    Area { prefix: &["services"], upstream: UpstreamName::Org, shape: Shape::CoreRest, routes: &[
        Route(POST, &["oauth2", "token"], Is::Free),
        Route(GET_POST, &["oauth2", "revoke"], Is::Free),
        Route(POST, &["oauth2", "introspect"], Is::Free),
        Route(GET_POST, &["oauth2", "userinfo"], Is::Free),
        Route(POST, &["a360", "token"], Is::Free),
    ] },
    Area { prefix: &["einstein"], upstream: UpstreamName::Api, shape: Shape::Problem, routes: &[] },
    Area { prefix: &["platform"], upstream: UpstreamName::Api, shape: Shape::Problem, routes: &[] },
    Area { prefix: &["api", "v1"], upstream: UpstreamName::Data, shape: Shape::Problem, routes: &[] },
    Area { prefix: &["api", "v2"], upstream: UpstreamName::Data, shape: Shape::Problem, routes: &[
        Route(GET, &["query", "{batch}"], Is::Free),
    ] },
    Area { prefix: &["chat", "completions"], upstream: UpstreamName::OpenConnector, shape: Shape::OpenAi, routes: &[] },
];

/// Recognises a call by method and path. `None`: no upstream serves such a path.
///
/// # Errors
/// When the path could mean two things.
pub fn recognise<'p>(method: &Method, path: &'p str) -> Result<Option<Call<'p>>, Ambiguous> {
    let path = Path::parse(path)?;
    let segments = path.segments();
    let found = AREAS
        .iter()
        .find_map(|area| Some((area, after(segments, area.prefix)?)));
    let Some((area, rest)) = found else {
        return Ok(None);
    };
    let mut call = Call {
        upstream: area.upstream,
        shape: area.shape,
        price: Price::Unpriced(""),
        on_paid_path: false,
    };
    for Route(methods, pattern, what) in area.routes {
        let Some(name) = fits(pattern, rest) else {
            continue;
        };
        call.on_paid_path |= matches!(what, Is::Paid(_));
        if methods.have(method) {
            call.price = match *what {
                Is::Paid(endpoint) => Price::Paid(Paid::of(endpoint, name)),
                Is::Composite(kind) => Price::Composite(kind),
                Is::Free => Price::Free,
            };
            return Ok(Some(call));
        }
    }
    call.price = Price::Unpriced(service(area.upstream, segments));
    Ok(Some(call))
}

impl Methods {
    fn have(self, method: &Method) -> bool {
        let bit = match *method {
            Method::POST => POST.0,
            Method::GET => GET.0,
            Method::DELETE => DELETE.0,
            _ => 1 << 7,
        };
        self.0 & bit != 0
    }
}

/// Whether segments fit a pattern, and the last that could be anything: what the call names. The last word is looked
/// at first, since it is what tells most routes of an area apart.
fn fits<'p>(pattern: &[&str], segments: &[&'p str]) -> Option<&'p str> {
    let (pattern, segments) = match pattern.split_last() {
        Some((&"...", before)) => (before, segments.get(..before.len())?),
        _ if pattern.len() == segments.len() => (pattern, segments),
        _ => return None,
    };
    let mut name = "";
    for (word, segment) in pattern.iter().zip(segments).rev() {
        match *word {
            "{version}" if is_version(segment) => {}
            "{version}" => return None,
            word if word.starts_with('{') => name = segment,
            word if is(segment, word) => {}
            _ => return None,
        }
    }
    Some(name)
}

/// The service an unpriced call most likely belongs to; `org` for ordinary record traffic.
fn service(upstream: UpstreamName, segments: &[&str]) -> &'static str {
    let has = |word: &str| {
        segments
            .iter()
            .any(|segment| segment.eq_ignore_ascii_case(word))
    };
    let service = match upstream {
        UpstreamName::Api if has("ai-agent") || has("evaluation") || has("mcp") => {
            Service::Agentforce
        }
        UpstreamName::Api | UpstreamName::OpenConnector => Service::Models,
        UpstreamName::Data => Service::DataCloud,
        UpstreamName::Org if has("ssot") => Service::DataCloud,
        UpstreamName::Org if has("prompt-templates") || has("generatePromptResponse") => {
            Service::PromptBuilder
        }
        UpstreamName::Org if has("generateAiAgentResponse") => Service::Agentforce,
        UpstreamName::Org if has("smartdatadiscovery") || has("einstein") => Service::Einstein,
        UpstreamName::Org => return "org",
    };
    service.name()
}

/// The segments after a prefix, matched without regard to case.
fn after<'s, 'p>(segments: &'s [&'p str], prefix: &[&str]) -> Option<&'s [&'p str]> {
    let (head, rest) = segments.split_at_checked(prefix.len())?;
    head.iter()
        .zip(prefix)
        .all(|(a, b)| is(a, b))
        .then_some(rest)
}

/// Written as everybody writes it, or in another case.
fn is(segment: &str, word: &str) -> bool {
    segment == word || segment.eq_ignore_ascii_case(word)
}

/// `v60.0`.
pub(super) fn is_version(segment: &str) -> bool {
    let digits = segment.strip_prefix(['v', 'V']);
    digits.is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, want: &str) {
        let call = recognise(&method.parse().unwrap(), path).unwrap();
        let got = match call {
            None => "nowhere".to_owned(),
            Some(call) => {
                let price = match call.price {
                    Price::Paid(paid) => format!(
                        "{} {:?} {}",
                        paid.operation,
                        paid.endpoint,
                        paid.named
                            .map(|(_, name)| name)
                            .or(paid.session)
                            .unwrap_or("-")
                    ),
                    Price::Free => "free".to_owned(),
                    Price::Composite(kind) => format!("composite {kind:?}"),
                    Price::Unpriced(service) => format!("unpriced {service}"),
                };
                format!("{} {price}", call.upstream.name())
            }
        };
        assert_eq!(got, want, "{method} {path}");
    }

    #[test]
    fn paid_routes_match_exactly() {
        let agent = "/einstein/ai-agent/v1";
        check(
            "POST",
            &format!("{agent}/agents/0Xx1/sessions"),
            "api agent.conversation SessionOpen 0Xx1",
        );
        check(
            "POST",
            &format!("{agent}/sessions/ab/messages"),
            "api agent.turn Turn ab",
        );
        check(
            "POST",
            &format!("{agent}/sessions/ab/messages/stream"),
            "api agent.turn TurnStream ab",
        );
        check(
            "POST",
            "/Einstein/AI-Agent/V1/Sessions/ab/Messages/",
            "api agent.turn Turn ab",
        );
        let models = "/einstein/platform/v1/models/m";
        check(
            "POST",
            &format!("{models}/generations"),
            "api model.generate Generation m",
        );
        check(
            "POST",
            &format!("{models}/chat-generations"),
            "api model.generate ChatGeneration m",
        );
        check(
            "POST",
            &format!("{models}/embeddings"),
            "api model.embed Embeddings m",
        );
        let data = "/services/data/v60.0";
        check(
            "POST",
            &format!("{data}/einstein/prompt-templates/Quote/generations.json"),
            "org prompt.generate PromptTemplate Quote",
        );
        check(
            "POST",
            &format!("{data}/smartdatadiscovery/predict"),
            "org einstein.predict Predict -",
        );
    }

    #[test]
    fn free_routes_are_an_allow_list() {
        for (method, path, upstream) in [
            ("POST", "/services/oauth2/token", "org"),
            ("POST", "/services/a360/token", "org"),
            ("GET", "/services/data", "org"),
            ("GET", "/services/data/v60.0/limits/", "org"),
            ("PATCH", "/services/data/v60.0/sobjects/Account/001", "org"),
            ("GET", "/services/data/v60.0/query/01g-2000", "org"),
            ("DELETE", "/einstein/ai-agent/v1/sessions/ab", "api"),
            ("POST", "/einstein/ai-agent/v1/sessions/ab/feedback", "api"),
            ("GET", "/api/v2/query/next-batch", "data"),
        ] {
            check(method, path, &format!("{upstream} free"));
        }
    }

    #[test]
    fn everything_else_is_unpriced_or_nowhere() {
        check(
            "GET",
            "/einstein/ai-agent/v1/sessions/ab/messages",
            "api unpriced agentforce",
        );
        check(
            "POST",
            "/einstein/ai-agent/v2/sessions/ab/messages",
            "api unpriced agentforce",
        );
        check(
            "POST",
            "/einstein/ai-agent/v1/sessions/ab/messages/stream/x",
            "api unpriced agentforce",
        );
        check(
            "POST",
            "/services/data/v60.0/composite",
            "org composite Composite",
        );
        check(
            "POST",
            "/services/data/v60.0/composite/batch",
            "org composite Batch",
        );
        check(
            "POST",
            "/services/data/v60.0/ssot/query-sql",
            "org unpriced data_cloud",
        );
        check("POST", "/services/apexrest/mine", "org unpriced org");
        check("POST", "/api/v1/ingest/jobs", "data unpriced data_cloud");
        check("POST", "/chat/completions", "openconnector unpriced models");
        check("GET", "/", "nowhere");
        check("GET", "/api/v3/x", "nowhere");
        check("GET", "/healthz", "nowhere");
    }
}
