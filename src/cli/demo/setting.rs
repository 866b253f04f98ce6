//! The demo's configuration: four teams with little to spend, in a temporary folder.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::units::key_hash;

/// A folder with the demo's files and ledger; removed at the end.
pub(super) struct Setting {
    folder: PathBuf,
}

/// A team of the demo and the key its clients send.
pub(super) const KEYS: [(&str, &str); 4] = [
    (
        "sales",
        "5a1e5a1e5a1e5a1e5a1e5a1e5a1e5a1e5a1e5a1e5a1e5a1e5a1e5a1e5a1e5a1e",
    ),
    (
        "support",
        "50bb50bb50bb50bb50bb50bb50bb50bb50bb50bb50bb50bb50bb50bb50bb50bb",
    ),
    (
        "marketing",
        "3a4c3a4c3a4c3a4c3a4c3a4c3a4c3a4c3a4c3a4c3a4c3a4c3a4c3a4c3a4c3a4c",
    ),
    (
        "research",
        "4e5e4e5e4e5e4e5e4e5e4e5e4e5e4e5e4e5e4e5e4e5e4e5e4e5e4e5e4e5e4e5e",
    ),
];

/// The agents of the demo: id, team.
pub(super) const SDR_AGENT: &str = "0XxHn000000AAAAKA4";
pub(super) const SUPPORT_AGENT: &str = "0XxHn000000BBBBKA4";

impl Setting {
    /// Writes the files.
    pub(super) fn write(
        proxy: SocketAddr,
        admin: SocketAddr,
        salesforce: SocketAddr,
    ) -> io::Result<Self> {
        let name = format!("breakerbox-demo-{}", std::process::id());
        let setting = Self {
            folder: std::env::temp_dir().join(name),
        };
        std::fs::create_dir_all(&setting.folder)?;
        let gateway = format!(
            "[listen]\nproxy = \"{proxy}\"\nadmin = \"{admin}\"\n\n\
             [upstreams]\napi = \"http://{salesforce}\"\norg = \"http://{salesforce}\"\n\n\
             [ledger]\nstore = \"sqlite:breakerbox.db\"\n"
        );
        std::fs::write(setting.config(), gateway)?;
        let mut allocations = String::from(ALLOCATIONS);
        for (team, key) in KEYS {
            let hash = key_hash(key);
            allocations.push_str(&format!(
                "\n[[key]]\nname = \"{team}-key\"\nsha256 = \"{hash}\"\nteam = \"{team}\"\n"
            ));
        }
        std::fs::write(setting.folder.join("allocations.toml"), allocations)?;
        Ok(setting)
    }

    /// The gateway's file.
    pub(super) fn config(&self) -> PathBuf {
        self.folder.join("breakerbox.toml")
    }

    /// A team's key.
    pub(super) fn key(&self, team: &str) -> &'static str {
        KEYS.iter()
            .find(|(name, _)| *name == team)
            .map_or("", |(_, key)| key)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // What cannot be removed lies in the system's temporary folder.
        let _left_behind = std::fs::remove_dir_all(&self.folder);
    }
}

/// 6,000 credits a month, so that a minute of traffic goes through a month's allocation.
const ALLOCATIONS: &str = r#"[pool]
annual_credits = 72_000
annual_cost = { amount = "360.00", currency = "USD" }
contract_start = "2026-01-01"
time_zone = "UTC"
central_buffer = "15%"
burst = "15%"
trip = "90%"
rate_card = "guide"
unattributed = "refuse"

[[team]]
name = "sales"
share = "30%"
owner = "sales-ops@example.com"

[[team]]
name = "support"
share = "25%"
owner = "support-ops@example.com"

[[team]]
name = "marketing"
share = "20%"
owner = "marketing-ops@example.com"

[[team]]
name = "research"
share = "10%"
owner = "research@example.com"
on_trip = { standard = "reject" }

[[agent]]
id = "0XxHn000000AAAAKA4"
name = "SDR agent"
type = "sdr"
team = "sales"
class = "critical"

[[agent]]
id = "0XxHn000000BBBBKA4"
name = "Support agent"
type = "support"
team = "support"
class = "standard"

[[template]]
name = "Nightly_Summary"
team = "sales"
class = "background"

[[template]]
name = "Case_Summary"
team = "support"
class = "background"

[[prediction]]
id = "1ORHn000000LEAD"
team = "marketing"
class = "background"

[[model]]
name = "sfdc_ai__DefaultGPT4Omni"
team = "research"
class = "standard"
"#;
