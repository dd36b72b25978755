use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Outcome;
use super::check::plain;

/// How many redirects to the same host are followed.
const REDIRECTS_MAX: usize = 10;
/// How much of an answer is read, in bytes.
const BODY_MAX: usize = 10 * 1024;

/// Asks over HTTP: any answer from 200 to 399 is well.
pub(super) async fn get(
    tls: &Arc<rustls::ClientConfig>,
    scheme: &str,
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
    timeout: Duration,
) -> Outcome {
    let name = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let url = format!("{scheme}://{name}:{port}{path}");
    let answer = tokio::time::timeout(timeout, follow(tls, scheme, host, port, path, headers)).await;
    match answer {
        Ok(Ok(status)) if (200..400).contains(&status.as_u16()) => Outcome::Success,
        Ok(Ok(status)) => Outcome::Failure(format!("HTTP probe failed with statuscode: {}", status.as_u16())),
        Ok(Err(why)) => Outcome::Failure(format!("Get {url:?}: {why}")),
        Err(_) => Outcome::Failure(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn follow(
    tls: &Arc<rustls::ClientConfig>,
    scheme: &str,
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<StatusCode, String> {
    let mut path = path.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let answer = ask(tls, scheme, host, port, &path, headers).await?;
        let status = answer.status();
        let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let next = location.filter(|_| status.is_redirection()).and_then(|location| location.parse::<Uri>().ok());
        drop(Limited::new(answer.into_body(), BODY_MAX).collect().await);
        // A redirect to elsewhere is somebody else's health: it counts as well here.
        let Some(next) = next.filter(|uri| uri.host().is_none_or(|name| name == host)) else {
            return Ok(status);
        };
        path = next.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    }
    Err(format!("stopped after {REDIRECTS_MAX} redirects"))
}

async fn ask(
    tls: &Arc<rustls::ClientConfig>,
    scheme: &str,
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<Response<Incoming>, String> {
    let name = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let mut request = Request::builder().method(Method::GET).uri(path);
    let given = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    for (default, value) in [("user-agent", "kube-probe/1.36"), ("accept", "*/*")] {
        if !given(default) {
            request = request.header(default, value);
        }
    }
    if !given("host") {
        request = request.header("host", format!("{name}:{port}"));
    }
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let stream =
        TcpStream::connect((host, port)).await.map_err(|error| format!("dial tcp {name}:{port}: {}", plain(&error)))?;
    if scheme == "https" {
        let server = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(tls.clone());
        let stream = connector.connect(server, stream).await.map_err(|error| error.to_string())?;
        send(TokioIo::new(stream), request).await
    } else {
        send(TokioIo::new(stream), request).await
    }
}

async fn send<I>(io: I, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, String>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(|error| error.to_string())?;
    // Ends by itself as soon as the answer was read or dropped.
    tokio::spawn(async move { drop(connection.await) });
    sender.send_request(request).await.map_err(|error| error.to_string())
}
