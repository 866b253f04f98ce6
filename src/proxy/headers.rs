//! Which headers go on and which end here (RFC 9110, section 7.6.1).

use http::header::{
    ACCEPT_ENCODING, CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::identify::KEY;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// Our own headers begin so; none of a client's or an upstream's passes.
const OURS: &str = "breakerbox-";

/// The path of the method override header, refused on paid routes.
pub const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// What concerns one connection only.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    KEEP_ALIVE,
    TRANSFER_ENCODING,
    TE,
    TRAILER,
    UPGRADE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HTTP2_SETTINGS,
];

/// Removes what concerns one connection only, and everything that begins with `breakerbox-`.
pub fn strip(headers: &mut HeaderMap) {
    // Most messages have one or two of these: one pass finds them, and only they are looked up.
    let is_ours = |name: &HeaderName| name.as_str().starts_with(OURS);
    let found = headers
        .keys()
        .filter(|name| is_ours(name) || HOP_BY_HOP.contains(name))
        .count();
    if found == 0 {
        return;
    }
    if found == 1 && headers.remove(&KEY).is_some() {
        return; // the usual request: nothing but its key
    }
    let ours = headers.keys().filter(|name| is_ours(name)).cloned();
    let mut remove: Vec<HeaderName> = ours.chain(HOP_BY_HOP).collect();
    for value in headers.get_all(CONNECTION) {
        let listed = value.to_str().unwrap_or_default().split(',');
        remove
            .extend(listed.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()));
    }
    for name in remove {
        headers.remove(name);
    }
}

/// Makes a client's headers those of our own request: `Host` is the upstream's, `Expect` was answered by us.
pub fn for_upstream(headers: &mut HeaderMap, host: HeaderValue, readable: bool) {
    strip(headers);
    headers.insert(HOST, host);
    if headers.contains_key(EXPECT) {
        headers.remove(EXPECT);
    }
    if readable && headers.contains_key(ACCEPT_ENCODING) {
        // What is metered must be read: a compressed answer could only be charged at its bound.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_belongs_to_both_ends_passes() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "gateway"),
            ("connection", "close, X-Only-Here"),
            ("x-only-here", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("breakerbox-key", "k"),
            ("breakerbox-anything", "1"),
            ("x-unknown", "a"),
            ("x-unknown", "b"),
            ("accept-encoding", "gzip"),
            ("expect", "100-continue"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        for_upstream(
            &mut headers,
            HeaderValue::from_static("api.example.com"),
            true,
        );
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort();
        let want = [
            "accept-encoding: identity",
            "host: api.example.com",
            "x-unknown: a",
            "x-unknown: b",
        ];
        assert_eq!(left, want);
    }
}
