//! What was probably meant: the nearest known word.

/// The most words to list where none is near.
const LISTED: usize = 32;

/// `did you mean "share"?`, where something is close enough; else what there is, if that is little.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<_> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    let near = |candidate: &&str| {
        let apart = distance(&word.to_lowercase(), &candidate.to_lowercase());
        // A third of the letters may be wrong.
        let most = candidate.chars().count().div_ceil(3).min(3);
        (apart <= most).then(|| (apart, (*candidate).to_owned()))
    };
    match known.iter().filter_map(near).min() {
        Some((_, candidate)) => format!("did you mean {candidate:?}?"),
        None if known.is_empty() || known.len() > LISTED => String::new(),
        None => format!("known: {}", known.join(", ")),
    }
}

/// Letters to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut left = i.saturating_add(1);
        let mut next = vec![left];
        let diagonals = row.iter().zip(row.iter().skip(1));
        for (to, (diagonal, above)) in b.chars().zip(diagonals) {
            let replaced = diagonal.saturating_add(usize::from(from != to));
            left = replaced
                .min(above.saturating_add(1))
                .min(left.saturating_add(1));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested() {
        let check = |word, known: &[&str], want: &str| {
            assert_eq!(did_you_mean(word, known.iter().copied()), want, "{word}");
        };
        let keys = ["share", "owner", "name", "buffer_share"];
        check("shaer", &keys, "did you mean \"share\"?");
        check("Share", &keys, "did you mean \"share\"?");
        check("buffershare", &keys, "did you mean \"buffer_share\"?");
        check("zone", &keys, "known: buffer_share, name, owner, share");
        check("api", &["org"], "known: org");
        check("sales", &[], "");
    }
}
