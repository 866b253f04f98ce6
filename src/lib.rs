//! breakerbox: a streaming circuit-breaker gateway for Salesforce Flex Credits.

pub mod budget;
pub mod clock;
pub mod config;
pub mod ledger;
pub mod proxy;
pub mod rates;
pub mod salesforce;
