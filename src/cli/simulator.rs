//! `breakerbox simulator`: a stand-in for Salesforce, for trying the gateway without an org.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::simulator::{Faults, Latency, Settings, Simulator};

/// Requests in a million.
const MILLION: u32 = 1_000_000;

/// Serve Salesforce's AI APIs from this machine, and bill like Salesforce.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SimulatorArgs {
    /// Address to listen on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,
    /// Chance repeats with the seed.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Milliseconds before an answer, `MIN..MAX` or one number.
    #[arg(long, default_value = "0", value_parser = latency)]
    pub latency: Latency,
    /// Milliseconds between the events of a stream.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub chunk_delay: u32,
    /// Share of requests answered 500, 429 or 503, a third each.
    #[arg(long, default_value = "0%", value_parser = ppm, value_name = "PERCENT")]
    pub error_rate: u32,
    /// Share of answers that break off.
    #[arg(long, default_value = "0%", value_parser = ppm, value_name = "PERCENT")]
    pub cut_rate: u32,
    /// Share of requests that run and are never answered.
    #[arg(long, default_value = "0%", value_parser = ppm, value_name = "PERCENT")]
    pub hang_rate: u32,
    /// Share of turns with an error inside a 200.
    #[arg(long, default_value = "0%", value_parser = ppm, value_name = "PERCENT")]
    pub error_frame_rate: u32,
    /// A turn runs 0 to this many actions.
    #[arg(long, default_value_t = 3)]
    pub actions_max: u32,
    /// Credits a started 2,000 tokens of a model costs on the flex card; may be repeated.
    #[arg(long, value_parser = tier, value_name = "MODEL=CREDITS")]
    pub tier: Vec<(String, u32)>,
    /// Base of links to the Agent API, if not this address.
    #[arg(long, value_name = "URL")]
    pub api_url: Option<String>,
    /// The org's address in tokens, if not this address.
    #[arg(long, value_name = "URL")]
    pub org_url: Option<String>,
    /// Threads that serve.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Answer 401 without a token, and 400 without the Models API's own headers, as Salesforce does.
    #[arg(long)]
    pub require_credentials: bool,
}

const EXAMPLES: &str = "Examples:
  breakerbox simulator --listen 127.0.0.1:8081 --latency 20..80 --error-rate 0.1%
  curl -s http://127.0.0.1:8081/_sim/billed?by=request
  curl -s http://127.0.0.1:8081/chat/completions -H 'api-key: k' -H 'x-sim-tokens: 6500' \\
    -d '{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}'";

/// Runs until interrupted or terminated.
pub fn run(args: SimulatorArgs) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody left to tell if this fails as well.
            drop(writeln!(io::stderr(), "breakerbox simulator: {error}"));
            ExitCode::from(2)
        }
    }
}

fn serve(args: SimulatorArgs) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Before the address is told: whoever reads it may stop us from then on.
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let simulator = Simulator::start(args.listen, args.settings())?;
        writeln!(io::stdout(), "listening on http://{}", simulator.address)?;
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        simulator.stop();
        Ok(())
    })
}

impl SimulatorArgs {
    fn settings(self) -> Settings {
        let third = self.error_rate.div_euclid(3);
        Settings {
            seed: self.seed,
            latency: self.latency,
            chunk_delay: Duration::from_millis(self.chunk_delay.into()),
            faults: Faults {
                error_500: self.error_rate - 2 * third,
                error_429: third,
                error_503: third,
                hang: self.hang_rate,
                cut_stream: self.cut_rate,
                cut_body: self.cut_rate,
                error_frame: self.error_frame_rate,
            },
            actions_max: self.actions_max,
            tiers: self.tier.into_iter().collect(),
            api_url: self.api_url,
            org_url: self.org_url,
            threads: self.threads,
            needs_credentials: self.require_credentials,
        }
    }
}

/// Reads `20..80` or `20`.
fn latency(text: &str) -> Result<Latency, String> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let read = |ms: &str| {
        ms.parse()
            .map_err(|_| format!("{ms} is no number of milliseconds"))
    };
    let latency = Latency {
        min_ms: read(min)?,
        max_ms: read(max)?,
    };
    if latency.min_ms > latency.max_ms {
        return Err(format!("{min} is more than {max}"));
    }
    Ok(latency)
}

/// Reads a percentage with up to four digits after the point, as parts per million.
fn ppm(text: &str) -> Result<u32, String> {
    let bad = || format!("{text} is no percentage like 0.1%, with up to 4 digits after the point");
    let number = text.strip_suffix('%').ok_or_else(bad)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 4 {
        return Err(bad());
    }
    let ppm = format!("{whole}{fraction:0<4}")
        .parse()
        .map_err(|_| bad())?;
    if ppm > MILLION {
        Err(format!("{text} is over 100%"))
    } else {
        Ok(ppm)
    }
}

/// Reads `sfdc_ai__Model=16`.
fn tier(text: &str) -> Result<(String, u32), String> {
    let (model, credits) = text
        .split_once('=')
        .ok_or("write it like sfdc_ai__Model=16")?;
    let credits = credits
        .parse()
        .map_err(|_| format!("{credits} is no number of credits"))?;
    Ok((model.to_owned(), credits))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: SimulatorArgs,
    }

    #[test]
    fn arguments_become_settings() {
        let check = |flags: &str, want: Option<fn(&mut Settings)>| {
            let words = ["simulator"].into_iter().chain(flags.split_whitespace());
            let got = Command::try_parse_from(words)
                .ok()
                .map(|command| command.args.settings());
            let want = want.map(|change| {
                let mut settings = Settings {
                    needs_credentials: false, // trying a gateway needs no token
                    ..Settings::default()
                };
                change(&mut settings);
                settings
            });
            assert_eq!(got, want, "{flags}");
        };
        check("", Some(|_| {}));
        check(
            "--require-credentials",
            Some(|s| s.needs_credentials = true),
        );
        check(
            "--latency 20..80",
            Some(|s| {
                s.latency = Latency {
                    min_ms: 20,
                    max_ms: 80,
                }
            }),
        );
        check(
            "--latency 5",
            Some(|s| {
                s.latency = Latency {
                    min_ms: 5,
                    max_ms: 5,
                }
            }),
        );
        check("--latency 80..20", None);
        check(
            "--error-rate 0.1%",
            Some(|s| {
                s.faults = Faults {
                    error_500: 334,
                    error_429: 333,
                    error_503: 333,
                    ..Faults::NONE
                };
            }),
        );
        check("--hang-rate 100%", Some(|s| s.faults.hang = MILLION));
        check("--hang-rate 100.0001%", None);
        check("--hang-rate 5", None);
        check(
            "--tier m=16",
            Some(|s| s.tiers.extend([("m".to_owned(), 16)])),
        );
        check("--tier m", None);
    }
}
