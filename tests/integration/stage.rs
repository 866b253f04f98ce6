//! A gateway in front of a simulated Salesforce, with files and ledger in a temporary folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use breakerbox::config::load::Sources;
use breakerbox::gateway::{ConnectorChoice, Gateway, Start};
use breakerbox::simulator::{Settings, Simulator};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::http::{Reply, call, get};

/// Keys of the teams in [`ALLOCATIONS`].
pub(crate) const SALES_KEY: &str =
    "11111111111111111111111111111111aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const SUPPORT_KEY: &str =
    "22222222222222222222222222222222bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// The agent of sales; critical.
pub(crate) const AGENT: &str = "0XxHn000000AAAAKA4";
pub(crate) const MODEL_PATH: &str =
    "/einstein/platform/v1/models/sfdc_ai__DefaultGPT4Omni/chat-generations";
pub(crate) const CHAT: &str = r#"{"messages":[{"role":"user","content":"Hello"}]}"#;
pub(crate) const PREDICT_PATH: &str = "/services/data/v64.0/smartdatadiscovery/predict";
pub(crate) const PROMPT_PATH: &str =
    "/services/data/v64.0/einstein/prompt-templates/Quote_Summary/generations";
pub(crate) const PROMPT: &str = r#"{"isPreview":false,"inputParams":{"valueMap":{}},"additionalConfig":{"applicationName":"t"}}"#;

/// Two teams; sales has 35 % of 1,000 credits a month unless told otherwise.
pub(crate) fn allocations(card: &str, annual: &str) -> String {
    format!(
        r#"[pool]
annual_credits = {annual}
annual_cost = {{ amount = "36000.00", currency = "USD" }}
contract_start = "2026-01-01"
time_zone = "UTC"
central_buffer = "15%"
burst = "15%"
rate_card = "{card}"
unattributed = "refuse"
client_tags = ["project"]

[[team]]
name = "sales"
share = "35%"
owner = "sales-ops@example.com"

[[team]]
name = "support"
share = "25%"
owner = "support-ops@example.com"
on_trip = {{ standard = "reject" }}

[[agent]]
id = "{AGENT}"
name = "SDR agent"
type = "sdr"
team = "sales"
class = "critical"

[[template]]
name = "Quote_Summary"
team = "sales"
class = "background"

[[key]]
name = "sales-key"
sha256 = "{}"
team = "sales"

[[key]]
name = "support-key"
sha256 = "{}"
team = "support"
"#,
        sha256(SALES_KEY),
        sha256(SUPPORT_KEY),
    )
}

pub(crate) fn sha256(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The files of a gateway.
pub(crate) struct Files {
    pub(crate) folder: TempDir,
}

impl Files {
    pub(crate) fn write(salesforce: SocketAddr, allocations: &str) -> Self {
        let files = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        let text = format!(
            "[listen]\nproxy = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nworkers = 2\n\n\
             [upstreams]\napi = \"http://{salesforce}\"\norg = \"http://{salesforce}\"\n\n\
             [ledger]\nstore = \"sqlite:data/breakerbox.db\"\n"
        );
        std::fs::write(files.config(), text).expect("write");
        std::fs::write(files.allocations(), allocations).expect("write");
        files
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("breakerbox.toml")
    }

    pub(crate) fn allocations(&self) -> PathBuf {
        self.folder.path().join("allocations.toml")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.folder.path().join("data/breakerbox.db")
    }
}

/// All of it, running.
pub(crate) struct Stage {
    pub(crate) files: Files,
    pub(crate) simulator: Simulator,
    gateway: Option<Gateway>,
}

impl Stage {
    pub(crate) fn start(allocations: &str) -> Self {
        Self::configured(allocations, "")
    }

    /// Likewise, with more tables in `breakerbox.toml`.
    pub(crate) fn configured(allocations: &str, more: &str) -> Self {
        let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
        let files = Files::write(simulator.address, allocations);
        let text = std::fs::read_to_string(files.config()).expect("read");
        std::fs::write(files.config(), format!("{text}\n{more}")).expect("write");
        let gateway = Some(start(&files.config()));
        Self {
            files,
            simulator,
            gateway,
        }
    }

    /// Two teams on a card, with this many credits a year.
    pub(crate) fn on_card(card: &str, annual: &str) -> Self {
        Self::start(&allocations(card, annual))
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("running")
    }

    pub(crate) fn proxy(&self) -> SocketAddr {
        self.gateway().proxy
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.gateway().admin
    }

    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        call(self.proxy(), "POST", path, headers, body)
    }

    /// A session of sales' agent, opened with sales' key.
    pub(crate) fn open_session(&self) -> String {
        let path = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
        let body = r#"{"externalSessionKey":"1","instanceConfig":{"endpoint":"https://x"}}"#;
        let reply = self.post(&path, &[("Breakerbox-Key", SALES_KEY)], body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let session = &reply.json()["sessionId"];
        session.as_str().expect("a session").to_owned()
    }

    /// The admin API's JSON.
    pub(crate) fn ask(&self, path: &str) -> serde_json::Value {
        let reply = get(self.admin(), path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    }

    /// A number of a team, as written: exact.
    pub(crate) fn team(&self, team: &str, field: &str) -> String {
        self.ask(&format!("/api/v1/teams/{team}"))[field]
            .to_string()
            .trim_matches('"')
            .to_owned()
    }

    pub(crate) fn metrics(&self) -> String {
        get(self.admin(), "/metrics").text()
    }

    /// Stops and starts again with the same files.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.gateway = Some(start(&self.files.config()));
    }

    pub(crate) fn stop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop(Duration::from_secs(5)).expect("a clean stop");
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn start(config: &Path) -> Gateway {
    let sources = Sources::new(config.to_owned());
    let start = Start {
        sources,
        connector: ConnectorChoice::Platform,
    };
    Gateway::start(start).unwrap_or_else(|error| panic!("{error}"))
}

/// Waits for something to become true.
pub(crate) fn wait_for(what: &str, deadline: Duration, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + deadline;
    while !is_true() {
        assert!(Instant::now() < until, "not within {deadline:?}: {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The value of one series in an exposition; 0 where it is absent.
pub(crate) fn series(metrics: &str, name: &str) -> String {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or("0").to_owned()
}

/// Whether a real component is here. Where it is missing a test says so and is skipped; named in
/// `BREAKERBOX_TEST_REQUIRE`, as CI does, that is a failure.
pub(crate) fn has(tool: &str) -> bool {
    let answers = std::process::Command::new(tool).arg("--version").output();
    is_here(tool, answers.is_ok())
}

/// The same of what is no program.
pub(crate) fn is_here(component: &str, found: bool) -> bool {
    let required = std::env::var("BREAKERBOX_TEST_REQUIRE").unwrap_or_default();
    assert!(
        found || !required.split(',').any(|name| name == component),
        "{component} is required and missing"
    );
    if !found {
        eprintln!("skipped: {component} is not here");
    }
    found
}
