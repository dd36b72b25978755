//! One call of the API, and what its errors mean.

use std::{sync::Arc, time::Duration};

use http::uri::PathAndQuery;
use prost::Message;
use tonic::{Code, Request, Status, Streaming, client::Grpc};
use tonic_prost::ProstCodec;

use super::CriRuntime;
use crate::Error;

/// The longest message that is read, in bytes: what the kubelet takes.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

impl CriRuntime {
    fn grpc(&self) -> Grpc<tonic::transport::Channel> {
        Grpc::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Calls a method of the runtime service.
    pub(super) async fn call<Q, A>(&self, method: &'static str, question: Q) -> Result<A, Error>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.call_for(method, question, Duration::ZERO).await
    }

    /// The same, with more time than usual.
    pub(super) async fn call_for<Q, A>(&self, method: &'static str, question: Q, more: Duration) -> Result<A, Error>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let limit = self.config.request_timeout.saturating_add(more);
        let answer = tokio::time::timeout(limit, self.call_without_limit("RuntimeService", method, question)).await;
        answer.map_err(|_| Error::Timeout { operation: method.to_owned(), after: limit })?
    }

    /// Calls a method of the image service.
    pub(super) async fn call_images<Q, A>(&self, method: &'static str, question: Q) -> Result<A, Error>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let limit = self.config.request_timeout;
        let answer = tokio::time::timeout(limit, self.call_without_limit("ImageService", method, question)).await;
        answer.map_err(|_| Error::Timeout { operation: method.to_owned(), after: limit })?
    }

    pub(super) async fn call_without_limit<Q, A>(
        &self,
        service: &str,
        method: &'static str,
        question: Q,
    ) -> Result<A, Error>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.map_err(|error| self.away(error))?;
        let answer = grpc.unary(Request::new(question), path(service, method), ProstCodec::new()).await;
        Ok(answer.map_err(|status| self.failed(method, status))?.into_inner())
    }

    /// Calls a method of the runtime service that answers with a stream.
    pub(super) async fn call_stream<Q, A>(&self, method: &'static str, question: Q) -> Result<Streaming<A>, Error>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.map_err(|error| self.away(error))?;
        let path = path("RuntimeService", method);
        let answer = grpc.server_streaming(Request::new(question), path, ProstCodec::new()).await;
        Ok(answer.map_err(|status| self.failed(method, status))?.into_inner())
    }

    fn away(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Unavailable {
            message: format!("cannot reach the CRI runtime at {}; is it running?", self.config.endpoint),
            source: Some(Arc::new(error)),
        }
    }

    fn failed(&self, method: &'static str, status: Status) -> Error {
        let message = status.message().to_owned();
        match status.code() {
            Code::Unavailable => self.away(status),
            Code::NotFound => not_found(method, &message),
            Code::AlreadyExists => already_exists(method, message),
            Code::InvalidArgument | Code::OutOfRange => Error::InvalidArgument { message },
            Code::FailedPrecondition => Error::FailedPrecondition { message },
            Code::DeadlineExceeded => Error::Timeout { operation: message, after: Duration::ZERO },
            Code::Unimplemented => Error::Unsupported { operation: method.to_owned(), runtime: "CRI".to_owned() },
            Code::ResourceExhausted => Error::ResourceExhausted { message, source: Some(Arc::new(status)) },
            _ => by_words(method, message, status),
        }
    }
}

fn path(service: &str, method: &str) -> PathAndQuery {
    let path = format!("/runtime.v1.{service}/{method}");
    // Made of two names of the API, which are plain letters.
    PathAndQuery::try_from(path).expect("names of the API make a path")
}

fn is_about_sandboxes(method: &str) -> bool {
    method.contains("PodSandbox") || method == "PortForward"
}

fn not_found(method: &str, message: &str) -> Error {
    if is_about_sandboxes(method) {
        return Error::sandbox_not_found(quoted(message));
    }
    match method {
        "CreateContainer" if message.contains("sandbox") => Error::sandbox_not_found(quoted(message)),
        "CreateContainer" | "ImageStatus" | "RemoveImage" => Error::ImageNotFound { image: quoted(message) },
        "PullImage" => Error::ImagePull { image: String::new(), message: message.to_owned() },
        _ => Error::container_not_found(quoted(message)),
    }
}

/// The first name in quotes: the runtimes put the object there. All of it when there is none.
fn quoted(message: &str) -> String {
    message.split('"').nth(1).unwrap_or(message).to_owned()
}

fn already_exists(method: &str, message: String) -> Error {
    let kind = if is_about_sandboxes(method) { crate::Kind::Sandbox } else { crate::Kind::Container };
    Error::AlreadyExists { kind, name: quoted(&message) }
}

/// containerd gives many errors no code of their own, only words.
fn by_words(method: &'static str, message: String, status: Status) -> Error {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["failed to reserve", "is reserved for"]) {
        return already_exists(method, message);
    }
    if method == "CreateContainer" && says(&["failed to find sandbox", "failed to get sandbox"]) {
        return Error::sandbox_not_found(quoted(&message));
    }
    if method == "CreateContainer" && says(&["failed to resolve image", "failed to get image from containerd"]) {
        return Error::ImageNotFound { image: quoted(&message) };
    }
    if says(&["is in CONTAINER_", "is not running", "already in running state", "is in removing state"]) {
        return Error::FailedPrecondition { message };
    }
    if method.starts_with("Exec") && says(&["not found in $PATH", "no such file or directory", "permission denied"]) {
        return Error::InvalidArgument { message };
    }
    if says(&["context deadline exceeded", "timeout", "timed out"]) && method == "ExecSync" {
        return Error::Timeout { operation: message, after: Duration::ZERO };
    }
    Error::Internal { message, source: Some(Arc::new(status)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerds_words_are_understood() {
        let check = |method, words: &str| by_words(method, words.to_owned(), Status::unknown(words));
        let reserved = r#"failed to reserve sandbox name "a_b_c_0": name "a_b_c_0" is reserved for "5e""#;
        assert!(matches!(
            check("RunPodSandbox", reserved),
            Error::AlreadyExists { kind: crate::Kind::Sandbox, name } if name == "a_b_c_0"
        ));
        assert!(matches!(
            check("ExecSync", "container is in CONTAINER_EXITED state"),
            Error::FailedPrecondition { .. }
        ));
        assert!(matches!(check("StartContainer", "runc broke"), Error::Internal { .. }));
    }
}
