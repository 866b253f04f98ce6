//! What a request's `x-sim-*` headers ask for, and what chance adds where they are silent.
//!
//! The headers are documented at [`crate::simulator`]. A control that cannot be read is refused,
//! so that a misspelled one cannot make a test pass.

use std::time::Duration;

use fastrand::Rng;
use http::StatusCode;
use http::header::{HeaderMap, HeaderValue};

use super::messages::Kind;
use super::{Faults, Settings};

/// Bounds of the numeric controls, so that a slip does not fill the memory.
const ACTIONS_MOST: u64 = 200;
const DELAY_MOST_MS: u64 = 600_000;
const BODY_MOST_BYTES: u64 = 64 << 20;
const MESSAGES_MOST: usize = 10;
const TOKENS_MOST: u64 = 1_000_000_000;

/// How long an answer chosen to hang keeps quiet before the connection closes.
const HANG: Duration = Duration::from_secs(600);

/// How one request is to be answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Controls {
    /// The turn's actions; drawn by chance if `None`.
    pub(crate) actions: Option<Actions>,
    /// Answered instead of the real thing.
    pub(crate) status: Option<StatusCode>,
    /// The work is done first, then `status` (or else 500) is answered.
    pub(crate) late: bool,
    /// Before the head.
    pub(crate) delay: Duration,
    /// Before each frame but the first.
    pub(crate) chunk_delay: Duration,
    /// Frames sent before the connection is closed.
    pub(crate) cut_after: Option<u32>,
    /// Size of the chunks a JSON body is sent in.
    pub(crate) chunk_bytes: Option<usize>,
    /// No head at all; closes after this time.
    pub(crate) hang: Option<Duration>,
    /// Tokens each model call takes.
    pub(crate) tokens: Option<u64>,
    /// Leave the tokens out of the answer.
    pub(crate) no_usage: bool,
    /// Least length of the answer's text.
    pub(crate) body_bytes: usize,
    /// Progress frames an action sends beyond its first.
    pub(crate) repeat_progress: u32,
    /// An error inside a 200.
    pub(crate) error_frame: bool,
    /// What the turn says.
    pub(crate) says: Says,
}

/// What a turn says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Says {
    /// At its end, in order.
    pub(crate) messages: Vec<Kind>,
    /// The streamed text is taken back once, and said again.
    pub(crate) taken_back: bool,
}

impl Default for Says {
    fn default() -> Self {
        Self {
            messages: vec![Kind::Inform],
            taken_back: false,
        }
    }
}

/// Reads `Inform,Escalate`.
fn messages(value: &str) -> Option<Vec<Kind>> {
    let kinds = value.split(',').map(|name| Kind::parse(name.trim()));
    let kinds: Option<Vec<_>> = kinds.collect();
    kinds.filter(|kinds| kinds.len() <= MESSAGES_MOST)
}

/// The actions a turn runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Actions {
    /// So many different ones.
    Count(u32),
    /// These, in this order.
    Names(Vec<String>),
}

impl Controls {
    /// Reads the headers of a request and draws the rest.
    ///
    /// # Errors
    /// The header that cannot be read, with the reason, as text for the caller.
    pub(crate) fn read(
        headers: &HeaderMap,
        settings: &Settings,
        streamed: bool,
        rng: &mut Rng,
    ) -> Result<Self, String> {
        let mut controls = Self {
            delay: settings.latency.draw(rng),
            chunk_delay: settings.chunk_delay,
            ..Self::default()
        };
        let mut told = false;
        for (name, value) in headers {
            let Some(control) = name.as_str().strip_prefix("x-sim-") else {
                continue;
            };
            let read = controls.set(control, value).ok_or_else(|| {
                let value = String::from_utf8_lossy(value.as_bytes());
                format!("{name}: {value} is no control of the simulator")
            })?;
            told |= read == Sets::Fate;
        }
        if !told {
            controls.draw(&settings.faults, streamed, rng);
        }
        Ok(controls)
    }

    fn set(&mut self, control: &str, value: &HeaderValue) -> Option<Sets> {
        let value = value.to_str().ok()?.trim();
        match control {
            "team" => {}
            "actions" => self.actions = Some(Actions::parse(value)?),
            "delay-ms" => self.delay = millis(value)?,
            "chunk-delay-ms" => self.chunk_delay = millis(value)?,
            "chunk-bytes" => self.chunk_bytes = Some(size(value)?).filter(|bytes| *bytes > 0),
            "tokens" => self.tokens = Some(number(value, TOKENS_MOST)?),
            "no-usage" => self.no_usage = flag(value)?,
            "body-bytes" => self.body_bytes = size(value)?,
            "repeat-progress" => {
                self.repeat_progress = u32::try_from(number(value, ACTIONS_MOST)?).ok()?;
            }
            "messages" => self.says.messages = messages(value)?,
            "validation-failure" => self.says.taken_back = flag(value)?,
            fate => return self.set_fate(fate, value),
        }
        Some(Sets::Detail)
    }

    /// The controls that leave nothing to chance: with one of them no fault is drawn.
    fn set_fate(&mut self, control: &str, value: &str) -> Option<Sets> {
        match control {
            "status" => {
                let status = value
                    .parse()
                    .ok()
                    .filter(|status| (200..600).contains(status))?;
                // 200 is the plain answer: it only keeps chance out.
                self.status = StatusCode::from_u16(status)
                    .ok()
                    .filter(|s| *s != StatusCode::OK);
            }
            "late" => self.late = flag(value)?,
            "cut-after" => self.cut_after = Some(value.parse().ok()?),
            "hang" => self.hang = Some(millis(value)?),
            "error-frame" => self.error_frame = flag(value)?,
            _ => return None,
        }
        Some(Sets::Fate)
    }

    fn draw(&mut self, faults: &Faults, streamed: bool, rng: &mut Rng) {
        if *faults == Faults::NONE {
            return;
        }
        let mut hits = |ppm: u32| ppm > 0 && rng.u32(0..1_000_000) < ppm;
        if hits(faults.error_500) {
            self.status = Some(StatusCode::INTERNAL_SERVER_ERROR);
        } else if hits(faults.error_429) {
            self.status = Some(StatusCode::TOO_MANY_REQUESTS);
        } else if hits(faults.error_503) {
            self.status = Some(StatusCode::SERVICE_UNAVAILABLE);
        } else if hits(faults.hang) {
            self.hang = Some(HANG);
        } else if hits(if streamed {
            faults.cut_stream
        } else {
            faults.cut_body
        }) {
            self.cut_after = Some(rng.u32(0..4));
        } else {
            self.error_frame = hits(faults.error_frame);
        }
    }
}

/// What a control decides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sets {
    Detail,
    Fate,
}

impl Actions {
    /// Reads `3` or `Get_Order,Get_Invoice`.
    fn parse(value: &str) -> Option<Self> {
        if value.bytes().all(|byte| byte.is_ascii_digit()) {
            return u32::try_from(number(value, ACTIONS_MOST)?)
                .ok()
                .map(Self::Count);
        }
        let names: Vec<String> = value
            .split(',')
            .map(|name| name.trim().to_owned())
            .collect();
        let is_name = |name: &String| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let few = u64::try_from(names.len()).is_ok_and(|count| count <= ACTIONS_MOST);
        (few && names.iter().all(is_name)).then_some(Self::Names(names))
    }
}

fn number(value: &str, most: u64) -> Option<u64> {
    value.parse().ok().filter(|number| *number <= most)
}

fn size(value: &str) -> Option<usize> {
    usize::try_from(number(value, BODY_MOST_BYTES)?).ok()
}

fn millis(value: &str) -> Option<Duration> {
    number(value, DELAY_MOST_MS).map(Duration::from_millis)
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    fn read(headers: &[(&str, &str)], settings: &Settings) -> Result<Controls, String> {
        let headers = headers.iter().map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                value.parse::<HeaderValue>().unwrap(),
            )
        });
        Controls::read(&headers.collect(), settings, true, &mut Rng::with_seed(1))
    }

    fn check(name: &str, value: &str, want: Option<Controls>) {
        let got = read(&[(name, value)], &Settings::default());
        assert_eq!(got.ok(), want, "{name}: {value}");
    }

    #[test]
    fn controls_are_read_or_refused() {
        let actions = |actions| {
            Some(Controls {
                actions: Some(actions),
                ..Controls::default()
            })
        };
        check("x-sim-actions", "3", actions(Actions::Count(3)));
        check(
            "x-sim-actions",
            "A, b_2",
            actions(Actions::Names(vec!["A".into(), "b_2".into()])),
        );
        check("x-sim-actions", "a-b", None);
        check("x-sim-actions", "201", None);
        check("x-sim-status", "200", Some(Controls::default()));
        check("x-sim-status", "100", None);
        check("x-sim-late", "yes", None);
        check("x-sim-cut-afer", "1", None);
        check("x-sim-team", "sales", Some(Controls::default()));
        let messages = Controls {
            says: Says {
                messages: vec![Kind::Inform, Kind::Escalate],
                ..Says::default()
            },
            ..Controls::default()
        };
        check("x-sim-messages", "Inform, Escalate", Some(messages));
        check("x-sim-messages", "Inform,Error", None);
        let cut = Controls {
            cut_after: Some(2),
            ..Controls::default()
        };
        check("x-sim-cut-after", "2", Some(cut));
    }

    #[test]
    fn chance_keeps_out_of_what_was_told() {
        let faults = Faults {
            error_503: 1_000_000,
            ..Faults::NONE
        };
        let settings = Settings {
            faults,
            ..Settings::default()
        };
        let status = |headers: &[(&str, &str)]| read(headers, &settings).unwrap().status;
        assert_eq!(status(&[]), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(
            status(&[("x-sim-actions", "1")]),
            Some(StatusCode::SERVICE_UNAVAILABLE)
        );
        assert_eq!(status(&[("x-sim-status", "200")]), None);
        assert_eq!(status(&[("x-sim-cut-after", "0")]), None);
    }
}
