//! Keys that occur more than once in a YAML document, with their lines, as Go's parser tells of them.

use std::collections::HashSet;

use super::tell;

/// One message for each key that its mapping has already. Mappings in flow style are left out.
pub(super) fn repeated_keys(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // Mappings around the line: how far their keys are indented, and the keys so far.
    let mut open: Vec<(usize, HashSet<&str>)> = Vec::new();
    let mut scalar_within: Option<usize> = None;
    for (at, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        let mut indent = line.len() - rest.len();
        if rest.is_empty() || rest.starts_with('#') || scalar_within.is_some_and(|outer| indent > outer) {
            continue;
        }
        scalar_within = None;
        if rest.starts_with("---") {
            open.clear();
            continue;
        }
        while let Some(item) = rest.strip_prefix("- ") {
            // Every item of a list begins a mapping of its own.
            open.retain(|(of, _)| *of <= indent);
            let content = item.trim_start();
            indent += rest.len() - content.len();
            rest = content;
            open.retain(|(of, _)| *of < indent);
        }
        let Some((key, value)) = key_of(rest) else { continue };
        open.retain(|(of, _)| *of <= indent);
        match open.last_mut().filter(|(of, _)| *of == indent) {
            Some((_, keys)) if keys.contains(key) => {
                tell(&mut found, || format!("line {}: key {key:?} already set in map", at + 1));
            }
            Some((_, keys)) => drop(keys.insert(key)),
            None => open.push((indent, HashSet::from([key]))),
        }
        if value.starts_with(['|', '>']) {
            scalar_within = Some(indent);
        }
    }
    found
}

/// The key that a line sets, and what follows it.
fn key_of(line: &str) -> Option<(&str, &str)> {
    if let Some(quote) = line.chars().next().filter(|first| ['"', '\''].contains(first)) {
        let (key, rest) = line[1..].split_once(quote)?;
        return Some((key, rest.trim_start().strip_prefix(':')?.trim_start()));
    }
    match line.split_once(": ") {
        Some((key, value)) if !key.starts_with(['{', '[']) => Some((key.trim_end(), value.trim_start())),
        Some(_) => None,
        None => line.trim_end().strip_suffix(':').map(|key| (key, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_by_their_mappings() {
        let text = "
a: 1
spec:
  foo: foo1
  foo: \"foo: 2\"
  text: |
    foo: 1
    foo: 2
  list:
  - name: x
    port: 1
  - name: y
    port: 2
    port: 3
  other: {foo: 1}
  \"quoted\": 1
  'quoted': 2
a: 2
";
        let expected = [
            "line 5: key \"foo\" already set in map",
            "line 14: key \"port\" already set in map",
            "line 17: key \"quoted\" already set in map",
            "line 18: key \"a\" already set in map",
        ];
        assert_eq!(repeated_keys(text), expected);
        assert!(repeated_keys("- a: 1\n- a: 2\n-\n  a: 3\n").len() <= 1);
    }
}
