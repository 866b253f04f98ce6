//! Without a token the admin listener binds loopback only, and still must not be reached through a browser: a
//! page may post to localhost, and a name may be made to resolve to it.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::problem;

const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Lets pass what comes from this machine and not from a page of somebody else's.
pub(super) async fn local_only(request: Request, next: Next) -> Response {
    if let Err(detail) = check(
        request.method(),
        request.uri().authority().map(|a| a.as_str()),
        request.headers(),
    ) {
        return problem(StatusCode::FORBIDDEN, detail);
    }
    next.run(request).await
}

fn check(
    method: &Method,
    authority: Option<&str>,
    headers: &HeaderMap,
) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = authority.or_else(|| hosts.next().and_then(text));
    if hosts.next().is_some() || !host.is_some_and(is_local) {
        return Err("without a token only Host localhost, 127.0.0.1 or [::1] is answered");
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = text(origin).and_then(|origin| origin.split_once("://"));
        if origin.map(|(_, rest)| rest) != host {
            return Err("a page of another origin may not ask this");
        }
    }
    let body = headers
        .get(header::CONTENT_TYPE)
        .and_then(text)
        .unwrap_or("application/json");
    let kind = body.split(';').next().unwrap_or_default().trim();
    let is_json = kind.eq_ignore_ascii_case("application/json")
        || kind.to_ascii_lowercase().ends_with("+json");
    // A form post without a body is curl's default for -d ''; it carries nothing.
    let is_empty = headers
        .get(header::CONTENT_LENGTH)
        .is_none_or(|length| length == "0")
        && !headers.contains_key(header::TRANSFER_ENCODING);
    if method == Method::POST && !is_json && !is_empty {
        return Err("the body must be JSON: send Content-Type: application/json");
    }
    Ok(())
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    };
    LOCAL.iter().any(|local| name.eq_ignore_ascii_case(local))
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    #[test]
    fn only_this_machine_and_no_page_of_others() {
        let check = |method: Method, pairs: &[(&str, &str)], want: bool| {
            let pairs = pairs.iter().map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            });
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, value);
            }
            assert_eq!(
                check(&method, None, &headers).is_ok(),
                want,
                "{method} {headers:?}"
            );
        };
        let local = ("host", "127.0.0.1:9090");
        check(Method::GET, &[local], true);
        check(Method::GET, &[("host", "localhost")], true);
        check(Method::GET, &[("host", "[::1]:9090")], true);
        check(Method::GET, &[("host", "evil.example:9090")], false);
        check(Method::GET, &[("host", "127.0.0.1.evil.example")], false);
        check(Method::GET, &[local, local], false);
        check(Method::GET, &[], false);
        check(
            Method::POST,
            &[local, ("origin", "http://127.0.0.1:9090")],
            true,
        );
        check(
            Method::POST,
            &[local, ("origin", "http://evil.example")],
            false,
        );
        check(Method::POST, &[local, ("origin", "null")], false);
        check(
            Method::POST,
            &[local, ("content-type", "application/json; charset=utf-8")],
            true,
        );
        let form = ("content-type", "application/x-www-form-urlencoded");
        check(Method::POST, &[local, form, ("content-length", "3")], false);
        check(Method::POST, &[local, form, ("content-length", "0")], true);
    }
}
