//! `exec` and `attach` over SPDY/3.1, as older clients speak it and newer ones fall back to.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use kubewright_runtime_shim::StreamSession;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::link::{Inputs, Outputs};
use super::{ERROR, RESIZE, STDERR, STDIN, STDOUT, Wanted, carry};
use crate::server::respond::{Body, empty};
use crate::server::route::{Refusal, bad_request};
use crate::server::spdy::{self, Stream};

const VERSIONS: &str = "x-stream-protocol-version";
/// How long the client has to open its streams.
const OPEN_MAX: Duration = Duration::from_secs(30);
/// How long the client has to leave once it has heard how the command ended.
const LEAVE_MAX: Duration = Duration::from_secs(10);

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    name: &'static str,
    /// The terminal's sizes have a stream.
    resize: bool,
    /// How the command ended is told as a `Status`.
    status: bool,
}

const SPOKEN: [Version; 4] = [
    Version { name: "v4.channel.k8s.io", resize: true, status: true },
    Version { name: "v3.channel.k8s.io", resize: true, status: false },
    Version { name: "v2.channel.k8s.io", resize: false, status: false },
    Version { name: "channel.k8s.io", resize: false, status: false },
];

/// Agrees on SPDY and a version.
pub(super) fn agree(mut request: Request<Incoming>) -> Result<(Response<Body>, OnUpgrade, Version), Refusal> {
    let offered = request.headers().get_all(VERSIONS).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
    if offered.is_empty() {
        return Err(bad_request(format!("unable to upgrade: {VERSIONS:?} header is required")));
    }
    let version = choose(&offered).ok_or_else(|| {
        let spoken = SPOKEN.map(|version| version.name);
        let why = "unable to upgrade: unable to negotiate protocol: client supports";
        (StatusCode::FORBIDDEN, format!("{why} {offered:?}, server accepts {spoken:?}"))
    })?;
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(VERSIONS, HeaderValue::from_static(version.name));
    Ok((response, hyper::upgrade::on(&mut request), version))
}

/// The client's first choice of those that are spoken here.
fn choose(offered: &[&str]) -> Option<Version> {
    offered.iter().find_map(|name| SPOKEN.into_iter().find(|version| version.name == *name))
}

/// The streams that the client must open.
fn expected(wanted: &Wanted, version: Version) -> Vec<u8> {
    let streams = [
        (ERROR, true),
        (STDIN, wanted.stdin),
        (STDOUT, wanted.stdout),
        (STDERR, wanted.stderr),
        (RESIZE, wanted.tty && version.resize),
    ];
    streams.into_iter().filter_map(|(number, wanted)| wanted.then_some(number)).collect()
}

fn number(stream: &Stream) -> Result<u8, String> {
    let kind = stream.headers.get("streamtype").map_or("", String::as_str);
    Ok(match kind {
        "error" => ERROR,
        "stdin" => STDIN,
        "stdout" => STDOUT,
        "stderr" => STDERR,
        "resize" => RESIZE,
        other => return Err(format!("invalid stream type {other:?}")),
    })
}

/// Serves a connection: runs what `open` opens once all streams are there, until it ends or the client leaves.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite,
    wanted: Wanted,
    version: Version,
    open: impl Future<Output = Result<StreamSession, String>>,
) {
    let (reader, writer) = tokio::io::split(io);
    let (reader, writer) = (std::pin::pin!(reader), std::pin::pin!(writer));
    let expected = expected(&wanted, version);
    let (sender, opened) = mpsc::channel(expected.len());
    let mut missing = expected.clone();
    let serving = spdy::serve(reader, writer, |stream| {
        let number = number(&stream)?;
        let at = missing.iter().position(|expected| *expected == number);
        missing.swap_remove(at.ok_or_else(|| "a stream that is not expected".to_owned())?);
        sender.try_send((number, stream)).map_err(|error| error.to_string())
    });
    let work = async {
        let Ok(Some(streams)) = tokio::time::timeout(OPEN_MAX, collect(opened, expected.len())).await else {
            return tracing::debug!("a client did not open its streams in time");
        };
        run(streams, version, open).await;
        // The client leaves when it has read everything.
        tokio::time::sleep(LEAVE_MAX).await;
    };
    tokio::select! {
        () = serving => {}
        () = work => {}
    }
}

async fn collect(mut opened: mpsc::Receiver<(u8, Stream)>, count: usize) -> Option<BTreeMap<u8, Stream>> {
    let mut streams = BTreeMap::new();
    while streams.len() < count {
        let (number, stream) = opened.recv().await?;
        streams.insert(number, stream);
    }
    Some(streams)
}

async fn run(
    streams: BTreeMap<u8, Stream>,
    version: Version,
    open: impl Future<Output = Result<StreamSession, String>>,
) {
    let (mut outputs, mut stdin, mut resize) = (BTreeMap::new(), None, None);
    for (number, stream) in streams {
        outputs.insert(number, stream.outgoing);
        match number {
            STDIN => stdin = Some(stream.incoming),
            RESIZE => resize = Some(stream.incoming),
            _ => {}
        }
    }
    let inputs = Inputs::Spdy { stdin, resize };
    carry(open, inputs, &Outputs::Spdy(outputs.clone(), version.status)).await;
    for stream in outputs.values() {
        stream.finish().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_first_choice_wins() {
        let name = |offered: &[&str]| choose(offered).map(|version| version.name);
        assert_eq!(name(&["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io"]), Some("v4.channel.k8s.io"));
        assert_eq!(name(&["channel.k8s.io"]), Some("channel.k8s.io"));
        assert_eq!(name(&["portforward.k8s.io"]), None);
    }

    #[test]
    fn sizes_have_a_stream_from_version_3_on() {
        let wanted = Wanted { stdin: true, stdout: true, stderr: false, tty: true };
        assert_eq!(expected(&wanted, SPOKEN[0]), [ERROR, STDIN, STDOUT, RESIZE]);
        assert_eq!(expected(&wanted, SPOKEN[2]), [ERROR, STDIN, STDOUT]);
    }
}
