//! Server-sent events, read beside the bytes that pass: nothing is delayed, changed or cut.
//!
//! Line ends are CR, LF or CRLF, a byte order mark may come first, comments are skipped, several data lines
//! join with a line feed, and any of it may be split between reads. A line over the bound is skipped, and
//! the event it belongs to is reported as unreadable.

/// Something that learns of events as they end.
pub trait Events {
    /// An event: its name (empty where none was given) and its data, or `None` where it was over the bound.
    fn event(&mut self, name: &[u8], data: Option<&[u8]>);
}

/// A reader of one stream.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of a byte scanner, not states"
)]
pub struct Reader {
    /// The line so far, where a read ended inside one.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    at_start: bool,
    oversized_line: bool,
    oversized_event: bool,
    bound_bytes: usize,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Reader {
    /// A reader that keeps at most `bound_bytes` of a line, and of an event's data.
    pub fn new(bound_bytes: usize) -> Self {
        Self {
            line: Vec::new(),
            name: Vec::new(),
            data: Vec::new(),
            has_data: false,
            after_cr: false,
            at_start: true,
            oversized_line: false,
            oversized_event: false,
            bound_bytes,
        }
    }

    /// Bytes set aside for the line and the event at hand.
    pub const fn held_bytes(&self) -> usize {
        self.line.capacity().saturating_add(self.data.capacity())
    }

    /// Lets go of them: the event at hand is reported as one over the bound.
    pub fn let_go(&mut self) {
        self.oversized_event = true;
        self.oversized_line |= !self.line.is_empty();
        (self.line, self.data) = (Vec::new(), Vec::new());
    }

    /// Takes the next bytes of the stream.
    pub fn read(&mut self, mut bytes: &[u8], events: &mut impl Events) {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.end_line(line, events);
            let (is_cr, rest) = match rest {
                [b'\r', rest @ ..] => (true, rest),
                [_, rest @ ..] => (false, rest),
                [] => (false, rest),
            };
            bytes = if is_cr {
                rest.strip_prefix(b"\n").unwrap_or(rest)
            } else {
                rest
            };
            self.after_cr = is_cr && rest.is_empty();
        }
        self.keep(bytes);
    }

    /// A line's end was seen; `tail` is the part of it in this read.
    fn end_line(&mut self, tail: &[u8], events: &mut impl Events) {
        if self.line.is_empty() && !self.oversized_line && tail.len() <= self.bound_bytes {
            return self.whole_line(tail, events); // the common case: no copy
        }
        self.keep(tail);
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.oversized_line) {
            self.oversized_event = true;
        } else {
            self.whole_line(&line, events);
        }
        self.line = line;
        self.line.clear();
    }

    fn keep(&mut self, tail: &[u8]) {
        if self.line.len().saturating_add(tail.len()) > self.bound_bytes {
            self.oversized_line = true;
            self.line.clear();
        } else if !self.oversized_line {
            self.line.extend_from_slice(tail);
        }
    }

    fn whole_line(&mut self, mut line: &[u8], events: &mut impl Events) {
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(events);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let (field, value) = line.split_at(colon);
                let value = value.strip_prefix(b":").unwrap_or(value);
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match field {
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            b"data" => self.add_data(value),
            _ => {} // id, retry, comments and unknown fields
        }
    }

    fn add_data(&mut self, value: &[u8]) {
        if self.data.len().saturating_add(value.len()) > self.bound_bytes {
            self.oversized_event = true;
            return;
        }
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
    }

    fn dispatch(&mut self, events: &mut impl Events) {
        if std::mem::take(&mut self.oversized_event) {
            events.event(&self.name, None);
        } else if self.has_data {
            events.event(&self.name, Some(&self.data));
        }
        self.has_data = false;
        self.name.clear();
        self.data.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Log(Vec<String>);

    impl Events for Log {
        fn event(&mut self, name: &[u8], data: Option<&[u8]>) {
            let data = data.map_or("OVERSIZED".into(), String::from_utf8_lossy);
            self.0
                .push(format!("{}={data}", String::from_utf8_lossy(name)));
        }
    }

    fn check(stream: &str, want: &[&str]) {
        // Whole, byte by byte, and split in two at every place.
        let splits = (0..=stream.len()).map(|at| vec![at, stream.len()]);
        let bytewise = (1..=stream.len()).collect();
        for ends in splits.chain([vec![stream.len()], bytewise]) {
            let (mut reader, mut log) = (Reader::new(64), Log::default());
            let mut from = 0;
            for to in &ends {
                reader.read(&stream.as_bytes()[from..*to], &mut log);
                from = *to;
            }
            assert_eq!(log.0, want, "{stream:?} split at {ends:?}");
        }
    }

    #[test]
    fn events_are_read_whatever_the_line_ends_and_splits() {
        check("event: A\nid: 1-REQ\ndata: x\n\n", &["A=x"]);
        check(
            "event: A\r\ndata: x\r\n\r\nevent: B\r\ndata:y\r\n\r\n",
            &["A=x", "B=y"],
        );
        check("event: A\rdata: x\r\rdata: y\r\r", &["A=x", "=y"]);
        check("\u{feff}event: A\ndata: x\n\n", &["A=x"]);
        check(": ping\n\ndata\n\n", &["="]);
        check("data: a\ndata: b\n\n", &["=a\nb"]);
        check("data: é€😀\n\n", &["=é€😀"]);
        check("event: A\n\n", &[]);
        check("data: unfinished", &[]);
        check("data: x\n\r\n", &["=x"]);
    }

    #[test]
    fn an_endless_line_costs_no_memory_and_is_said_to_be_unread() {
        let long = "z".repeat(65);
        check(
            &format!("event: A\ndata: {long}\n\ndata: x\n\n"),
            &["A=OVERSIZED", "=x"],
        );
        let mut reader = Reader::new(64);
        for _ in 0..1000 {
            reader.read(&[b'z'; 8192], &mut Log::default());
        }
        assert!(reader.line.capacity() <= 64 * 2);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            stream in "(event: [AB]|data: [a-c]{0,4}|: c|id: 1|\n|\r|\r\n){0,40}",
            cuts in proptest::collection::vec(0_usize..200, 0..8),
        ) {
            let mut whole = Log::default();
            Reader::new(64).read(stream.as_bytes(), &mut whole);
            let mut ends: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            ends.push(stream.len());
            ends.sort_unstable();
            let (mut reader, mut split, mut from) = (Reader::new(64), Log::default(), 0);
            for to in ends {
                reader.read(&stream.as_bytes()[from..to], &mut split);
                from = to;
            }
            prop_assert_eq!(whole.0, split.0);
        }
    }
}
