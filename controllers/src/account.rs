//! Being a service account over the wire: its tokens, asked for, kept fresh, sent along.

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::client::Body;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Where the controllers' accounts live.
const NAMESPACE: &str = "kube-system";
/// How long a token is asked to last; servers may make it longer or shorter.
const LIFETIME: Duration = Duration::from_secs(3600);

/// A client that is that service account of `kube-system`, such as `job-controller`.
///
/// Its requests go through `transport` with a token of the account, which `issuer` asks for when four fifths of the last
/// one's life are over or the server takes it no longer. The account is made if it is missing. It is what upstream's
/// controller manager does with `--use-service-account-credentials`.
///
/// `transport` must bring no credentials of its own, or they win. The user of `issuer` must be allowed to create
/// `serviceaccounts` and `serviceaccounts/token` in `kube-system`, as `system:kube-controller-manager` is.
#[must_use]
pub fn account_client(issuer: Client, transport: Client, name: &str) -> Client {
    let account = Arc::new(Account { issuer, transport, name: name.to_owned(), token: Mutex::new(None) });
    let service = tower::service_fn(move |request| {
        let account = Arc::clone(&account);
        async move { account.send(request).await }
    });
    Client::new(service, "default")
}

struct Account {
    issuer: Client,
    transport: Client,
    name: String,
    token: Mutex<Option<Token>>,
}

struct Token {
    header: HeaderValue,
    renew_at: Instant,
}

impl Account {
    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        let token = self.token().await?;
        request.headers_mut().insert(AUTHORIZATION, token.clone());
        let response = self.transport.send(request).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.token.lock().await.take_if(|kept| kept.header == token);
        }
        Ok(response)
    }

    async fn token(&self) -> Result<HeaderValue, kube::Error> {
        // Whoever asks first fetches it for all.
        let mut kept = self.token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| Instant::now() < token.renew_at) {
            return Ok(token.header.clone());
        }
        let token = match self.request().await {
            Err(error) if is(&error, StatusCode::NOT_FOUND) => {
                self.create().await?;
                self.request().await?
            }
            other => other?,
        };
        Ok(kept.insert(token).header.clone())
    }

    async fn create(&self) -> Result<(), kube::Error> {
        let mut account = ServiceAccount::default();
        account.metadata.name = Some(self.name.clone());
        match self.api().create(&PostParams::default(), &account).await {
            Err(error) if !is(&error, StatusCode::CONFLICT) => Err(error),
            _ => Ok(()),
        }
    }

    async fn request(&self) -> Result<Token, kube::Error> {
        let asked = Instant::now();
        let seconds = i64::try_from(LIFETIME.as_secs()).ok();
        let spec = TokenRequestSpec { expiration_seconds: seconds, ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = self.api().create_token_request(&self.name, &PostParams::default(), &request).await?;
        let seconds = answer.spec.and_then(|spec| spec.expiration_seconds);
        let lifetime = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(LIFETIME, Duration::from_secs);
        let token = answer.status.and_then(|status| status.token).unwrap_or_default();
        let header = HeaderValue::try_from(format!("Bearer {token}"));
        let mut header = header.map_err(|error| kube::Error::HttpError(error.into()))?;
        header.set_sensitive(true);
        Ok(Token { header, renew_at: asked + lifetime * 4 / 5 })
    }

    fn api(&self) -> Api<ServiceAccount> {
        Api::namespaced(self.issuer.clone(), NAMESPACE)
    }
}

fn is(error: &kube::Error, code: StatusCode) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code.as_u16())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::sync::Mutex as StdMutex;

    use serde_json::{Value, json};

    use super::*;

    /// A server that answers from a list and writes down what it was asked.
    #[derive(Clone, Default)]
    struct Script(Arc<StdMutex<Lines>>);

    #[derive(Default)]
    struct Lines {
        answers: VecDeque<(u16, Value)>,
        told: Vec<String>,
    }

    impl Script {
        fn answer(&self, request: &Request<Body>) -> Response<Body> {
            let mut script = self.0.lock().unwrap();
            let token = request.headers().get(AUTHORIZATION).map_or("-", |token| token.to_str().unwrap());
            script.told.push(format!("{} {} {token}", request.method(), request.uri().path()));
            let (code, body) = script.answers.pop_front().unwrap();
            let response = Response::builder().status(code).header("content-type", "application/json");
            response.body(Body::from(body.to_string().into_bytes())).unwrap()
        }

        fn client(&self) -> Client {
            let script = self.clone();
            let answer = move |request| std::future::ready(Ok::<_, Infallible>(script.answer(&request)));
            Client::new(tower::service_fn(answer), "default")
        }

        fn will_answer(&self, answers: impl IntoIterator<Item = (u16, Value)>) {
            self.0.lock().unwrap().answers.extend(answers);
        }

        fn told(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap().told)
        }
    }

    fn token(text: &str) -> (u16, Value) {
        let status = json!({"token": text, "expirationTimestamp": "2030-01-01T00:00:00Z"});
        (201, json!({"spec": {"audiences": [], "expirationSeconds": 100}, "status": status}))
    }

    fn missing() -> (u16, Value) {
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound"});
        (404, status)
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_fetched_kept_renewed_and_forgotten() {
        const ACCOUNT: &str = "/api/v1/namespaces/kube-system/serviceaccounts";
        let (issuer, server) = (Script::default(), Script::default());
        issuer.will_answer([missing(), (201, json!({"metadata": {"name": "job-controller"}})), token("one")]);
        let client = account_client(issuer.client(), server.client(), "job-controller");
        let ask = async |code: u16| {
            server.will_answer([(code, json!({}))]);
            client.send(Request::get("/x").body(Body::empty()).unwrap()).await.unwrap();
            server.told().remove(0)
        };

        assert_eq!(ask(200).await, "GET /x Bearer one");
        let token_path = format!("POST {ACCOUNT}/job-controller/token -");
        let made = [token_path.clone(), format!("POST {ACCOUNT} -"), token_path];
        assert_eq!(issuer.told(), made, "the account is made when it is missing");
        assert_eq!(ask(200).await, "GET /x Bearer one");
        assert!(issuer.told().is_empty(), "the token is kept");

        tokio::time::advance(Duration::from_secs(80)).await;
        issuer.will_answer([token("two")]);
        assert_eq!(ask(401).await, "GET /x Bearer two", "it is renewed before it ends");
        issuer.will_answer([token("three")]);
        assert_eq!(ask(200).await, "GET /x Bearer three", "one that is refused is forgotten");
    }
}
