//! What a path can turn out to be: its upstream, its error shape, and what it costs, if anything.

use super::{NamedKind, Shape};
use crate::budget::operation::Operation;

/// Which of the configured upstreams serves a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UpstreamName {
    /// Agent API and Models API.
    Api,
    /// The org's own domain.
    Org,
    /// The Data Cloud tenant.
    Data,
    /// A customer's own model.
    OpenConnector,
}

impl UpstreamName {
    /// Every upstream.
    pub const ALL: [Self; 4] = [Self::Api, Self::Org, Self::Data, Self::OpenConnector];

    /// The key in `[upstreams]` and the metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Org => "org",
            Self::Data => "data",
            Self::OpenConnector => "openconnector",
        }
    }

    /// The position in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A recognised call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'p> {
    /// Where it goes.
    pub upstream: UpstreamName,
    /// How its API writes errors.
    pub shape: Shape,
    /// What it costs, if anything.
    pub price: Price<'p>,
    /// The path is that of a paid route, whatever the method: a method override on it is refused.
    pub on_paid_path: bool,
}

/// Whether a call has a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price<'p> {
    /// It has one.
    Paid(Paid<'p>),
    /// It costs nothing, and is known to.
    Free,
    /// Several calls in one: each is judged by its own path.
    Composite(Composite),
    /// Nobody knows. The service is the nearest guess, for the metric.
    Unpriced(&'static str),
}

/// A billable call, with what its path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paid<'p> {
    /// What is billed.
    pub operation: Operation,
    /// Which endpoint it is.
    pub endpoint: Endpoint,
    /// What the path names; still percent-encoded.
    pub named: Option<(NamedKind, &'p str)>,
    /// The agent session of a turn.
    pub session: Option<&'p str>,
}

/// The paid endpoints, by what their bodies look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Opens an agent session.
    SessionOpen,
    /// A synchronous turn.
    Turn,
    /// A turn answered as server-sent events.
    TurnStream,
    /// A prompt template generation.
    PromptTemplate,
    /// A text generation.
    Generation,
    /// A chat generation.
    ChatGeneration,
    /// Embeddings.
    Embeddings,
    /// Predictions.
    Predict,
}

/// Calls that carry other calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Composite {
    /// `composite`.
    Composite,
    /// `composite/batch`.
    Batch,
    /// `composite/graph`.
    Graph,
}

/// What must be known of a request's body before it is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: price and payer do not depend on it.
    Nothing,
    /// How large it is; as a rule its head says so.
    Size,
    /// What it says.
    Whole,
}

impl<'p> Paid<'p> {
    /// A call of an endpoint, with what its path names.
    pub const fn of(endpoint: Endpoint, name: &'p str) -> Self {
        let (operation, named, session) = match endpoint {
            Endpoint::SessionOpen => (
                Operation::AgentConversation,
                Some((NamedKind::Agent, name)),
                None,
            ),
            Endpoint::Turn | Endpoint::TurnStream => (Operation::AgentTurn, None, Some(name)),
            Endpoint::PromptTemplate => (
                Operation::PromptGenerate,
                Some((NamedKind::Template, name)),
                None,
            ),
            Endpoint::Generation | Endpoint::ChatGeneration => (
                Operation::ModelGenerate,
                Some((NamedKind::Model, name)),
                None,
            ),
            Endpoint::Embeddings => (Operation::ModelEmbed, Some((NamedKind::Model, name)), None),
            Endpoint::Predict => (Operation::EinsteinPredict, None, None),
        };
        Self {
            operation,
            endpoint,
            named,
            session,
        }
    }
}

impl Endpoint {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SessionOpen => "session opening",
            Self::Turn => "turn",
            Self::TurnStream => "streamed turn",
            Self::PromptTemplate => "prompt template",
            Self::Generation => "generation",
            Self::ChatGeneration => "chat generation",
            Self::Embeddings => "embeddings",
            Self::Predict => "prediction",
        }
    }

    /// What the price or the payer depends on. The Models API has no field that limits a generation's output.
    pub const fn needs(self) -> Needs {
        match self {
            Self::SessionOpen | Self::Turn | Self::TurnStream => Needs::Nothing,
            Self::Generation | Self::ChatGeneration => Needs::Size,
            Self::PromptTemplate | Self::Embeddings | Self::Predict => Needs::Whole,
        }
    }
}
