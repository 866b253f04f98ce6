//! One form of a path, to judge and to forward.
//!
//! Whatever two servers might read differently is refused, so that what was priced is what the upstream runs.

/// The most segments a path of any known route has, with room to see that one is longer.
const SEGMENTS: usize = 16;

/// A path no two servers read differently, split into its segments.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    segments: [&'a str; SEGMENTS],
    count: usize,
    more: bool,
}

/// A path that could mean two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguous {
    /// `//` inside the path.
    #[error("an empty path segment")]
    EmptySegment,
    /// `.` or `..`.
    #[error("a dot segment")]
    DotSegment,
    /// `\`, `;`, a control character or anything but ASCII.
    #[error("a character that servers read differently")]
    Character,
    /// `%2f`, `%5c`, `%2e`, a percent-encoded unreserved character, or a `%` without two hex digits.
    #[error("a percent-encoding that servers read differently")]
    Encoding,
}

impl<'a> Path<'a> {
    /// Judges a path as it came; it is forwarded as it came.
    ///
    /// # Errors
    /// The first thing in it that could mean two things.
    pub fn parse(path: &'a str) -> Result<Self, Ambiguous> {
        let bytes = path.as_bytes();
        if bytes.iter().fold(0, |odd, byte| odd | is_odd(*byte)) != 0 {
            return Err(Ambiguous::Character);
        }
        memchr::memchr_iter(b'%', bytes).try_for_each(|at| check_encoded(bytes.get(at..)))?;
        let mut parsed = Self {
            segments: [""; SEGMENTS],
            count: 0,
            more: false,
        };
        let mut start = usize::from(bytes.first() == Some(&b'/'));
        let (words, tail) = bytes.as_chunks();
        let mut last = [0; 8];
        last.iter_mut().zip(tail).for_each(|(to, byte)| *to = *byte);
        for (word, at) in words.iter().chain([&last]).zip((0..).step_by(8)) {
            let mut found = slashes(*word);
            while let Some(slash) = found.next(at) {
                if slash >= start {
                    parsed.push(path.get(start..slash).unwrap_or_default())?;
                    start = slash.saturating_add(1);
                }
            }
        }
        match path.get(start..).unwrap_or_default() {
            "" => {} // the root, or one trailing slash
            last => parsed.push(last)?,
        }
        parsed.drop_suffix();
        Ok(parsed)
    }

    fn push(&mut self, segment: &'a str) -> Result<(), Ambiguous> {
        match segment {
            "" => return Err(Ambiguous::EmptySegment),
            "." | ".." => return Err(Ambiguous::DotSegment),
            _ => {}
        }
        match self.segments.get_mut(self.count) {
            Some(slot) => {
                *slot = segment;
                self.count = self.count.saturating_add(1);
            }
            None => self.more = true,
        }
        Ok(())
    }

    /// The segments, without one trailing slash; the last also without `.json` or `.xml`.
    pub fn segments(&self) -> &[&'a str] {
        if self.more {
            &[]
        } else {
            self.segments.get(..self.count).unwrap_or(&[])
        }
    }

    fn drop_suffix(&mut self) {
        let last = self.segments.get_mut(self.count.saturating_sub(1));
        if let Some(last) = last {
            *last = without(last, ".json")
                .or_else(|| without(last, ".xml"))
                .unwrap_or(last);
        }
    }
}

fn without<'s>(segment: &'s str, suffix: &str) -> Option<&'s str> {
    let (stem, end) = segment.split_at_checked(segment.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(stem)
}

/// 1 for a byte that servers read differently. Without a branch, so that many bytes are judged at a time.
fn is_odd(byte: u8) -> u8 {
    u8::from(!byte.is_ascii_graphic()) | u8::from(byte == b'\\') | u8::from(byte == b';')
}

/// The slashes among eight bytes: the top bit of each byte that is one. A path has one in every other eight, so
/// that looking for them one at a time costs more.
struct Slashes(u64);

fn slashes(word: [u8; 8]) -> Slashes {
    const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
    let other = u64::from_le_bytes(word) ^ u64::from_ne_bytes([b'/'; 8]);
    // A byte of `other` is zero where a slash was: adding to its low bits then does not reach its top bit.
    Slashes(!((other & LOW).wrapping_add(LOW) | other | LOW))
}

impl Slashes {
    /// Where the next one is, in a path that goes on `at` with these bytes.
    fn next(&mut self, at: usize) -> Option<usize> {
        let rest = self.0.checked_sub(1)?;
        let byte = self.0.trailing_zeros() >> 3;
        self.0 &= rest;
        Some(at.saturating_add(usize::try_from(byte).ok()?))
    }
}

/// Judges what begins with a `%`.
fn check_encoded(encoded: Option<&[u8]>) -> Result<(), Ambiguous> {
    let digits = encoded
        .and_then(|encoded| encoded.get(1..3))
        .and_then(|hex| std::str::from_utf8(hex).ok())
        .filter(|hex| !hex.starts_with('+'));
    let byte = digits
        .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        .ok_or(Ambiguous::Encoding)?;
    let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    // Control characters too: a NUL or a line end in a name is no name.
    if unreserved || matches!(byte, b'/' | b'\\') || byte.is_ascii_control() {
        return Err(Ambiguous::Encoding);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, want: Result<&[&str], Ambiguous>) {
        let got = Path::parse(path);
        let got = got.as_ref().map(Path::segments).map_err(|fault| *fault);
        assert_eq!(got, want, "{path}");
    }

    #[test]
    fn a_path_has_one_reading_or_none() {
        use Ambiguous::{Character, DotSegment, EmptySegment, Encoding};
        check("/", Ok(&[]));
        check("/services/data/", Ok(&["services", "data"]));
        check("/a/b.json", Ok(&["a", "b"]));
        check("/a/b.XML", Ok(&["a", "b"]));
        check("/a/v60.0/b", Ok(&["a", "v60.0", "b"]));
        check("/a/My%20Template/b", Ok(&["a", "My%20Template", "b"]));
        check("//", Err(EmptySegment));
        check("//a", Err(EmptySegment));
        check("/a//b", Err(EmptySegment));
        check("/a//", Err(EmptySegment));
        check("/a/./b", Err(DotSegment));
        check("/a/../b", Err(DotSegment));
        check("/a/..", Err(DotSegment));
        check("/a\\b", Err(Character));
        check("/a;x=1/b", Err(Character));
        check("/a/ü", Err(Character));
        check("/a b", Err(Character));
        for encoded in [
            "%2f", "%2F", "%5c", "%2e", "%2E%2e", "%61", "%7e", "%", "%2", "%zz", "%00", "%0a",
            "%+1",
        ] {
            check(&format!("/a/{encoded}"), Err(Encoding));
        }
        check(&"/a".repeat(17), Ok(&[]));
    }

    #[test]
    fn a_slash_is_found_wherever_it_lies() {
        for (first, second) in (1..20).flat_map(|first| (1..20).map(move |second| (first, second)))
        {
            let (a, b) = ("a".repeat(first), "0".repeat(second));
            check(&format!("/{a}/{b}/x/y"), Ok(&[&a, &b, "x", "y"]));
        }
    }
}
