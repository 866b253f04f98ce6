//! Which of Salesforce's services a path names.
//!
//! As lenient as Salesforce: case, one trailing slash and a `.json` or `.xml` ending make no
//! difference, so that a call spelled to slip past a gateway still runs, and is billed, here.

use http::Method;

use super::errors::Shape;

/// What a request asks for. Names and ids are as the path spells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Token,
    DataToken,
    OpenSession { agent: String },
    Message { session: String, streamed: bool },
    EndSession { session: String },
    SessionFeedback { session: String },
    PromptTemplate { name: String },
    PromptInvocable { template: String },
    Generate { model: String },
    Chat { model: String },
    Embed { model: String },
    ModelsFeedback,
    Predict,
    ChatCompletions,
    Versions,
    Limits,
    Sobjects,
    Unknown,
}

impl Route {
    /// Reads a method and a path without its query.
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        let path = strip_ending(strip_ending(path, ".json"), ".xml");
        let mut parts = [""; 9];
        let mut count = 0;
        for part in path.strip_prefix('/').unwrap_or(path).split('/') {
            let Some(place) = parts.get_mut(count) else {
                return Self::Unknown;
            };
            *place = part;
            count += 1;
        }
        let parts = parts.get(..count).unwrap_or_default();
        match *parts {
            [a, ref rest @ ..] if a.eq_ignore_ascii_case("einstein") => platform(method, rest),
            [a, ref rest @ ..] if a.eq_ignore_ascii_case("services") => org(method, rest),
            [a, b] if method == Method::POST && same([a, b], ["chat", "completions"]) => {
                Self::ChatCompletions
            }
            _ => Self::Unknown,
        }
    }

    /// The shape in which this route says no.
    pub(crate) const fn shape(&self) -> Shape {
        match self {
            Self::OpenSession { .. }
            | Self::Message { .. }
            | Self::EndSession { .. }
            | Self::SessionFeedback { .. } => Shape::Agent,
            Self::Generate { .. } | Self::Chat { .. } | Self::Embed { .. } => Shape::Models,
            Self::ModelsFeedback => Shape::Models,
            Self::ChatCompletions => Shape::OpenAi,
            Self::Token | Self::DataToken => Shape::OAuth,
            Self::PromptTemplate { .. } | Self::PromptInvocable { .. } | Self::Predict => {
                Shape::Rest
            }
            Self::Versions | Self::Limits | Self::Sobjects | Self::Unknown => Shape::Rest,
        }
    }

    /// Whether the caller must show a token.
    pub(crate) const fn needs_token(&self) -> bool {
        match self {
            // How tokens are had, what everybody may know, a service with a key of its own, and nothing.
            Self::Token | Self::DataToken | Self::Versions => false,
            Self::ChatCompletions | Self::Unknown => false,
            Self::OpenSession { .. } | Self::Message { .. } | Self::EndSession { .. } => true,
            Self::SessionFeedback { .. } | Self::ModelsFeedback => true,
            Self::PromptTemplate { .. } | Self::PromptInvocable { .. } => true,
            Self::Generate { .. } | Self::Chat { .. } | Self::Embed { .. } => true,
            Self::Predict | Self::Limits | Self::Sobjects => true,
        }
    }

    /// Whether the answer is a stream of events.
    pub(crate) const fn is_streamed(&self) -> bool {
        matches!(self, Self::Message { streamed: true, .. })
    }
}

/// Below `/einstein`.
fn platform(method: &Method, parts: &[&str]) -> Route {
    let post = method == Method::POST;
    match *parts {
        [a, b, c, agent, d]
            if post && same([a, b, c, d], ["ai-agent", "v1", "agents", "sessions"]) =>
        {
            Route::OpenSession {
                agent: agent.to_owned(),
            }
        }
        [a, b, c, ref rest @ ..] if same([a, b, c], ["ai-agent", "v1", "sessions"]) => {
            session(method, rest)
        }
        [a, b, c, model, verb] if post && same([a, b, c], ["platform", "v1", "models"]) => {
            let model = model.to_owned();
            match verb.to_ascii_lowercase().as_str() {
                "generations" => Route::Generate { model },
                "chat-generations" => Route::Chat { model },
                "embeddings" => Route::Embed { model },
                _ => Route::Unknown,
            }
        }
        [a, b, c] if post && same([a, b, c], ["platform", "v1", "feedback"]) => {
            Route::ModelsFeedback
        }
        _ => Route::Unknown,
    }
}

/// Below `/einstein/ai-agent/v1/sessions`.
fn session(method: &Method, parts: &[&str]) -> Route {
    let post = method == Method::POST;
    match *parts {
        [id] if method == Method::DELETE => Route::EndSession {
            session: id.to_owned(),
        },
        [id, a] if post && same([a], ["messages"]) => Route::Message {
            session: id.to_owned(),
            streamed: false,
        },
        [id, a, b] if post && same([a, b], ["messages", "stream"]) => Route::Message {
            session: id.to_owned(),
            streamed: true,
        },
        [id, a] if post && same([a], ["feedback"]) => Route::SessionFeedback {
            session: id.to_owned(),
        },
        _ => Route::Unknown,
    }
}

/// Below `/services`.
fn org(method: &Method, parts: &[&str]) -> Route {
    let post = method == Method::POST;
    match *parts {
        [a, b] if post && same([a, b], ["oauth2", "token"]) => Route::Token,
        [a, b] if post && same([a, b], ["a360", "token"]) => Route::DataToken,
        [a] if method == Method::GET && same([a], ["data"]) => Route::Versions,
        [a, version, ref rest @ ..] if same([a], ["data"]) && is_version(version) => {
            versioned(method, rest)
        }
        _ => Route::Unknown,
    }
}

/// Below `/services/data/vNN.0`.
fn versioned(method: &Method, parts: &[&str]) -> Route {
    let (get, post) = (method == Method::GET, method == Method::POST);
    match *parts {
        [a, b, name, c]
            if post && same([a, b, c], ["einstein", "prompt-templates", "generations"]) =>
        {
            Route::PromptTemplate {
                name: name.to_owned(),
            }
        }
        [a, b, c, template]
            if post && same([a, b, c], ["actions", "custom", "generatePromptResponse"]) =>
        {
            Route::PromptInvocable {
                template: template.to_owned(),
            }
        }
        [a, b] if post && same([a, b], ["smartdatadiscovery", "predict"]) => Route::Predict,
        [a] if get && same([a], ["limits"]) => Route::Limits,
        [a, ..] if get && same([a], ["sobjects"]) => Route::Sobjects,
        _ => Route::Unknown,
    }
}

fn same<const N: usize>(parts: [&str; N], names: [&str; N]) -> bool {
    parts
        .iter()
        .zip(names)
        .all(|(part, name)| part.eq_ignore_ascii_case(name))
}

/// `v64.0`, any number.
fn is_version(part: &str) -> bool {
    let number = part
        .strip_prefix(['v', 'V'])
        .and_then(|rest| rest.strip_suffix(".0"));
    number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn strip_ending<'a>(path: &'a str, ending: &str) -> &'a str {
    match path
        .len()
        .checked_sub(ending.len())
        .and_then(|at| path.split_at_checked(at))
    {
        Some((stem, tail)) if tail.eq_ignore_ascii_case(ending) => stem,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, want: Route) {
        assert_eq!(Route::of(&method, path), want, "{path}");
    }

    #[test]
    fn paths_are_read_as_leniently_as_salesforce_reads_them() {
        let session = || "s-1".to_owned();
        let messages = "/einstein/ai-agent/v1/sessions/s-1/messages";
        check(
            Method::POST,
            messages,
            Route::Message {
                session: session(),
                streamed: false,
            },
        );
        check(
            Method::POST,
            "/Einstein/AI-agent/v1/sessions/s-1/messages/STREAM/",
            Route::Message {
                session: session(),
                streamed: true,
            },
        );
        check(Method::GET, messages, Route::Unknown);
        check(
            Method::DELETE,
            "/einstein/ai-agent/v1/sessions/s-1",
            Route::EndSession { session: session() },
        );
        check(
            Method::POST,
            "/services/data/v64.0/einstein/prompt-templates/Quote_Summary/generations.json",
            Route::PromptTemplate {
                name: "Quote_Summary".to_owned(),
            },
        );
        check(
            Method::POST,
            "/services/data/v64.0/actions/custom/generatePromptResponse/Quote_Summary",
            Route::PromptInvocable {
                template: "Quote_Summary".to_owned(),
            },
        );
        check(
            Method::POST,
            "/einstein/platform/v1/models/sfdc_ai__DefaultGPT4Omni/chat-generations",
            Route::Chat {
                model: "sfdc_ai__DefaultGPT4Omni".to_owned(),
            },
        );
        check(
            Method::POST,
            "/services/data/v64.0/smartdatadiscovery/predict",
            Route::Predict,
        );
        check(
            Method::GET,
            "/services/data/v64.0/sobjects/Account/001",
            Route::Sobjects,
        );
        check(Method::GET, "/services/data/", Route::Versions);
        check(Method::GET, "/services/data/v64/limits", Route::Unknown);
        check(Method::POST, "/", Route::Unknown);
        check(Method::POST, "/a/b/c/d/e/f/g/h/i/j", Route::Unknown);
    }
}
