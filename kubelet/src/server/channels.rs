//! How streams share a WebSocket: every message begins with the number of its stream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protocol {
    /// Its name; empty when none was asked for.
    pub(super) name: &'static str,
    /// Messages are text in base64, after a digit.
    base64: bool,
    /// Errors come as a `Status`, and sizes of the terminal are understood.
    pub(super) status: bool,
    /// A stream can be closed alone.
    pub(super) close: bool,
}

const fn protocol(name: &'static str, base64: bool, status: bool, close: bool) -> Protocol {
    Protocol { name, base64, status, close }
}

/// SPDY/3.1 in the messages of a WebSocket: how kubectl forwards ports.
pub(super) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

const PROTOCOLS: [Protocol; 7] = [
    protocol(TUNNEL, false, false, false),
    protocol("v5.channel.k8s.io", false, true, true),
    protocol("v4.channel.k8s.io", false, true, false),
    protocol("v4.base64.channel.k8s.io", true, true, false),
    protocol("channel.k8s.io", false, false, false),
    protocol("base64.channel.k8s.io", true, false, false),
    protocol("", false, false, false),
];

/// The names for `exec` and `attach`.
pub(super) const REMOTE_COMMAND: [&str; 6] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];

/// The names for `portForward`.
pub(super) const PORT_FORWARD: [&str; 4] = [TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""];

impl Protocol {
    /// The first that the client offers of those that are spoken here. Offering none is an offer, too.
    pub(super) fn choose(offered: &[String], spoken: &[&str]) -> Option<Self> {
        let none = String::new();
        let offered = if offered.is_empty() { std::slice::from_ref(&none) } else { offered };
        let name = offered.iter().find(|name| spoken.contains(&name.as_str()))?;
        PROTOCOLS.into_iter().find(|protocol| protocol.name == name)
    }

    /// A message for one stream.
    pub(super) fn encode(self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            return Message::text(format!("{channel}{}", STANDARD.encode(data)));
        }
        let mut message = Vec::with_capacity(data.len() + 1);
        message.push(channel);
        message.extend_from_slice(data);
        Message::binary(message)
    }

    /// The stream and the data of a message; `None` for what is no data.
    pub(super) fn decode(self, message: Message) -> Option<(u8, Bytes)> {
        let mut data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            _ => return None,
        };
        if data.is_empty() {
            return None;
        }
        let channel = data.split_to(1)[0];
        if self.base64 {
            let channel = channel.checked_sub(b'0')?;
            return Some((channel, STANDARD.decode(&data).ok()?.into()));
        }
        Some((channel, data))
    }
}

/// How a command ended, as the error stream says it.
pub(super) fn exit_status(exit: Result<i32, String>) -> Value {
    match exit {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(why) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("Internal error occurred: {why}"),
            "reason": "InternalError",
            "details": {"causes": [{"message": why}]},
            "code": 500,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(offered: &[&str]) -> Option<&'static str> {
        let offered: Vec<_> = offered.iter().map(ToString::to_string).collect();
        Protocol::choose(&offered, &REMOTE_COMMAND).map(|protocol| protocol.name)
    }

    #[test]
    fn the_clients_first_choice_wins() {
        assert_eq!(choose(&["v5.channel.k8s.io", "v4.channel.k8s.io"]), Some("v5.channel.k8s.io"));
        assert_eq!(choose(&["v9.channel.k8s.io", "v4.channel.k8s.io"]), Some("v4.channel.k8s.io"));
        assert_eq!(choose(&["SPDY/3.1+portforward.k8s.io"]), None);
        assert_eq!(choose(&[]), Some(""));
    }

    #[test]
    fn messages_carry_their_stream() {
        for name in REMOTE_COMMAND {
            let protocol = Protocol::choose(&[name.to_owned()], &REMOTE_COMMAND).unwrap();
            let message = protocol.encode(2, b"hi \xff");
            assert_eq!(message.is_text(), name.contains("base64"), "{name}");
            assert_eq!(protocol.decode(message), Some((2, Bytes::from_static(b"hi \xff"))), "{name}");
            assert_eq!(protocol.decode(Message::binary(Bytes::new())), None);
        }
        let v5 = Protocol::choose(&["v5.channel.k8s.io".to_owned()], &REMOTE_COMMAND).unwrap();
        assert_eq!(v5.encode(1, b"x"), Message::binary(vec![1, b'x']));
    }

    #[test]
    fn exit_codes_become_a_status() {
        assert_eq!(exit_status(Ok(0))["status"], "Success");
        let failed = exit_status(Ok(3));
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"][0]["message"], "3");
        assert_eq!(exit_status(Err("gone".into()))["message"], "Internal error occurred: gone");
    }
}
