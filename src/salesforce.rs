//! The wire: which call is which, what its body says about its cost, and what the answer says was used.
//!
//! Pure functions over paths and bytes. Nothing here forwards, charges or refuses. A call is free or cheap only
//! when that is proven; what cannot be read strictly counts as the most it can be. Knows `budget` only.

pub mod agent_api;
pub mod call;
pub mod composite;
mod facts;
pub mod models;
pub mod names;
pub mod path;
pub mod predictions;
pub mod prompts;
pub mod routes;
pub mod sse;
pub mod tap;
pub mod tokens;

/// What a request can name to say whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamedKind {
    /// An agent, by id.
    Agent,
    /// A prompt template, by developer name or id.
    Template,
    /// A model, by name.
    Model,
    /// A prediction definition, by id.
    Prediction,
    /// An ingestion source.
    Source,
    /// A segment.
    Segment,
    /// An OAuth client, by `client_id`.
    Client,
}

impl NamedKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Agent,
        Self::Template,
        Self::Model,
        Self::Prediction,
        Self::Source,
        Self::Segment,
        Self::Client,
    ];

    /// The position in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word in config, reports and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Template => "template",
            Self::Model => "model",
            Self::Prediction => "prediction",
            Self::Source => "source",
            Self::Segment => "segment",
            Self::Client => "client",
        }
    }
}

/// The error body the caller's API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{status,path,requestId,error,message,timestamp}`.
    AgentApi,
    /// `{errorCode,messageCode,message,targets,parameters}`.
    Models,
    /// `[{errorCode,message}]`.
    CoreRest,
    /// `{error:{message,type,param,code}}`.
    OpenAi,
    /// RFC 9457 `application/problem+json`.
    Problem,
}
