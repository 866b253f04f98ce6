//! Which headers go on and which end here (RFC 9110, section 7.6.1).

use http::header::{ACCEPT_ENCODING, CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue};

use super::identify::{CLASS, KEY, TAGS};

/// The method override header, refused on paid routes.
const METHOD_OVERRIDE: &[u8] = b"x-http-method-override";
/// Our own headers begin so; none of a client's or an upstream's passes.
const OURS: &[u8] = b"breakerbox-";

/// What concerns one connection only, besides `Connection` itself.
const HOP_BY_HOP: [&[u8]; 9] = [
    b"keep-alive",
    b"transfer-encoding",
    b"te",
    b"trailer",
    b"upgrade",
    b"proxy-connection",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"http2-settings",
];

/// Which headers of a message matter here, from one pass over their names: most messages have few of them, and
/// what is known to be absent need not be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present(u16);

impl Present {
    /// `Breakerbox-Key`.
    pub const KEY: Self = Self(1);
    /// `Breakerbox-Class`.
    pub const CLASS: Self = Self(1 << 1);
    /// `Breakerbox-Tags`.
    pub const TAGS: Self = Self(1 << 2);
    /// `Accept`.
    pub const ACCEPT: Self = Self(1 << 3);
    /// `Content-Encoding`.
    pub const CONTENT_ENCODING: Self = Self(1 << 5);
    /// `Content-Length`.
    pub const CONTENT_LENGTH: Self = Self(1 << 6);
    /// `Expect`.
    pub const EXPECT: Self = Self(1 << 7);
    /// A header that stands for another method.
    pub const METHOD_OVERRIDE: Self = Self(1 << 8);
    /// `Idempotency-Key`.
    pub const IDEMPOTENCY_KEY: Self = Self(1 << 9);
    /// `Last-Event-ID`.
    pub const LAST_EVENT_ID: Self = Self(1 << 10);
    /// `Connection`.
    const CONNECTION: Self = Self(1 << 11);
    /// Anything else that ends here.
    const RARE: Self = Self(1 << 12);

    /// One pass over the names.
    pub fn of(headers: &HeaderMap) -> Self {
        let bits = headers.keys().map(|name| Self::named(name).0);
        Self(bits.fold(0, |all, one| all | one))
    }

    fn named(name: &HeaderName) -> Self {
        match name.as_str().as_bytes() {
            b"accept" => Self::ACCEPT,
            b"connection" => Self::CONNECTION,
            b"content-encoding" => Self::CONTENT_ENCODING,
            b"content-length" => Self::CONTENT_LENGTH,
            b"expect" => Self::EXPECT,
            b"idempotency-key" => Self::IDEMPOTENCY_KEY,
            b"last-event-id" => Self::LAST_EVENT_ID,
            b"breakerbox-key" => Self::KEY,
            b"breakerbox-class" => Self::CLASS,
            b"breakerbox-tags" => Self::TAGS,
            name if name == METHOD_OVERRIDE => Self::METHOD_OVERRIDE,
            name if name.starts_with(OURS) || HOP_BY_HOP.contains(&name) => Self::RARE,
            _ => Self(0),
        }
    }

    /// Whether the message has such a header.
    pub const fn has(self, header: Self) -> bool {
        self.0 & header.0 != 0
    }
}

/// Removes what concerns one connection only, and everything that begins with `breakerbox-`.
pub fn strip(headers: &mut HeaderMap, present: Present) {
    let connection = present.has(Present::CONNECTION);
    if present.has(Present::RARE) || (connection && names_others(headers)) {
        return strip_all(headers);
    }
    for (header, name) in [
        (Present::CONNECTION, CONNECTION),
        (Present::KEY, KEY),
        (Present::CLASS, CLASS),
        (Present::TAGS, TAGS),
    ] {
        if present.has(header) {
            headers.remove(name);
        }
    }
}

/// Whether `Connection` names headers that end here too.
fn names_others(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONNECTION).iter();
    let is_plain = |value: &HeaderValue| {
        let value = value.as_bytes();
        value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
    };
    !values.all(is_plain)
}

fn strip_all(headers: &mut HeaderMap) {
    let ends_here = |name: &HeaderName| {
        let name = name.as_str().as_bytes();
        name.starts_with(OURS) || HOP_BY_HOP.contains(&name)
    };
    let mut remove: Vec<HeaderName> = headers
        .keys()
        .filter(|name| ends_here(name))
        .cloned()
        .collect();
    for value in headers.get_all(CONNECTION) {
        let listed = value.to_str().unwrap_or_default().split(',');
        remove
            .extend(listed.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()));
    }
    headers.remove(CONNECTION);
    for name in remove {
        headers.remove(name);
    }
}

/// Makes a client's headers those of our own request: `Host` is the upstream's, `Expect` was answered by us.
pub fn for_upstream(headers: &mut HeaderMap, present: Present, host: HeaderValue, readable: bool) {
    strip(headers, present);
    headers.insert(HOST, host);
    if present.has(Present::EXPECT) {
        headers.remove(EXPECT);
    }
    if readable {
        // What is metered must be read: a compressed answer could only be charged at its bound. Said also where a
        // client says nothing, since that allows any encoding (RFC 9110, section 12.5.3).
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
        let present = Present::of(&headers);
        for_upstream(
            &mut headers,
            present,
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

    #[test]
    fn what_is_metered_is_asked_for_as_it_can_be_read() {
        let check = |accepts: Option<&'static str>, readable: bool, want: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(accepts) = accepts {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepts));
            }
            let (present, host) = (Present::of(&headers), HeaderValue::from_static("h"));
            for_upstream(&mut headers, present, host, readable);
            let sent = headers
                .get(ACCEPT_ENCODING)
                .map(|sent| sent.to_str().unwrap());
            assert_eq!(sent, want, "{accepts:?} {readable}");
        };
        check(Some("gzip"), true, Some("identity"));
        check(None, true, Some("identity"));
        check(Some("gzip"), false, Some("gzip"));
        check(None, false, None);
    }

    #[test]
    fn the_usual_message_loses_what_it_must_and_nothing_else() {
        let check = |names: &[(&'static str, &'static str)], want: &[&str]| {
            let mut headers = HeaderMap::new();
            for (name, value) in names {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let present = Present::of(&headers);
            strip(&mut headers, present);
            let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
            left.sort_unstable();
            assert_eq!(left, want, "{names:?}");
        };
        check(
            &[("connection", "Keep-Alive"), ("date", "today")],
            &["date"],
        );
        check(&[("connection", "close")], &[]);
        check(
            &[("connection", "close"), ("connection", "x-a"), ("x-a", "1")],
            &[],
        );
        check(
            &[
                ("breakerbox-key", "k"),
                ("breakerbox-class", "critical"),
                ("x-a", "1"),
            ],
            &["x-a"],
        );
        check(&[("breakerbox-tags", "a=b"), ("trailer", "x")], &[]);
        check(&[("breakerbox-team", "other"), ("te", "trailers")], &[]);
        check(
            &[("content-type", "a"), ("etag", "b")],
            &["content-type", "etag"],
        );
    }
}
