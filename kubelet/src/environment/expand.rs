/// Replaces `$(NAME)` by its value. `$$` is a plain `$`, so `$$(NAME)` stays `$(NAME)`; a name without a value stays as
/// it is written.
///
/// ```
/// use kubewright_kubelet::environment::expand;
///
/// let values = |name: &str| (name == "PORT").then_some("8080");
/// assert_eq!(expand("--port=$(PORT) $(HOST) $$(PORT)", values), "--port=8080 $(HOST) $(PORT)");
/// ```
pub fn expand<'v>(text: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(plain) = after.strip_prefix('$') {
            out.push('$');
            rest = plain;
        } else if let Some((name, following)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = following;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_as_upstream_does() {
        let value = |name: &str| match name {
            "A" => Some("1"),
            "B" => Some("$(A)"),
            "" => Some("empty"),
            _ => None,
        };
        for (text, expected) in [
            ("$(A)", "1"),
            ("-$(A)-$(A)-", "-1-1-"),
            ("$(B)", "$(A)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$", "$$"),
            ("$(C)", "$(C)"),
            ("$(A", "$(A"),
            ("$A", "$A"),
            ("$", "$"),
            ("$()", "empty"),
            ("$$", "$"),
            ("ü$(A)ü", "ü1ü"),
        ] {
            assert_eq!(expand(text, value), expected, "{text}");
        }
    }
}
