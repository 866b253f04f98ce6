//! The demo's clients: agents, batch scorers and notebooks of four teams, through the gateway's socket.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::setting::{SDR_AGENT, SUPPORT_AGENT, Setting};
use crate::proxy::tasks::Tasks;

/// What the clients were answered, by team and class.
#[derive(Debug, Default)]
#[expect(
    clippy::disallowed_types,
    reason = "the demo's clients, not the gateway"
)]
pub(super) struct Tally(std::sync::Mutex<BTreeMap<(&'static str, &'static str), Answers>>);

/// Answers to one team's calls of one class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    /// Forwarded.
    pub(super) passed: u64,
    /// Refused by the gateway.
    pub(super) refused: u64,
}

impl Tally {
    fn note(&self, team: &'static str, class: &'static str, status: StatusCode) {
        let mut tally = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let answers = tally.entry((team, class)).or_default();
        let count = if status.is_success() {
            &mut answers.passed
        } else {
            &mut answers.refused
        };
        *count = count.saturating_add(1);
    }

    /// All of them.
    pub(super) fn read(&self) -> BTreeMap<(&'static str, &'static str), Answers> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

/// One kind of client.
#[derive(Clone, Copy)]
struct Client {
    team: &'static str,
    class: &'static str,
    work: Work,
    /// Rounds in a minute's demo.
    rounds: u32,
    /// Clients of this kind at once.
    count: u32,
}

#[derive(Clone, Copy)]
enum Work {
    /// A conversation of three turns, the last one streamed.
    Conversation(&'static str),
    /// A prompt template.
    Prompt(&'static str),
    /// Forty rows scored.
    Predict,
    /// A chat generation.
    Chat,
}

/// Each team's month is gone after about two thirds of the demo.
const CLIENTS: [Client; 6] = [
    Client {
        team: "sales",
        class: "critical",
        work: Work::Conversation(SDR_AGENT),
        rounds: 110,
        count: 4,
    },
    Client {
        team: "sales",
        class: "background",
        work: Work::Prompt("Nightly_Summary"),
        rounds: 250,
        count: 2,
    },
    Client {
        team: "support",
        class: "standard",
        work: Work::Conversation(SUPPORT_AGENT),
        rounds: 90,
        count: 4,
    },
    Client {
        team: "support",
        class: "background",
        work: Work::Prompt("Case_Summary"),
        rounds: 200,
        count: 2,
    },
    Client {
        team: "marketing",
        class: "background",
        work: Work::Predict,
        rounds: 140,
        count: 2,
    },
    Client {
        team: "research",
        class: "standard",
        work: Work::Chat,
        rounds: 450,
        count: 2,
    },
];

/// How long calls under way may take once the demo is over: what is cut off is not billed as it is counted.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// Runs all clients until it is `over`, and lets their last calls end. `pace` is the time a minute's rounds are
/// spread over.
pub(super) async fn run(
    proxy: SocketAddr,
    setting: &Setting,
    tally: Arc<Tally>,
    (seed, pace): (u64, Duration),
    over: impl Future<Output = ()>,
) {
    let (say, is_over) = watch::channel(false);
    let local = LocalSet::new();
    let tasks = Tasks::default();
    let mut random = fastrand::Rng::with_seed(seed);
    local
        .run_until(async {
            for client in CLIENTS {
                for _ in 0..client.count {
                    let caller = Caller {
                        client,
                        key: setting.key(client.team),
                        proxy,
                        tally: Arc::clone(&tally),
                        tasks: tasks.clone(),
                        is_over: is_over.clone(),
                    };
                    let random = random.fork();
                    tasks.spawn(Rc::new(caller).work(random, pace));
                }
            }
            over.await;
            say.send_replace(true);
            let _some_are_cut_off = timeout(LAST_CALLS, tasks.ended()).await;
        })
        .await;
}

struct Caller {
    client: Client,
    key: &'static str,
    proxy: SocketAddr,
    tally: Arc<Tally>,
    tasks: Tasks,
    is_over: watch::Receiver<bool>,
}

/// The most bytes of an answer a client reads.
const ANSWER_BYTES: usize = 1 << 20;

impl Caller {
    async fn work(self: Rc<Self>, mut random: fastrand::Rng, pace: Duration) {
        let pause = pace.checked_div(self.client.rounds).unwrap_or_default();
        let mut sender = None;
        loop {
            // Half to one and a half times the pause, so that clients do not march in step.
            let jitter = pause.checked_mul(random.u32(50..150)).unwrap_or(pause);
            let pause = jitter.checked_div(100).unwrap_or(pause);
            let mut is_over = self.is_over.clone();
            tokio::select! {
                () = sleep(pause) => {}
                _ = is_over.wait_for(|is_over| *is_over) => return,
            }
            let round = self.round(&mut sender).await;
            if round.is_err() {
                sender = None; // the connection ended; the next round opens another
            }
        }
    }

    async fn round(&self, sender: &mut Option<SendRequest<Full<Bytes>>>) -> io::Result<()> {
        match self.client.work {
            Work::Conversation(agent) => self.conversation(sender, agent).await,
            Work::Prompt(template) => {
                let path = format!(
                    "/services/data/v64.0/einstein/prompt-templates/{template}/generations"
                );
                let body = r#"{"isPreview":false,"inputParams":{"valueMap":{}},"additionalConfig":{"applicationName":"demo"}}"#;
                self.call(sender, &path, body.to_owned()).await.map(drop)
            }
            Work::Predict => {
                let rows = vec![r#"["2","Furniture"]"#; 40].join(",");
                let body = format!(
                    r#"{{"predictionDefinition":"1ORHn000000LEAD","type":"RawData","columnNames":["Quantity","Category"],"rows":[{rows}]}}"#
                );
                self.call(
                    sender,
                    "/services/data/v64.0/smartdatadiscovery/predict",
                    body,
                )
                .await
                .map(drop)
            }
            Work::Chat => {
                let path = "/einstein/platform/v1/models/sfdc_ai__DefaultGPT4Omni/chat-generations";
                let body = r#"{"messages":[{"role":"user","content":"What changed in the pipeline today?"}]}"#;
                self.call(sender, path, body.to_owned()).await.map(drop)
            }
        }
    }

    async fn conversation(
        &self,
        sender: &mut Option<SendRequest<Full<Bytes>>>,
        agent: &str,
    ) -> io::Result<()> {
        let path = format!("/einstein/ai-agent/v1/agents/{agent}/sessions");
        let body = r#"{"externalSessionKey":"demo","instanceConfig":{"endpoint":"https://example.my.salesforce.com"},"bypassUser":true}"#;
        let Some(opened) = self.call(sender, &path, body.to_owned()).await? else {
            return Ok(());
        };
        let opened: serde_json::Value = serde_json::from_slice(&opened)?;
        let session = opened
            .get("sessionId")
            .and_then(|id| id.as_str())
            .unwrap_or_default();
        let path = format!("/einstein/ai-agent/v1/sessions/{session}/messages");
        for turn in 1..=3 {
            let stream = if turn == 3 { "/stream" } else { "" };
            let body = format!(
                r#"{{"message":{{"sequenceId":{turn},"type":"Text","text":"And then?"}}}}"#
            );
            self.call(sender, &format!("{path}{stream}"), body).await?;
        }
        Ok(())
    }

    /// One call; `None` where the answer is no 2xx, or the demo is over.
    async fn call(
        &self,
        sender: &mut Option<SendRequest<Full<Bytes>>>,
        path: &str,
        body: String,
    ) -> io::Result<Option<Bytes>> {
        if *self.is_over.borrow() {
            return Ok(None);
        }
        let request = Request::post(path)
            .header("host", self.proxy.to_string())
            .header("content-type", "application/json")
            .header("authorization", "Bearer demo")
            .header("x-sfdc-app-context", "EinsteinGPT")
            .header("x-client-feature-id", "ai-platform-models-connected-app")
            .header("breakerbox-key", self.key)
            .body(Full::new(Bytes::from(body)))
            .map_err(io::Error::other)?;
        let connection = match sender.take().filter(|sender| !sender.is_closed()) {
            Some(connection) => sender.insert(connection),
            None => sender.insert(self.connect().await?),
        };
        connection.ready().await.map_err(io::Error::other)?;
        let response = connection
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        let status = response.status();
        self.tally.note(self.client.team, self.client.class, status);
        let bytes = Limited::new(response.into_body(), ANSWER_BYTES);
        #[expect(clippy::disallowed_methods, reason = "Limited")]
        let bytes = bytes.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok(status.is_success().then_some(bytes))
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.proxy).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        self.tasks.spawn(async move {
            // A connection that ends with an error is seen by its next call.
            let _ended = connection.await;
        });
        Ok(sender)
    }
}
