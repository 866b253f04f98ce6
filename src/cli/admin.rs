//! Asks a running gateway: one request to its admin listener.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::format::FormatArgs;
use crate::config::checked::Checked;

/// A bit more than the admin listener takes for an answer.
const ANSWER: Duration = Duration::from_secs(35);
/// To connect, on this machine.
const CONNECT: Duration = Duration::from_secs(2);
/// The most of an answer that is read.
const ANSWER_BYTES: usize = 16 << 20;

/// Which gateway is asked, and how its answer is printed.
#[derive(Debug, Args)]
pub(super) struct GatewayArgs {
    /// The running gateway to ask: the address of its admin listener; by default the configuration's.
    #[arg(long, value_name = "URL", conflicts_with = "offline")]
    pub(super) admin: Option<String>,
    /// Ask no gateway.
    #[arg(long)]
    offline: bool,
    /// The gateway's file.
    #[arg(long, default_value = "config/breakerbox.toml")]
    pub(super) config: PathBuf,
    #[command(flatten)]
    pub(super) format: FormatArgs,
}

impl GatewayArgs {
    /// Where the configuration says that a gateway listens, unless none is to be asked.
    pub(super) fn listener(&self, checked: &Checked) -> Result<Option<Authority>, String> {
        let listen = checked.gateway.listen.admin;
        if self.offline || listen.port() == 0 {
            return Ok(None);
        }
        let at = Authority::try_from(listen.to_string());
        at.map(Some)
            .map_err(|_| format!("[listen] admin {listen} is no address"))
    }
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// How.
    pub(super) status: StatusCode,
    /// What.
    pub(super) body: String,
}

impl Answer {
    /// What an error says to do, or the whole of it.
    pub(super) fn detail(&self) -> String {
        let problem: Option<serde_json::Value> = serde_json::from_str(&self.body).ok();
        let detail = problem
            .as_ref()
            .and_then(|problem| problem["detail"].as_str());
        match detail {
            Some(detail) => detail.to_owned(),
            None => format!("{} {}", self.status, self.body.trim_end()),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// Nobody listens there.
    #[error("no gateway answers at {at}: {why}")]
    Nobody {
        /// Where.
        at: Authority,
        /// What the system says.
        why: String,
    },
    /// Somebody does, and does not answer as we do.
    #[error("what answers at {at} is no breakerbox: {why}")]
    Stranger {
        /// Where.
        at: Authority,
        /// What it did.
        why: String,
    },
}

/// The admin listener named by `http://127.0.0.1:9090`, or `127.0.0.1:9090`.
pub(super) fn authority(url: &str) -> Result<Authority, String> {
    let wrong = || format!("--admin {url}: write it as in http://127.0.0.1:9090");
    let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
    match (uri.scheme_str(), uri.authority(), uri.path()) {
        (None | Some("http"), Some(authority), "" | "/") if authority.port().is_some() => {
            Ok(authority.clone())
        }
        _ => Err(wrong()),
    }
}

/// Asks, and waits for the answer.
pub(super) fn ask(
    at: &Authority,
    method: Method,
    path: &str,
    body: String,
) -> Result<Answer, NoAnswer> {
    let nobody = |why: String| NoAnswer::Nobody {
        at: at.clone(),
        why,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| nobody(error.to_string()))?;
    runtime.block_on(async {
        let connect = timeout(CONNECT, TcpStream::connect(at.as_str())).await;
        let stream = match connect {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(nobody(error.to_string())),
            Err(_) => return Err(nobody("it takes too long to connect".to_owned())),
        };
        let answer = timeout(ANSWER, exchange(stream, at, method, path, body)).await;
        let why = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", ANSWER.as_secs()),
        };
        Err(NoAnswer::Stranger {
            at: at.clone(),
            why,
        })
    })
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(
    stream: TcpStream,
    at: &Authority,
    method: Method,
    path: &str,
    body: String,
) -> Result<Answer, AnyError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, at.as_str())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let answered = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES);
        #[expect(clippy::disallowed_methods, reason = "Limited")]
        let body = body.collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok::<_, AnyError>(Answer { status, body })
    };
    // The connection ends once nobody can ask through it any more; how it ended then is no matter.
    let (answer, _ended) = tokio::join!(answered, connection);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_or_without_its_scheme() {
        let check = |url: &str, want: Option<&str>| {
            let got = authority(url).ok();
            assert_eq!(got.as_ref().map(Authority::as_str), want, "{url}");
        };
        check("http://127.0.0.1:9090", Some("127.0.0.1:9090"));
        check("http://localhost:9090/", Some("localhost:9090"));
        check("127.0.0.1:9090", Some("127.0.0.1:9090"));
        check("https://127.0.0.1:9090", None);
        check("http://127.0.0.1", None);
        check("http://127.0.0.1:9090/api", None);
        check("nonsense", None);
    }
}
