//! Salesforce's five ways of saying no, each with its own body.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::body::{Body, json};
use super::clock;

/// The error body an API uses (salesforce-apis.md, sections 1.9, 2, 3, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{"status","path","requestId","error","message","timestamp"}`
    Agent,
    /// `{"errorCode","messageCode","message","targets","parameters"}`
    Models,
    /// `[{"errorCode","message"}]`
    Rest,
    /// `{"error":{"code","message","param","type"}}`
    OpenAi,
    /// `{"error","error_description"}`
    OAuth,
}

/// One error: its status, and the code and text its body carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// The header it is about; the Models API names it.
    pub(crate) header: Option<&'static str>,
}

impl Fault {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            header: None,
        }
    }

    /// A header that is required and not there.
    pub(crate) fn without_header(code: &'static str, header: &'static str) -> Self {
        let message = format!("Required header '{header}' is not present.");
        Self {
            header: Some(header),
            ..Self::new(StatusCode::BAD_REQUEST, code, message)
        }
    }

    /// What Salesforce would say with `status`, where the simulator was told to say it.
    pub(crate) fn told(status: StatusCode, shape: Shape) -> Self {
        let models = shape == Shape::Models;
        let (code, message) = match status {
            StatusCode::UNAUTHORIZED if models || shape == Shape::Agent => {
                ("INVALID_AUTH", "Invalid token")
            }
            StatusCode::UNAUTHORIZED => ("INVALID_SESSION_ID", "Session expired or invalid"),
            StatusCode::NOT_FOUND => ("NOT_FOUND", "The requested resource does not exist"),
            StatusCode::LOCKED if models => ("NOT_FOUND", "Locked"),
            StatusCode::LOCKED => (
                "SessionAlreadyLockedException",
                "Session Already Locked Exception",
            ),
            StatusCode::TOO_MANY_REQUESTS if models => {
                ("LIMIT_EXCEEDED", "Too many requests, try again later.")
            }
            StatusCode::TOO_MANY_REQUESTS => {
                ("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
            }
            StatusCode::SERVICE_UNAVAILABLE if models => ("INTERNAL_ERROR", "Service unavailable"),
            StatusCode::SERVICE_UNAVAILABLE => ("SERVER_UNAVAILABLE", "Server unavailable"),
            _ if status.is_client_error() => ("INVALID_INPUT", "The request is not valid"),
            _ if models => ("INTERNAL_ERROR", "Internal error"),
            _ => ("UNKNOWN_EXCEPTION", "An unexpected error occurred"),
        };
        Self::new(status, code, message)
    }

    /// The answer; `path` and `request_id` are told where the shape has a place for them.
    pub(crate) fn answer(&self, shape: Shape, path: &str, request_id: &str) -> Response<Body> {
        let (status, code) = (self.status.as_u16(), self.code);
        let message = quoted(&self.message);
        let body = match shape {
            Shape::Agent => format!(
                r#"{{"status":{status},"path":{},"requestId":{},"error":"{code}","message":{message},"timestamp":{}}}"#,
                quoted(path),
                quoted(request_id),
                clock::epoch_ms(),
            ),
            Shape::Models => {
                let target = |header| format!(r#"{{"type":"HTTP_HEADER","reference":"{header}"}}"#);
                let targets = self.header.map(target).unwrap_or_default();
                format!(
                    r#"{{"errorCode":"{code}","messageCode":"E{status}00","message":{message},"targets":[{targets}],"parameters":[]}}"#,
                )
            }
            Shape::Rest => format!(r#"[{{"errorCode":"{code}","message":{message}}}]"#),
            Shape::OpenAi => format!(
                r#"{{"error":{{"code":"{code}","message":{message},"param":null,"type":"api_error"}}}}"#,
            ),
            Shape::OAuth => {
                format!(r#"{{"error":"{code}","error_description":{message}}}"#)
            }
        };
        json(self.status, Bytes::from(body))
    }
}

/// `text` as a JSON string, quotes included.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn check(shape: Shape, want: &str) {
        let fault = Fault::told(StatusCode::TOO_MANY_REQUESTS, shape);
        let answer = fault.answer(shape, "/a\"b", "r1");
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        let frame = answer
            .into_body()
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap();
        let got = String::from_utf8(frame.to_vec()).unwrap();
        assert!(got.starts_with(want), "{shape:?}: {got}");
        drop(serde_json::from_str::<serde_json::Value>(&got).unwrap());
    }

    #[tokio::test]
    async fn each_api_has_its_own_error_body() {
        check(
            Shape::Agent,
            r#"{"status":429,"path":"/a\"b","requestId":"r1","error":"#,
        )
        .await;
        check(
            Shape::Models,
            r#"{"errorCode":"LIMIT_EXCEEDED","messageCode":"E42900","#,
        )
        .await;
        check(
            Shape::Rest,
            r#"[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"#,
        )
        .await;
        check(
            Shape::OpenAi,
            r#"{"error":{"code":"REQUEST_LIMIT_EXCEEDED","#,
        )
        .await;
        check(Shape::OAuth, r#"{"error":"REQUEST_LIMIT_EXCEEDED","#).await;
    }
}
