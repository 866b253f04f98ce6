//! The real binary, as an operator starts it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use breakerbox::budget::credits::MicroCredits;

use crate::stage::Files;

/// A running `breakerbox serve`.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) proxy: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: PathBuf,
}

impl Process {
    pub(crate) fn serve(files: &Files) -> Self {
        Self::serve_with(files, Command::new(env!("CARGO_BIN_EXE_breakerbox")))
    }

    /// Likewise, through another command whose arguments follow, as `fiu-run -x breakerbox`.
    pub(crate) fn serve_with(files: &Files, mut command: Command) -> Self {
        let log = files.folder.path().join("serve.log");
        let mut child = command
            .args(["serve", "--config"])
            .arg(files.config())
            .env("BREAKERBOX_LOG", "warn")
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("serve");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let mut address = |name: &str| {
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            let line = lines.next().unwrap_or_else(|| panic!("{}", said()));
            let line = line.expect("text");
            let address = line
                .strip_prefix(name)
                .expect("its name")
                .trim()
                .strip_prefix("http://");
            address.expect("an address").parse().expect("an address")
        };
        let proxy = address("proxy");
        Self {
            proxy,
            admin: address("admin"),
            child,
            log,
        }
    }

    /// Micro-credits of sales, from all sources.
    pub(crate) fn used(&self) -> i64 {
        let team = crate::http::get(self.admin, "/api/v1/teams/sales").json();
        let total = team["total_used"].to_string();
        MicroCredits::parse(&total).expect("credits").micros()
    }

    pub(crate) fn metrics(&self) -> String {
        crate::http::get(self.admin, "/metrics").text()
    }

    /// What it said on standard error so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log")
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("gone");
    }

    /// SIGTERM; the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
        self.child.wait().expect("gone").code()
    }
}

/// A failed test leaves nobody behind.
impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Runs another command of the real binary with the gateway's configuration; exit code 124 if it does not end.
pub(crate) fn run(files: &Files, arguments: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["20", env!("CARGO_BIN_EXE_breakerbox")]);
    run_with(files, command, arguments)
}

/// Likewise, through another command whose arguments follow.
pub(crate) fn run_with(files: &Files, mut command: Command, arguments: &[&str]) -> Output {
    command
        .args(arguments)
        .arg("--config")
        .arg(files.config())
        .output()
        .expect("breakerbox")
}

/// Standard output and error, as one text.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
