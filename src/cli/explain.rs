//! `breakerbox explain`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use http::uri::Authority;
use http::{Method, StatusCode, Uri};
use serde_json::{Map, Value};

use super::admin::{self, GatewayArgs, NoAnswer};
use super::sheet::Sheet;
use super::{NO, USAGE, checked, complain, print};
use crate::clock;
use crate::gateway::offline;
use crate::proxy::explain::{self, Answered, JudgedBy, Question};
use crate::proxy::turns::Turns;

/// How a request would be priced and judged, line by line.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox explain --path /einstein/platform/v1/models/gpt/chat-generations --team sales --body chat.json
  breakerbox explain --path /einstein/ai-agent/v1/sessions/8e71/messages --agent 0XxHn000000AAAAKA4 --class standard
  breakerbox explain --path /services/data/v64.0/smartdatadiscovery/predict --key-name batch-scorer \\
      --body rows.json --answer answer.json --format json

Nothing is forwarded, reserved or counted. A running gateway is asked at --admin, or where the
configuration says its admin listener is; where none answers, or with --offline, the request is
judged by the ledger as it was last written, or by an empty one: judged_by says by which.
Exit code 0: it would be forwarded. 1: it would be refused. 2: usage or configuration.")]
pub struct ExplainArgs {
    /// Its method.
    #[arg(long, default_value = "POST")]
    method: String,
    /// Path and query.
    #[arg(long)]
    path: String,
    /// As if this key had been sent: its name in allocations.toml.
    #[arg(long, value_name = "NAME", conflicts_with = "team")]
    key_name: Option<String>,
    /// As if a key of this team had been sent.
    #[arg(long)]
    team: Option<String>,
    /// As if its session had been opened with this agent.
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// As if it had asked for this class.
    #[arg(long)]
    class: Option<String>,
    /// Its body; - reads standard input.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The body of a complete answer, to price the settlement too.
    #[arg(long, value_name = "FILE")]
    answer: Option<PathBuf>,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Runs `explain`.
pub fn run(args: &ExplainArgs) -> ExitCode {
    match explained(args) {
        Ok(json) => {
            let sheet = Sheet::read(&json).unwrap_or_default();
            print(&sheet.print(&json, args.gateway.format.format));
            match sheet.value("verdict") {
                Some("refuse") => ExitCode::from(NO),
                _ => ExitCode::SUCCESS,
            }
        }
        Err(fault) => {
            complain(&format!("breakerbox: {fault}\n"));
            ExitCode::from(USAGE)
        }
    }
}

/// The explanation as JSON, from a gateway or from the ledger.
fn explained(args: &ExplainArgs) -> Result<String, String> {
    let (body, answer) = (
        content(args.body.as_deref())?,
        content(args.answer.as_deref())?,
    );
    if let Some(url) = &args.gateway.admin {
        let at = admin::authority(url)?;
        return asked(&at, args, body, answer).map_err(|no| match no {
            Unexplained::Fault(fault) => fault,
            Unexplained::NoAnswer(no) => {
                format!("{no}; leave --admin out to judge by the ledger instead")
            }
        });
    }
    let checked = checked(&args.gateway.config).map_err(|faults| faults.to_string())?;
    let mut why_not = None;
    if let Some(at) = args.gateway.listener(&checked)? {
        match asked(&at, args, body.clone(), answer.clone()) {
            Ok(json) => return Ok(json),
            Err(Unexplained::Fault(fault)) => return Err(fault),
            Err(Unexplained::NoAnswer(no)) => why_not = Some(no.to_string()),
        }
    }
    let question = question(args, body, answer)?;
    let now = clock::now();
    let found = offline::look(checked, now).map_err(|error| error.to_string())?;
    let state = JudgedBy {
        snapshot: &found.snapshot,
        sessions: &found.sessions,
        turns: &Turns::default(),
    };
    let mut explained = explain::explain(state, &question, now)?;
    explained.judged_by = match why_not {
        None => found.state,
        Some(why) => format!("{}; {why}", found.state),
    };
    serde_json::to_string(&explained).map_err(|error| error.to_string())
}

/// Why a gateway did not explain.
enum Unexplained {
    /// The question is wrong.
    Fault(String),
    /// None is there.
    NoAnswer(NoAnswer),
}

fn asked(
    at: &Authority,
    args: &ExplainArgs,
    body: Option<String>,
    answer: Option<String>,
) -> Result<String, Unexplained> {
    let mut asked = Map::new();
    let mut say = |name: &str, value: Option<String>| {
        asked.extend(value.map(|value| (name.to_owned(), Value::String(value))));
    };
    say("method", Some(args.method.clone()));
    say("path", Some(args.path.clone()));
    say("key_name", args.key_name.clone());
    say("team", args.team.clone());
    say("agent", args.agent.clone());
    say("class", args.class.clone());
    say("body", body);
    say("answer", answer);
    let asked = Value::Object(asked).to_string();
    let answered = admin::ask(at, Method::POST, "/api/v1/explain", asked);
    let answered = answered.map_err(Unexplained::NoAnswer)?;
    let is_ours = Sheet::read(&answered.body).is_some();
    match answered.status {
        StatusCode::OK if is_ours => Ok(answered.body),
        StatusCode::OK | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            Err(Unexplained::NoAnswer(NoAnswer::Stranger {
                at: at.clone(),
                why: format!("/api/v1/explain answers {}", answered.status),
            }))
        }
        _ => Err(Unexplained::Fault(answered.detail())),
    }
}

fn question(
    args: &ExplainArgs,
    body: Option<String>,
    answer: Option<String>,
) -> Result<Question, String> {
    let method = args.method.to_ascii_uppercase();
    Ok(Question {
        method: Method::try_from(method.as_str())
            .map_err(|_| format!("--method {method:?} is none"))?,
        uri: Uri::try_from(&args.path)
            .map_err(|_| "--path: write it as in /einstein/..., without the host".to_owned())?,
        key_name: args.key_name.clone(),
        team: args.team.clone(),
        agent: args.agent.as_deref().map(Into::into),
        class: args.class.clone(),
        body: body.map(Bytes::from).unwrap_or_default(),
        answer: answer.map(|answer| Answered::Body(Bytes::from(answer))),
        ..Question::default()
    })
}

/// The most of a file that is read: more than any request that is read to be priced.
const FILE_BYTES: u64 = 3 << 20;

fn content(file: Option<&Path>) -> Result<Option<String>, String> {
    let Some(path) = file else {
        return Ok(None);
    };
    let unreadable = |error| format!("{} cannot be read: {error}", path.display());
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(FILE_BYTES).read_to_end(&mut bytes)
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(FILE_BYTES).read_to_end(&mut bytes)
    };
    let read = u64::try_from(read.map_err(unreadable)?).unwrap_or(u64::MAX);
    if read >= FILE_BYTES {
        return Err(format!(
            "{} is over {FILE_BYTES} bytes; a request this large is priced at its bound",
            path.display()
        ));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
