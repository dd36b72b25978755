//! Sets of completion indexes, written as `0,2-4`.

use std::collections::BTreeSet;

/// Reads a set; malformed parts and indexes from `limit` on are passed over.
pub(super) fn parse(text: &str, limit: i32) -> BTreeSet<i32> {
    let mut set = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            set.extend(first.max(0)..=last.min(limit - 1));
        }
    }
    set
}

/// Writes a set.
pub(super) fn format(set: &BTreeSet<i32>) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut indexes = set.iter().copied().peekable();
    while let Some(first) = indexes.next() {
        let mut last = first;
        while indexes.peek() == Some(&(last + 1)) {
            last += 1;
            indexes.next();
        }
        parts.push(match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        });
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sets_are_written_as_upstream() {
        for (set, text) in [(&[][..], ""), (&[3], "3"), (&[0, 1], "0,1"), (&[0, 2, 3, 4, 7], "0,2-4,7")] {
            assert_eq!(format(&set.iter().copied().collect()), text);
        }
        assert_eq!(parse("1-9,x,0", 3), [0, 1, 2].into());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(set in proptest::collection::btree_set(0..50_i32, 0..30)) {
            prop_assert_eq!(parse(&format(&set), 50), set);
        }
    }
}
