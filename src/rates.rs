//! Rate cards: what each operation costs, before and after it ran.
//!
//! A card is data ([`card::Card`]); [`quote`] turns it and a request's facts into estimate and bound, and
//! later into the price of what was used. Every price that does not divide is rounded up. Knows `budget` only.
#![warn(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

pub mod card;
pub mod quote;

/// The card that models the planning guide; no price of Salesforce's.
pub const GUIDE: &str = include_str!("rates/cards/guide.toml");
/// Salesforce's published card of 31 August 2026.
pub const FLEX_2026_08: &str = include_str!("rates/cards/flex-2026-08.toml");
/// The cards that need no file, by name.
pub const SHIPPED: [(&str, &str); 2] = [("guide", GUIDE), ("flex-2026-08", FLEX_2026_08)];
