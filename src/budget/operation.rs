//! The billable kinds of call, the services they belong to, and how much a call matters.

use std::fmt;

macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The one name in config, metrics, reports and docs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The value with this name.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)+ _ => None }
            }

            /// The position in [`Self::ALL`], for tables indexed by this enum.
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

named! {
    /// A billable kind of call (design.md, section 1).
    Operation {
        /// An agent session opened.
        AgentConversation = "agent.conversation",
        /// One message sent to an agent session, synchronous or streamed.
        AgentTurn = "agent.turn",
        /// One prompt template generation.
        PromptGenerate = "prompt.generate",
        /// One text or chat generation of the Models API.
        ModelGenerate = "model.generate",
        /// Embeddings of the Models API.
        ModelEmbed = "model.embed",
        /// One chat completion of the LLM Open Connector.
        OpenConnectorChat = "openconnector.chat",
        /// Predictions, counted by row or record.
        EinsteinPredict = "einstein.predict",
        /// Searches.
        EinsteinSearch = "einstein.search",
        /// Streaming ingestion, counted by record.
        DataIngest = "data.ingest",
        /// Bulk ingestion, counted by record.
        DataBatchIngest = "data.batch_ingest",
        /// Identity resolution runs.
        DataIdentityResolution = "data.identity_resolution",
        /// Data Cloud queries.
        DataQuery = "data.query",
        /// Segment publications and counts.
        DataSegment = "data.segment",
        /// Activations.
        DataActivate = "data.activate",
    }
}

named! {
    /// The Salesforce service an operation belongs to.
    Service {
        /// Agents.
        Agentforce = "agentforce",
        /// Prompt templates.
        PromptBuilder = "prompt_builder",
        /// Predictions.
        Einstein = "einstein",
        /// Search.
        Search = "search",
        /// Data Cloud.
        DataCloud = "data_cloud",
        /// Models API and Open Connector.
        Models = "models",
    }
}

named! {
    /// How much a call matters when credits run short.
    Class {
        /// The last to stop.
        Critical = "critical",
        /// Slowed down from the trip point on.
        Standard = "standard",
        /// The first to stop.
        Background = "background",
    }
}

named! {
    /// What a reservation is funded from, exactly one each.
    Source {
        /// The team's own allocation.
        Own = "own",
        /// The pool's central buffer.
        Buffer = "buffer",
        /// Credits of other months, within the burst share.
        Burst = "burst",
        /// Beyond the contract year's credits, billed at the contracted rate.
        Overage = "overage",
    }
}

impl Operation {
    /// The service this operation belongs to.
    pub const fn service(self) -> Service {
        match self {
            Self::AgentConversation | Self::AgentTurn => Service::Agentforce,
            Self::PromptGenerate => Service::PromptBuilder,
            Self::ModelGenerate | Self::ModelEmbed | Self::OpenConnectorChat => Service::Models,
            Self::EinsteinPredict => Service::Einstein,
            Self::EinsteinSearch => Service::Search,
            Self::DataIngest
            | Self::DataBatchIngest
            | Self::DataIdentityResolution
            | Self::DataQuery
            | Self::DataSegment
            | Self::DataActivate => Service::DataCloud,
        }
    }

    /// Whether the upstream goes on running actions after the caller left.
    pub const fn runs_actions(self) -> bool {
        matches!(self, Self::AgentTurn)
    }
}

impl Class {
    /// The less important of two: a stated class is also a ceiling.
    pub fn at_most(self, ceiling: Self) -> Self {
        self.max(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for operation in Operation::ALL {
            assert_eq!(Operation::parse(operation.name()), Some(*operation));
            assert_eq!(Operation::ALL[operation.index()], *operation);
        }
        assert_eq!(Operation::parse("agent.Turn"), None);
    }

    #[test]
    fn a_ceiling_only_lowers() {
        assert_eq!(Class::Critical.at_most(Class::Standard), Class::Standard);
        assert_eq!(
            Class::Background.at_most(Class::Critical),
            Class::Background
        );
    }
}
