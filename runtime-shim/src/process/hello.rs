//! The server behind the image `kubewright.dev/hello`.
//!
//! It answers HTTP on port 8080 (`PORT`) of the pod's address, each request with one line that names the pod, its
//! namespace, its node, and how many requests it has had; as JSON when the request accepts `application/json`.
//! `/healthz` answers `ok` and is not counted. `SIGTERM` ends it, with exit code 0, after the requests in hand.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The name of the image.
pub const IMAGE: &str = "kubewright.dev/hello";

/// Connections at once.
const CONNECTIONS_MAX: usize = 256;
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(60);

/// Who answers, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HelloConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// The pod's name.
    pub pod: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's node.
    pub node: String,
}

impl HelloConfig {
    /// Reads `KUBEWRIGHT_POD_IP`, `PORT`, `POD_NAME` (or `HOSTNAME`), `POD_NAMESPACE` and `NODE_NAME` from an
    /// environment.
    ///
    /// # Errors
    /// A sentence that names the variable that makes no sense.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let wrong = |name: &str, value: &str| format!("{name}={value} is not valid");
        let port = match set("PORT") {
            Some(port) => port.parse().map_err(|_| wrong("PORT", &port))?,
            None => 8080,
        };
        let ip = match set("KUBEWRIGHT_POD_IP") {
            Some(ip) => ip.parse().map_err(|_| wrong("KUBEWRIGHT_POD_IP", &ip))?,
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        Ok(Self {
            address: SocketAddr::new(ip, port),
            pod: set("POD_NAME").or_else(|| set("HOSTNAME")).unwrap_or_default(),
            namespace: set("POD_NAMESPACE").unwrap_or_default(),
            node: set("NODE_NAME").unwrap_or_default(),
        })
    }
}

/// Runs the server as a whole program, configured by the environment. Returns the code to exit with.
pub fn main() -> ExitCode {
    let served = HelloConfig::from_environment(|name| std::env::var(name).ok()).and_then(|config| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(run(config)).map_err(|error| error.to_string())
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&mut io::stderr(), &format!("hello: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(config: HelloConfig) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = TcpListener::bind(config.address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {}: {error}", config.address)))?;
    say(&mut io::stdout(), &format!("hello: pod {} listens on {}", config.pod, listener.local_addr()?));
    let stop = CancellationToken::new();
    let served = serve(listener, config, stop.clone());
    tokio::pin!(served);
    tokio::select! {
        () = &mut served => return Ok(()),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
    served.await;
    say(&mut io::stdout(), "hello: stopped");
    Ok(())
}

/// Answers connections until `stop` is cancelled, and finishes the requests in hand.
pub async fn serve(listener: TcpListener, config: HelloConfig, stop: CancellationToken) {
    let (config, counter) = (Arc::new(config), Arc::new(AtomicU64::new(0)));
    let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = places.clone().acquire_owned() => place,
        };
        let connection = tokio::select! {
            () = stop.cancelled() => break,
            connection = listener.accept() => connection,
        };
        // An error here is the peer's, who has gone, or a shortage of files, which passes.
        let Ok((connection, _)) = connection else { continue };
        let (config, counter, stop) = (config.clone(), counter.clone(), stop.clone());
        connections.spawn(async move {
            let _place = place;
            // What goes wrong with a connection concerns its peer alone.
            let _ = converse(connection, &config, &counter, &stop).await;
        });
    }
    connections.close();
    connections.wait().await;
}

/// What matters of a request's head.
#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    path: String,
    json: bool,
    keep_alive: bool,
    head_only: bool,
}

async fn converse(
    mut connection: TcpStream,
    config: &HelloConfig,
    counter: &AtomicU64,
    stop: &CancellationToken,
) -> io::Result<()> {
    let (read, mut write) = connection.split();
    let mut read = BufReader::new(read);
    loop {
        let head = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            head = tokio::time::timeout(IDLE, read_head(&mut read)) => head??,
        };
        let Some(head) = head else { return Ok(()) };
        let keep_alive = head.keep_alive && !stop.is_cancelled();
        let (kind, body) = answer(&head, config, counter);
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let mut response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: {connection}\r\n\r\n",
            body.len()
        );
        if !head.head_only {
            response.push_str(&body);
        }
        write.write_all(response.as_bytes()).await?;
        if !keep_alive {
            return write.shutdown().await;
        }
    }
}

/// Reads a request's head; `None` at the end of the connection, or when it is no HTTP.
async fn read_head(read: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> io::Result<Option<Head>> {
    let mut lines = Vec::new();
    let mut limited = read.take(HEAD_BYTES_MAX);
    loop {
        let mut line = String::new();
        if limited.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" if lines.is_empty() => {}
            "" => return Ok(parse_head(&lines)),
            line => lines.push(line.to_owned()),
        }
    }
}

fn parse_head(lines: &[String]) -> Option<Head> {
    let (first, fields) = lines.split_first()?;
    let words: Vec<&str> = first.split(' ').collect();
    let [method, path, version] = words.as_slice() else { return None };
    let mut head = Head {
        path: path.split('?').next()?.to_owned(),
        json: false,
        keep_alive: *version == "HTTP/1.1",
        head_only: *method == "HEAD",
    };
    for (name, value) in fields.iter().filter_map(|field| field.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "accept" => head.json = value.contains("application/json"),
            "connection" if value.eq_ignore_ascii_case("close") => head.keep_alive = false,
            // A body is not read, so nothing can follow it.
            "content-length" if value != "0" => head.keep_alive = false,
            "transfer-encoding" => head.keep_alive = false,
            _ => {}
        }
    }
    Some(head)
}

fn answer(head: &Head, config: &HelloConfig, counter: &AtomicU64) -> (&'static str, String) {
    if head.path == "/healthz" {
        return ("text/plain", "ok\n".to_owned());
    }
    let requests = counter.fetch_add(1, Ordering::Relaxed) + 1;
    let HelloConfig { pod, namespace, node, .. } = config;
    if head.json {
        let body = serde_json::json!({ "pod": pod, "namespace": namespace, "node": node, "requests": requests });
        return ("application/json", format!("{body}\n"));
    }
    ("text/plain", format!("hello from pod {pod} in namespace {namespace} on node {node}, request {requests}\n"))
}

/// A line of the program's own; it may have nobody to read it.
fn say(to: &mut impl io::Write, line: &str) {
    let _ = writeln!(to, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> HelloConfig {
        let variable = |name: &str| match name {
            "KUBEWRIGHT_POD_IP" => Some("127.0.0.1".to_owned()),
            "PORT" => Some("0".to_owned()),
            "POD_NAME" => Some("web-1".to_owned()),
            "POD_NAMESPACE" => Some("default".to_owned()),
            "NODE_NAME" => Some("node-0".to_owned()),
            _ => None,
        };
        HelloConfig::from_environment(variable).unwrap()
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn answers_counts_and_stops() {
        let listener = TcpListener::bind(config().address).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let server = tokio::spawn(serve(listener, config(), stop.clone()));
        let health = ask(address, "GET /healthz HTTP/1.0\r\n\r\n").await;
        assert!(health.starts_with("HTTP/1.1 200 OK\r\n") && health.ends_with("ok\n"), "{health}");
        let two = ask(address, "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
        assert!(two.contains("hello from pod web-1 in namespace default on node node-0, request 1\n"), "{two}");
        assert!(two.ends_with("request 2\n"), "{two}");
        let json = ask(address, "GET /x HTTP/1.0\r\nAccept: application/json\r\n\r\n").await;
        assert!(json.contains(r#""requests":3"#) && json.contains(r#""node":"node-0""#), "{json}");
        stop.cancel();
        server.await.unwrap();
    }

    #[test]
    fn an_environment_that_makes_no_sense_is_named() {
        let wrong = HelloConfig::from_environment(|name| (name == "PORT").then(|| "many".to_owned()));
        assert_eq!(wrong.unwrap_err(), "PORT=many is not valid");
        let bare = HelloConfig::from_environment(|name| (name == "HOSTNAME").then(|| "h".to_owned())).unwrap();
        assert_eq!((bare.address.to_string(), bare.pod), ("0.0.0.0:8080".to_owned(), "h".to_owned()));
    }
}
