mod link;
mod spdy;

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kubewright_runtime_shim::{AttachOptions, BoxRead, BoxWrite, ExecOptions, StreamSession, TerminalSize};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use self::link::{Input, Inputs, Outputs};
use super::channels::{REMOTE_COMMAND, exit_status};
use super::query::flag;
use super::respond::Body;
use super::route::{Refusal, Streams, Target, bad_request, internal};
use super::websocket::{has_token, upgrade};
use crate::node::Context;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Closes the stream whose number it carries.
const CLOSE: u8 = 255;

/// How much is read of an output at a time, in bytes.
const CHUNK: usize = 32 * 1024;
/// How long the last outputs may take after the end.
const DRAIN_MAX: Duration = Duration::from_secs(10);

struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Wanted {
    fn of(query: &[(String, String)]) -> Result<Self, Refusal> {
        let tty = flag(query, ["tty", "tty"]);
        let stdin = flag(query, ["input", "stdin"]);
        let stdout = flag(query, ["output", "stdout"]);
        // With a terminal there is one output.
        let stderr = flag(query, ["error", "stderr"]) && !tty;
        if !stdin && !stdout && !stderr {
            return Err(bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        Ok(Self { stdin, stdout, stderr, tty })
    }
}

pub(super) async fn exec(
    node: &Arc<Context>,
    streams: &Streams,
    target: Target,
    query: &[(String, String)],
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let wanted = Wanted::of(query)?;
    let commands = query.iter().filter(|(name, _)| name == "command").map(|(_, value)| value.clone());
    let mut options = ExecOptions::new(commands);
    if options.cmd.is_empty() {
        return Err(bad_request("you must specify at least 1 command to execute"));
    }
    (options.stdin, options.stdout) = (wanted.stdin, wanted.stdout);
    (options.stderr, options.tty) = (wanted.stderr, wanted.tty);
    let node = node.clone();
    let open = async move { node.runtime.exec(&target.id, &options).await.map_err(|error| error.to_string()) };
    run(streams, request, wanted, open)
}

pub(super) async fn attach(
    node: &Arc<Context>,
    streams: &Streams,
    target: Target,
    query: &[(String, String)],
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let wanted = Wanted::of(query)?;
    let mut options = AttachOptions::default();
    (options.stdin, options.stdout) = (wanted.stdin, wanted.stdout);
    options.tty = target.tty;
    options.stderr = wanted.stderr && !target.tty;
    let session = node.runtime.attach(&target.id, &options).await.map_err(internal)?;
    run(streams, request, wanted, async move { Ok(session) })
}

/// Joins a session with its client, over a WebSocket or SPDY, in a task of its own.
fn run(
    streams: &Streams,
    request: Request<Incoming>,
    wanted: Wanted,
    open: impl Future<Output = Result<StreamSession, String>> + Send + 'static,
) -> Result<Response<Body>, Refusal> {
    let cancel = streams.cancel.clone();
    if has_token(request.headers(), header::UPGRADE, "SPDY/3.1") {
        let (response, upgraded, version) = spdy::agree(request)?;
        let serving = async move {
            if let Ok(upgraded) = upgraded.await {
                spdy::serve(TokioIo::new(upgraded), wanted, version, open).await;
            }
        };
        streams.tasks.spawn(async move { cancel.run_until_cancelled(serving).await });
        return Ok(response);
    }
    let (response, agreed) = upgrade(request, &REMOTE_COMMAND)?;
    streams.tasks.spawn(async move {
        let protocol = agreed.protocol;
        let joined = async {
            let Some((incoming, outgoing, sending)) = agreed.open().await else {
                return;
            };
            let work = async move {
                let outputs = Outputs::Socket(outgoing, protocol);
                let first = if wanted.stdout {
                    STDOUT
                } else if wanted.stderr {
                    STDERR
                } else {
                    ERROR
                };
                // Something empty, so that the client knows that it is through.
                _ = outputs.send(first, b"").await;
                carry(open, Inputs::Socket(incoming, protocol), &outputs).await;
            };
            tokio::join!(work, sending);
        };
        cancel.run_until_cancelled(joined).await.unwrap_or_default();
    });
    Ok(response)
}

/// Opens a session, carries everything between it and its client, and tells how the command ended.
async fn carry(open: impl Future<Output = Result<StreamSession, String>>, inputs: Inputs, outputs: &Outputs) {
    let exit = match open.await {
        Ok(session) => join(session, inputs, outputs).await,
        Err(why) => Some(Err(why)),
    };
    if let Some(exit) = exit {
        report(exit, outputs).await;
    }
}

/// Carries everything between a session and its client. Returns how the command ended; `None` when the client left.
async fn join(session: StreamSession, inputs: Inputs, outputs: &Outputs) -> Option<Result<i32, String>> {
    let StreamSession { stdin, stdout, stderr, resize, exit, .. } = session;
    let pumped = async {
        tokio::join!(pump(stdout, STDOUT, outputs), pump(stderr, STDERR, outputs));
    };
    let ended = async {
        let mut pumped = std::pin::pin!(pumped);
        let mut exit = exit;
        let code = tokio::select! {
            code = &mut exit => { drop(tokio::time::timeout(DRAIN_MAX, pumped).await); code }
            () = &mut pumped => exit.await,
        };
        code.map_err(|error| error.to_string())
    };
    let mut ended = std::pin::pin!(ended);
    tokio::select! {
        code = &mut ended => Some(code),
        gone = feed(stdin, resize, inputs) => match gone {
            Fed::ClientLeft => None,
        },
    }
}

async fn pump(output: Option<BoxRead>, channel: u8, outputs: &Outputs) {
    let Some(mut output) = output else {
        return;
    };
    let mut chunk = vec![0; CHUNK];
    while let Ok(read @ 1..) = output.read(&mut chunk).await {
        if outputs.send(channel, &chunk[..read]).await.is_err() {
            return;
        }
    }
}

enum Fed {
    ClientLeft,
}

/// Hands the client's input and sizes to the session, until the client leaves.
async fn feed(mut stdin: Option<BoxWrite>, resize: Option<mpsc::Sender<TerminalSize>>, mut inputs: Inputs) -> Fed {
    while let Some(input) = inputs.next().await {
        match input {
            Input::Data(STDIN, data) => {
                let failed = match &mut stdin {
                    Some(input) if !data.is_empty() => {
                        input.write_all(&data).await.is_err() || input.flush().await.is_err()
                    }
                    _ => false,
                };
                if failed {
                    stdin = None;
                }
            }
            Input::End(STDIN) => {
                if let Some(mut input) = stdin.take() {
                    drop(input.shutdown().await);
                }
            }
            Input::Data(RESIZE, data) => {
                for size in sizes(&data) {
                    // One that does not get through is followed by another at the next change.
                    let _ = resize.as_ref().map(|resize| resize.try_send(size));
                }
            }
            Input::Data(..) | Input::End(_) => {}
        }
    }
    Fed::ClientLeft
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Sizes of a terminal: one JSON object after the other.
fn sizes(data: &[u8]) -> Vec<TerminalSize> {
    let sizes = serde_json::Deserializer::from_slice(data).into_iter::<Size>();
    sizes.filter_map(Result::ok).map(|size| TerminalSize::new(size.width, size.height)).collect()
}

async fn report(exit: Result<i32, String>, outputs: &Outputs) {
    let text = if outputs.tells_status() {
        exit_status(exit).to_string()
    } else {
        match exit {
            Ok(0) => return,
            Ok(code) => format!("command terminated with exit code {code}"),
            Err(why) => why,
        }
    };
    _ = outputs.send(ERROR, text.as_bytes()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_one_after_the_other() {
        let found = sizes(b"{\"Width\":80,\"Height\":24}\n{\"Width\":100,\"Height\":30}\n");
        assert_eq!(found, [TerminalSize::new(80, 24), TerminalSize::new(100, 30)]);
        assert_eq!(sizes(b"nonsense"), []);
    }
}
