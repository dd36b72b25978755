//! IP addresses and address ranges.

use std::net::IpAddr;

use super::super::EvalError;
use super::super::value::Value;
use super::Called;

/// An address as upstream takes it: no zone, no IPv4 within IPv6.
fn parse_ip(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| {
        format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        )
    })?;
    match address {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        address => Ok(address),
    }
}

fn parse_cidr(text: &str) -> Result<(IpAddr, u8), String> {
    let fault =
        || format!("network address parse error during conversion from string: netip.ParsePrefix({text:?}): no '/'");
    let (address, prefix) = text.split_once('/').ok_or_else(fault)?;
    let address = parse_ip(address).map_err(|_| {
        format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): unable to parse IP"
        )
    })?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let plain = prefix == "0" || !prefix.starts_with(['0', '+']);
    match prefix.parse::<u8>() {
        Ok(prefix) if prefix <= most && plain => Ok((address, prefix)),
        _ => Err(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): bad bits after slash: {prefix:?}"
        )),
    }
}

fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let bits = u32::from(four);
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((bits & mask).into())
        }
        IpAddr::V6(six) => {
            let bits = u128::from(six);
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((bits & mask).into())
        }
    }
}

fn holds(range: (IpAddr, u8), address: IpAddr) -> bool {
    range.0.is_ipv4() == address.is_ipv4() && mask(range.0, range.1) == mask(address, range.1)
}

pub(super) fn make<'a>(function: &str, text: &str) -> Called<'a> {
    Some(match function {
        "ip" => parse_ip(text).map(Value::Ip).map_err(EvalError::new),
        "isIP" => Ok(Value::Bool(parse_ip(text).is_ok())),
        "ip.isCanonical" => {
            parse_ip(text).map(|address| Value::Bool(address.to_string() == text)).map_err(EvalError::new)
        }
        "cidr" => parse_cidr(text).map(|(address, prefix)| Value::Cidr(address, prefix)).map_err(EvalError::new),
        _ => Ok(Value::Bool(parse_cidr(text).is_ok())),
    })
}

pub(super) fn call<'a>(function: &str, args: &[Value<'a>]) -> Called<'a> {
    match (args.first()?, function, &args[1..]) {
        (Value::Ip(address), function, []) => of_ip(*address, function),
        (Value::Cidr(address, prefix), "ip", []) => {
            let _ = prefix;
            Some(Ok(Value::Ip(*address)))
        }
        (Value::Cidr(_, prefix), "prefixLength", []) => Some(Ok(Value::Int((*prefix).into()))),
        (Value::Cidr(address, prefix), "masked", []) => Some(Ok(Value::Cidr(mask(*address, *prefix), *prefix))),
        (Value::Cidr(address, prefix), "containsIP", [other]) => {
            let other = match other {
                Value::Ip(other) => Ok(*other),
                Value::String(text) => parse_ip(text).map_err(EvalError::new),
                _ => return None,
            };
            Some(other.map(|other| Value::Bool(holds((*address, *prefix), other))))
        }
        (Value::Cidr(address, prefix), "containsCIDR", [other]) => {
            let other = match other {
                Value::Cidr(other, length) => Ok((*other, *length)),
                Value::String(text) => parse_cidr(text).map_err(EvalError::new),
                _ => return None,
            };
            Some(other.map(|(other, length)| Value::Bool(length >= *prefix && holds((*address, *prefix), other))))
        }
        _ => None,
    }
}

fn of_ip<'a>(address: IpAddr, function: &str) -> Called<'a> {
    let truth = match function {
        "family" => return Some(Ok(Value::Int(if address.is_ipv4() { 4 } else { 6 }))),
        "isUnspecified" => address.is_unspecified(),
        "isLoopback" => address.is_loopback(),
        "isLinkLocalMulticast" => match address {
            IpAddr::V4(four) => four.octets()[..3] == [224, 0, 0],
            IpAddr::V6(six) => six.segments()[0] & 0xff0f == 0xff02,
        },
        "isLinkLocalUnicast" => match address {
            IpAddr::V4(four) => four.is_link_local(),
            IpAddr::V6(six) => six.segments()[0] & 0xffc0 == 0xfe80,
        },
        "isGlobalUnicast" => {
            let broadcast = matches!(address, IpAddr::V4(four) if four.is_broadcast());
            let link_local = match address {
                IpAddr::V4(four) => four.is_link_local(),
                IpAddr::V6(six) => six.segments()[0] & 0xffc0 == 0xfe80,
            };
            !(broadcast || link_local || address.is_unspecified() || address.is_loopback() || address.is_multicast())
        }
        _ => return None,
    };
    Some(Ok(Value::Bool(truth)))
}
