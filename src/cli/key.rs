//! `breakerbox key`.

use std::io::Read;
use std::process::ExitCode;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use clap::{Args, Subcommand};

use super::{USAGE, complain, print};
use crate::config::units::{hex, key_hash};
use crate::proxy::identify::KEY_LEN;

/// Make and hash keys.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox key new --name batch-scorer --team sales
  printf %s \"$KEY\" | breakerbox key hash

A client sends its key as the header Breakerbox-Key, or, where it can only set a base URL, as
http://gateway:8080/k/<key>. Breakerbox keeps only the SHA-256.")]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Print a new key, once, and the lines for allocations.toml.
    #[command(after_help = "Example:\n  breakerbox key new --name batch-scorer --team sales")]
    New {
        /// What people call the key.
        #[arg(long, default_value = "my-key")]
        name: String,
        /// The team that pays for its calls.
        #[arg(long, default_value = "my-team")]
        team: String,
    },
    /// Print the SHA-256 of a key read from standard input.
    #[command(after_help = "Example:\n  printf %s \"$KEY\" | breakerbox key hash")]
    Hash,
}

/// Runs `key`.
pub fn run(args: &KeyArgs) -> ExitCode {
    let done = match &args.command {
        KeyCommand::New { name, team } => new_key(name, team),
        KeyCommand::Hash => hash_of_input(),
    };
    match done {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(fault) => {
            complain(&format!("breakerbox: {fault}\n"));
            ExitCode::from(USAGE)
        }
    }
}

fn new_key(name: &str, team: &str) -> Result<String, String> {
    let mut random = [0; 32];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| "the system has no randomness".to_owned())?;
    let key = hex(&random);
    Ok(format!(
        "# The key, shown this once. Give it to the client; breakerbox keeps only its hash.\n{key}\n\n\
         # For allocations.toml:\n[[key]]\nname = {name:?}\nsha256 = \"{}\"\nteam = {team:?}\n",
        key_hash(&key)
    ))
}

fn hash_of_input() -> Result<String, String> {
    let mut text = String::new();
    // A key and a line end; anything longer is none.
    let bound = u64::try_from(KEY_LEN).unwrap_or(u64::MAX).saturating_add(3);
    std::io::stdin()
        .take(bound)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    let key = text.trim_end_matches(['\r', '\n']);
    if key.len() != KEY_LEN || !key.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("a key is 64 hex characters; `breakerbox key new` makes one".to_owned());
    }
    Ok(format!("{}\n", key_hash(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_hash_is_that_of_the_printed_key() {
        let text = new_key("batch", "sales").unwrap();
        let line = |at: usize| text.lines().nth(at).unwrap().to_owned();
        assert_eq!(line(1).len(), KEY_LEN);
        assert_eq!(line(6), format!("sha256 = \"{}\"", key_hash(&line(1))));
        assert_ne!(text, new_key("batch", "sales").unwrap());
    }
}
