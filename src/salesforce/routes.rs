//! Which call is which: paid routes match exactly, free ones are an allow-list, everything else is unpriced.
//!
//! Matching ignores case, one trailing slash, `.json` and `.xml`.

use http::Method;

use super::call::{Call, Composite, Endpoint, Paid, Price, UpstreamName};
use super::path::{Ambiguous, Path};
use super::{NamedKind, Shape};
use crate::budget::operation::{Operation, Service};

/// Recognises a call by method and path. `None`: no upstream serves such a path.
///
/// # Errors
/// When the path could mean two things.
pub fn recognise<'p>(method: &Method, path: &'p str) -> Result<Option<Call<'p>>, Ambiguous> {
    let path = Path::parse(path)?;
    let segments = path.segments();
    let Some(Place {
        upstream,
        shape,
        paid,
    }) = place(segments)
    else {
        return Ok(None);
    };
    let is_post = method == Method::POST;
    let price = match paid {
        Some(paid) if is_post => Price::Paid(paid),
        None if is_post && let Some(composite) = composite(segments) => Price::Composite(composite),
        None if is_free(method, segments) => Price::Free,
        Some(_) | None => Price::Unpriced(service(upstream, segments)),
    };
    let on_paid_path = paid.is_some();
    Ok(Some(Call {
        upstream,
        shape,
        price,
        on_paid_path,
    }))
}

/// Where a path leads, whatever the method.
struct Place<'p> {
    upstream: UpstreamName,
    shape: Shape,
    paid: Option<Paid<'p>>,
}

fn place<'p>(segments: &[&'p str]) -> Option<Place<'p>> {
    let (first, rest) = segments.split_first()?;
    let at = |upstream, shape, paid| Place {
        upstream,
        shape,
        paid,
    };
    Some(match rest {
        [api, rest @ ..] if is(first, "einstein") => match rest {
            _ if is(api, "ai-agent") => at(UpstreamName::Api, Shape::AgentApi, agent_api(rest)),
            _ if is(api, "platform") => at(UpstreamName::Api, Shape::Models, models(rest)),
            _ => at(UpstreamName::Api, Shape::Problem, None),
        },
        _ if is(first, "services") => at(UpstreamName::Org, Shape::CoreRest, org(rest)),
        _ if is(first, "einstein") || is(first, "platform") => {
            at(UpstreamName::Api, Shape::Problem, None)
        }
        [version, ..] if is(first, "api") && one_of(version, &["v1", "v2"]) => {
            at(UpstreamName::Data, Shape::Problem, None)
        }
        [completions, ..] if is(first, "chat") && is(completions, "completions") => {
            at(UpstreamName::OpenConnector, Shape::OpenAi, None)
        }
        _ => return None,
    })
}

/// Under `/einstein/ai-agent`.
fn agent_api<'p>(segments: &[&'p str]) -> Option<Paid<'p>> {
    match after(segments, &["v1"])? {
        [agents, agent, sessions] if is(agents, "agents") && is(sessions, "sessions") => {
            Some(Paid {
                operation: Operation::AgentConversation,
                endpoint: Endpoint::SessionOpen,
                named: Some((NamedKind::Agent, agent)),
                session: None,
            })
        }
        [sessions, session, messages] if is(sessions, "sessions") && is(messages, "messages") => {
            Some(turn(session, Endpoint::Turn))
        }
        [sessions, session, messages, stream]
            if is(sessions, "sessions") && is(messages, "messages") && is(stream, "stream") =>
        {
            Some(turn(session, Endpoint::TurnStream))
        }
        _ => None,
    }
}

const fn turn(session: &str, endpoint: Endpoint) -> Paid<'_> {
    Paid {
        operation: Operation::AgentTurn,
        endpoint,
        named: None,
        session: Some(session),
    }
}

/// Under `/einstein/platform`.
fn models<'p>(segments: &[&'p str]) -> Option<Paid<'p>> {
    let [models, model, endpoint] = after(segments, &["v1"])? else {
        return None;
    };
    let (operation, endpoint) = if is(endpoint, "generations") {
        (Operation::ModelGenerate, Endpoint::Generation)
    } else if is(endpoint, "chat-generations") {
        (Operation::ModelGenerate, Endpoint::ChatGeneration)
    } else if is(endpoint, "embeddings") {
        (Operation::ModelEmbed, Endpoint::Embeddings)
    } else {
        return None;
    };
    let named = Some((NamedKind::Model, *model));
    is(models, "models").then_some(Paid {
        operation,
        endpoint,
        named,
        session: None,
    })
}

/// Under `/services`.
fn org<'p>(segments: &[&'p str]) -> Option<Paid<'p>> {
    let [version, rest @ ..] = after(segments, &["data"])? else {
        return None;
    };
    if !is_version(version) {
        return None;
    }
    match rest {
        [einstein, templates, template, generations]
            if is(einstein, "einstein")
                && is(templates, "prompt-templates")
                && is(generations, "generations") =>
        {
            Some(Paid {
                operation: Operation::PromptGenerate,
                endpoint: Endpoint::PromptTemplate,
                named: Some((NamedKind::Template, template)),
                session: None,
            })
        }
        [discovery, predict] if is(discovery, "smartdatadiscovery") && is(predict, "predict") => {
            Some(Paid {
                operation: Operation::EinsteinPredict,
                endpoint: Endpoint::Predict,
                named: None,
                session: None,
            })
        }
        _ => None,
    }
}

fn composite(segments: &[&str]) -> Option<Composite> {
    let [version, rest @ ..] = after(segments, &["services", "data"])? else {
        return None;
    };
    match rest {
        _ if !is_version(version) => None,
        [composite] if is(composite, "composite") => Some(Composite::Composite),
        [composite, kind] if is(composite, "composite") && is(kind, "batch") => {
            Some(Composite::Batch)
        }
        [composite, kind] if is(composite, "composite") && is(kind, "graph") => {
            Some(Composite::Graph)
        }
        _ => None,
    }
}

/// Calls known to cost nothing: tokens, limits, records, SOQL, session end, feedback, paging of query results.
fn is_free(method: &Method, segments: &[&str]) -> bool {
    let (get, post) = (method == Method::GET, method == Method::POST);
    if let Some(rest) = after(segments, &["services", "data"]) {
        return match rest {
            [] => get,
            [version, ..] if !is_version(version) => false,
            [_] => get,
            [_, limits] if is(limits, "limits") => get,
            [_, sobjects, ..] if is(sobjects, "sobjects") => true,
            [_, query, ..] if one_of(query, &["query", "queryall"]) => get,
            [_, ssot, query, _, ..]
                if is(ssot, "ssot") && one_of(query, &["query-sql", "queryv2"]) =>
            {
                get
            }
            _ => false,
        };
    }
    if let Some(rest) = after(segments, &["einstein", "ai-agent", "v1", "sessions"]) {
        return match rest {
            [_] => method == Method::DELETE,
            [_, feedback] => post && is(feedback, "feedback"),
            _ => false,
        };
    }
    let paths: [(&[&str], bool); 6] = [
        (&["services", "oauth2", "token"], post),
        (&["services", "oauth2", "revoke"], post || get),
        (&["services", "oauth2", "introspect"], post),
        (&["services", "oauth2", "userinfo"], post || get),
        (&["services", "a360", "token"], post),
        (&["einstein", "platform", "v1", "feedback"], post),
    ];
    let known = paths
        .iter()
        .any(|(path, method)| *method && after(segments, path) == Some(&[]));
    known || (get && matches!(after(segments, &["api", "v2", "query"]), Some([_])))
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

fn one_of(segment: &str, words: &[&str]) -> bool {
    words.iter().any(|word| is(segment, word))
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
