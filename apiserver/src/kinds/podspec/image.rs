//! Names of images, as far as their tags decide when they are pulled.

/// `Always` for the tag `latest` or none, `IfNotPresent` otherwise, also for what is no name at all.
pub(super) fn pull_policy(image: &str) -> &'static str {
    let latest = match Reference::parse(image) {
        Some(Reference { tag: Some(tag), .. }) => tag == "latest",
        Some(Reference { tag: None, digest }) => !digest,
        None => false,
    };
    if latest { "Always" } else { "IfNotPresent" }
}

/// What an image's name says beside the repository.
struct Reference<'a> {
    tag: Option<&'a str>,
    digest: bool,
}

impl<'a> Reference<'a> {
    /// Reads `[domain/]path[:tag][@digest]`; `None` for what isn't of that form.
    fn parse(image: &'a str) -> Option<Self> {
        if image.len() == 64 && image.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            // Docker takes it for the identifier of an image.
            return None;
        }
        let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
        let (domain, rest) = match name.split_once('/') {
            Some((first, rest)) if is_domain_like(first) => (Some(first), rest),
            _ => (None, name),
        };
        let (path, tag) = rest.rsplit_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
        let good = domain.map_or(0, |domain| domain.len() + 1) + path.len() <= 255
            && domain.is_none_or(is_domain)
            && path.split('/').all(is_path_component)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        good.then_some(Self { tag, digest: digest.is_some() })
    }
}

/// Whether what is before the first slash names a registry and not a part of the path.
fn is_domain_like(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost" || text.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => return address.parse::<std::net::Ipv6Addr>().is_ok(),
        Some((address, port)) => (address, port.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let part = |part: &str| {
        let inside = part.bytes().all(|byte| byte == b'-' || byte.is_ascii_alphanumeric());
        inside && !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')
    };
    let known = host.split('.').all(part) || host.parse::<std::net::Ipv6Addr>().is_ok();
    known && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Small letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_path_component(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(word) && text.bytes().next_back().is_some_and(word);
    let between = |run: &str| run.is_empty() || matches!(run, "." | "_" | "__") || run.bytes().all(|byte| byte == b'-');
    ends && text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(between)
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hash)| {
        algorithm.starts_with(|first: char| first.is_ascii_alphabetic())
            && hash.len() >= 32
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policies() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (image, policy) in [
            ("busybox", "Always"),
            ("busybox:latest", "Always"),
            ("busybox:1", "IfNotPresent"),
            ("host:5000/busybox", "Always"),
            ("host:5000/busybox:1", "IfNotPresent"),
            ("[2001:db8::1]:5000/a/b__c", "Always"),
            (&format!("busybox@{digest}"), "IfNotPresent"),
            (&format!("busybox:latest@{digest}"), "Always"),
            ("busybox@sha256:abc", "IfNotPresent"),
            ("Busybox", "IfNotPresent"),
            ("Host/busybox", "Always"),
            ("a//b", "IfNotPresent"),
            ("/abs", "IfNotPresent"),
            ("a..b", "IfNotPresent"),
            ("a:tag!", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
