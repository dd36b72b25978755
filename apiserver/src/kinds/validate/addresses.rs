//! IP addresses and CIDR blocks in objects.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use kubewright_api::field::FieldErrors;

use crate::kinds::read::Field;

/// Reads an address as lenient old parsers do: IPv4 numbers may have leading zeros.
pub(crate) fn parse_ip_leniently(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| {
        let parts: Vec<&str> = text.split('.').collect();
        let numbers: Vec<u8> = parts.iter().filter_map(|part| decimal_byte(part)).collect();
        match numbers[..] {
            [a, b, c, d] if parts.len() == 4 => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
            _ => None,
        }
    })
}

fn decimal_byte(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.trim_start_matches('0'))
        .and_then(|rest| if rest.is_empty() { Some(0) } else { rest.parse().ok() })
}

fn is_mapped(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

/// An address; what was there before stays allowed.
pub(crate) fn ip(field: &Field<'_>, before: &[&str], errors: &mut FieldErrors) {
    let text = field.text();
    if before.contains(&text) {
        return;
    }
    match (parse_ip_leniently(text), text.parse::<IpAddr>()) {
        (None, _) => {
            field.invalid_value(errors, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        }
        (Some(_), Err(_)) => field.invalid_value(errors, text, "must not have leading 0s"),
        (Some(_), Ok(address)) if is_mapped(&address) => {
            field.invalid_value(errors, text, "must not be an IPv4-mapped IPv6 address");
        }
        _ => {}
    }
}

/// An address in its canonical form.
pub(crate) fn canonical_ip(field: &Field<'_>, errors: &mut FieldErrors) {
    let before = errors.len();
    ip(field, &[], errors);
    if errors.len() == before
        && let Ok(address) = field.text().parse::<IpAddr>()
        && address.to_string() != field.text()
    {
        field.invalid(errors, format!("must be in canonical form (\"{address}\")"));
    }
}

/// A block of addresses; what was there before stays allowed.
pub(crate) fn cidr(field: &Field<'_>, before: &[&str], errors: &mut FieldErrors) {
    cidr_text(field, field.text(), before, errors);
}

/// A block of addresses that is part of a field.
pub(crate) fn cidr_text(field: &Field<'_>, text: &str, before: &[&str], errors: &mut FieldErrors) {
    if before.contains(&text) {
        return;
    }
    let why = match parse_cidr(text) {
        Cidr::Bad => "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        Cidr::LeadingZeros(_) => "must not have leading 0s in IP or prefix length",
        Cidr::Good(block) if is_mapped(&block.addr()) => "must not have an IPv4-mapped IPv6 address",
        Cidr::Good(block) if block.addr() != block.network() => "must not have bits set beyond the prefix length",
        Cidr::Good(_) => return,
    };
    field.invalid_value(errors, text, why);
}

/// A block of addresses in its canonical form.
pub(crate) fn canonical_cidr(field: &Field<'_>, errors: &mut FieldErrors) {
    let before = errors.len();
    cidr(field, &[], errors);
    if errors.len() == before
        && let Ok(block) = field.text().parse::<IpNet>()
        && block.to_string() != field.text()
    {
        field.invalid(errors, format!("must be in canonical form (\"{block}\")"));
    }
}

/// An address of a network interface with the length of its network, in its canonical form.
pub(crate) fn interface_address(field: &Field<'_>, errors: &mut FieldErrors) {
    match parse_cidr(field.text()) {
        Cidr::Bad => {
            let why = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
            field.invalid_value(errors, field.text(), why);
        }
        Cidr::Good(block) | Cidr::LeadingZeros(block) => {
            let canonical = canonical_interface(block);
            if canonical != field.text() {
                field.invalid(errors, format!("must be in canonical form ({canonical:?})"));
            }
        }
    }
}

fn canonical_interface(block: IpNet) -> String {
    match block {
        IpNet::V6(block) if block.prefix_len() >= 96 && block.addr().to_ipv4_mapped().is_some() => {
            let address = block.addr().to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED);
            format!("{address}/{}", block.prefix_len() - 96)
        }
        block => block.to_string(),
    }
}

enum Cidr {
    Bad,
    LeadingZeros(IpNet),
    Good(IpNet),
}

fn parse_cidr(text: &str) -> Cidr {
    let Some((address, length)) = text.split_once('/') else { return Cidr::Bad };
    let Some(lenient) = parse_ip_leniently(address) else { return Cidr::Bad };
    let Some(bits) = decimal_byte(length) else { return Cidr::Bad };
    let Ok(block) = IpNet::new(lenient, bits) else { return Cidr::Bad };
    let strict = address.parse::<IpAddr>().is_ok() && (length == "0" || !length.starts_with('0'));
    if strict { Cidr::Good(block) } else { Cidr::LeadingZeros(block) }
}

/// An address that traffic from outside may be sent to.
pub(crate) fn external_ip(field: &Field<'_>, errors: &mut FieldErrors) {
    if parse_ip_leniently(field.text()).is_some_and(|address| address.is_loopback()) {
        field.invalid(errors, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
        return;
    }
    endpoint_ip(field, errors);
}

/// An address that traffic may be sent to. Unlike upstream's, this rule lets loopback addresses pass: where pods are
/// plain processes, that is where they live.
pub(crate) fn endpoint_ip(field: &Field<'_>, errors: &mut FieldErrors) {
    let text = field.text();
    let Some(address) = parse_ip_leniently(text) else {
        field.invalid_value(errors, text, "must be a valid IP address");
        return;
    };
    let (link_local, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    if address.is_unspecified() {
        field.invalid(errors, format!("may not be unspecified ({text})"));
    }
    if link_local {
        field.invalid(errors, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        field.invalid(errors, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// What to warn of in an address that was allowed.
pub(crate) fn ip_warning(field: &Field<'_>) -> Option<String> {
    let (path, text) = (field.path(), field.text());
    let lenient = parse_ip_leniently(text)?;
    match text.parse::<IpAddr>() {
        Ok(address) if !is_mapped(&address) => {
            let canonical = address.to_string();
            (canonical != text).then(|| {
                format!("{path}: IPv6 address {text:?} should be in RFC 5952 canonical format ({canonical:?})")
            })
        }
        _ => Some(format!(
            "{path}: non-standard IP address {text:?} is invalid: use {:?}",
            unmapped(lenient).to_string()
        )),
    }
}

/// What to warn of in a block of addresses that was allowed.
pub(crate) fn cidr_warnings(field: &Field<'_>) -> Vec<String> {
    let (path, text) = (field.path(), field.text());
    let (strict, block) = match parse_cidr(text) {
        Cidr::Bad => return Vec::new(),
        Cidr::LeadingZeros(block) => (false, block),
        Cidr::Good(block) => (!is_mapped(&block.addr()), block),
    };
    let whole = block.trunc().to_string();
    let mut warnings = Vec::new();
    if block.addr() != block.network() {
        let alone = IpNet::from(unmapped(block.addr())).to_string();
        let why = format!("is ambiguous in this context (should be {whole:?} or {alone:?}?)");
        warnings.push(format!("{path}: CIDR value {text:?} {why}"));
    }
    if !strict {
        warnings.push(format!("{path}: non-standard CIDR value {text:?} is invalid: use {whole:?}"));
    }
    if warnings.is_empty() && whole != text {
        warnings.push(format!("{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({whole:?})"));
    }
    warnings
}

fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Whether these are one IPv4 and one IPv6 address, or more of each.
pub(crate) fn is_dual_stack(texts: &[&str]) -> bool {
    let addresses: Vec<IpAddr> = texts.iter().filter_map(|text| parse_ip_leniently(text)).collect();
    addresses.iter().any(IpAddr::is_ipv4) && addresses.iter().any(IpAddr::is_ipv6)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_and_blocks() {
        let check = |rule: fn(&Field<'_>, &[&str], &mut FieldErrors), text: &str, expected: &str| {
            let object = json!({"x": text});
            let mut errors = FieldErrors::new();
            rule(&Field::of(&object).field("x"), &[], &mut errors);
            let faults: Vec<&str> = errors.iter().map(|error| error.detail.as_str()).collect();
            assert_eq!(faults.join("; "), expected, "{text}");
        };
        check(ip, "10.0.0.1", "");
        check(ip, "2001:db8::1", "");
        check(ip, "10.0.0.01", "must not have leading 0s");
        check(ip, "::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address");
        check(ip, "10.0.0", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        check(cidr, "10.0.0.0/8", "");
        check(cidr, "10.0.0.0/08", "must not have leading 0s in IP or prefix length");
        check(cidr, "10.0.0.1/8", "must not have bits set beyond the prefix length");
        check(cidr, "10.0.0.0", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        check(cidr, "10.0.0.0/33", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    }
}
