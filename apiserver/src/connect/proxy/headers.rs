//! What of a request's headers is passed on: neither credentials nor what belongs to one connection.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers that belong to one connection, and not to what is passed through it.
pub(super) const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Credentials that browsers put into the list of WebSocket protocols: not for whom the request is passed on to.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut tokens = connection.flat_map(|list| list.split(',')).map(str::trim);
    headers.contains_key(header::UPGRADE) && tokens.any(|token| token.eq_ignore_ascii_case("upgrade"))
}

/// What of a request's headers is passed on.
pub(super) fn passed_on(headers: &HeaderMap, upgrade: bool) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in headers {
        let dropped = HOP_BY_HOP.contains(name)
            || matches!(*name, header::HOST | header::AUTHORIZATION | header::CONTENT_LENGTH)
            || name.as_str().starts_with("impersonate-")
            || name.as_str().starts_with("x-remote-");
        if !dropped {
            out.append(name.clone(), value.clone());
        }
    }
    if upgrade {
        out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = headers.get(header::UPGRADE) {
            out.insert(header::UPGRADE, protocol.clone());
        }
        drop_tokens(&mut out);
    }
    out
}

fn drop_tokens(headers: &mut HeaderMap) {
    let name = header::SEC_WEBSOCKET_PROTOCOL;
    let listed = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok());
    let kept: Vec<&str> = listed
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|protocol| !protocol.is_empty() && !protocol.starts_with(TOKEN_PROTOCOL))
        .collect();
    let kept = HeaderValue::try_from(kept.join(", ")).ok().filter(|value| !value.is_empty());
    headers.remove(&name);
    if let Some(kept) = kept {
        headers.insert(name, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_hop_by_hop_headers_stay_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("impersonate-user", "bob"),
            ("x-remote-user", "bob"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0"),
            ("accept", "*/*"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        assert!(is_upgrade(&headers));
        let passed = passed_on(&headers, true);
        assert_eq!(passed[header::SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
        assert_eq!(passed[header::CONNECTION], "Upgrade");
        assert_eq!(passed.len(), 4);
        assert_eq!(passed_on(&headers, false).len(), 2);
    }
}
