//! `breakerbox why`.

use std::process::ExitCode;

use clap::Args;
use http::{Method, StatusCode};

use super::admin::{self, GatewayArgs};
use super::progress::Progress;
use super::sheet::Sheet;
use super::{NO, USAGE, checked, complain, print};
use crate::gateway::why::{UNKNOWN, Why};
use crate::ledger::event::RequestId;
use crate::ledger::trace;

/// What was decided of a request, and what it cost.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox why 8e03978e40d543e8bc936894a57f9324
  breakerbox why 8e03978e40d543e8bc936894a57f9324 --admin http://127.0.0.1:9090 --format json

REQUEST_ID is the answer's Breakerbox-Request-Id. A refusal is remembered by the gateway that
refused it; what was charged is in the ledger, which is searched where no gateway answers.
Exit code 0: here it is. 1: nothing is known of it, and what that may mean. 2: usage or configuration.")]
pub struct WhyArgs {
    /// As in Breakerbox-Request-Id.
    request_id: String,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Runs `why`.
pub fn run(args: &WhyArgs) -> ExitCode {
    match known(args) {
        Ok(Ok(json)) => {
            let sheet = Sheet::read(&json).unwrap_or_default();
            print(&sheet.print(&json, args.gateway.format.format));
            ExitCode::SUCCESS
        }
        Ok(Err(no)) => {
            complain(&format!("breakerbox: {no}\n"));
            ExitCode::from(NO)
        }
        Err(fault) => {
            complain(&format!("breakerbox: {fault}\n"));
            ExitCode::from(USAGE)
        }
    }
}

/// What is known, or that nothing is; or why that cannot be found out.
fn known(args: &WhyArgs) -> Result<Result<String, String>, String> {
    let request = RequestId::parse(&args.request_id)
        .ok_or_else(|| "a request id is 32 hex digits, as in Breakerbox-Request-Id".to_owned())?;
    if let Some(url) = &args.gateway.admin {
        let at = admin::authority(url)?;
        let answered = admin::ask(&at, Method::GET, &path(request), String::new());
        let answered = answered
            .map_err(|no| format!("{no}; leave --admin out to search the ledger instead"))?;
        return match answered.status {
            StatusCode::OK => Ok(Ok(answered.body)),
            StatusCode::NOT_FOUND => Ok(Err(answered.detail())),
            _ => Err(answered.detail()),
        };
    }
    let checked = checked(&args.gateway.config).map_err(|faults| faults.to_string())?;
    if let Some(at) = args.gateway.listener(&checked)? {
        let answered = admin::ask(&at, Method::GET, &path(request), String::new());
        if let Some(answered) = answered
            .ok()
            .filter(|answered| answered.status.is_success())
            && Sheet::read(&answered.body).is_some()
        {
            return Ok(Ok(answered.body));
        }
    }
    // A gateway gives up after a while, and another one may have had the ledger before.
    let mut bar = Progress::new();
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let found = trace::trace(&checked.gateway.ledger.path, request, &mut |at, of, day| {
        bar.show(count(at), count(of), day);
        true
    });
    bar.end();
    let found = found.map_err(|error| error.to_string())?;
    match Why::new(request, None, found, &checked) {
        Some(why) => Ok(Ok(
            serde_json::to_string(&why).map_err(|error| error.to_string())?
        )),
        None => Ok(Err(UNKNOWN.to_owned())),
    }
}

fn path(request: RequestId) -> String {
    format!("/api/v1/why/{request}")
}
