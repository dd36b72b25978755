//! Extenders: asking services outside the scheduler over HTTP.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::future::join_all;
use http_body_util::{BodyExt, Limited};
use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::api;
use crate::config::{ExtenderConfig, ExtenderTls};
use crate::framework::{Answer, Candidate, Filtered, Preempted, Question};
use crate::object::{Name, PodInfo};

/// How much of an answer is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why an extender cannot be reached at all.
#[derive(Debug, thiserror::Error)]
#[error("extender {name:?}: {message}")]
pub struct ExtenderError {
    /// The extender.
    pub name: String,
    /// What is wrong with its settings.
    pub message: String,
}

/// An extender and the connection to it.
#[derive(Clone)]
struct Connection {
    config: Arc<ExtenderConfig>,
    client: Client,
}

/// All extenders, in the order in which they are asked.
#[derive(Clone)]
pub(super) struct Extenders(Vec<Connection>);

/// The cluster's nodes as the API server gives them.
pub(super) type FullNodes = HashMap<Name, Arc<Value>>;

impl fmt::Debug for Extenders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|own| &own.config.url_prefix)).finish()
    }
}

/// Connects to an extender; nothing is sent yet.
fn connect(config: &ExtenderConfig) -> Result<Client, ExtenderError> {
    let failed = |message: String| ExtenderError { name: config.url_prefix.clone(), message };
    let url: http::Uri =
        config.url_prefix.parse().map_err(|error| failed(format!("urlPrefix is not a URL: {error}")))?;
    if url.scheme().is_none() {
        return Err(failed("urlPrefix must begin with http:// or https://".to_owned()));
    }
    let mut settings = kube::Config::new(url);
    settings.default_retry = false;
    settings.connect_timeout = Some(config.timeout);
    if let Some(tls) = &config.tls {
        use_tls(&mut settings, tls).map_err(failed)?;
    }
    let has_authority = config.tls.as_ref().is_some_and(|tls| !tls.ca_file.is_empty() || !tls.ca_data.is_empty());
    settings.accept_invalid_certs |= config.enable_https && !has_authority;
    Client::try_from(settings).map_err(|error| failed(error.to_string()))
}

fn use_tls(settings: &mut kube::Config, tls: &ExtenderTls) -> Result<(), String> {
    settings.accept_invalid_certs = tls.insecure;
    settings.tls_server_name = Some(tls.server_name.clone()).filter(|name| !name.is_empty());
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    if !tls.ca_data.is_empty() {
        settings.root_cert = Some(certificates(&tls.ca_data)?);
    } else {
        settings.root_cert_file = given(&tls.ca_file).map(Into::into);
    }
    settings.auth_info.client_certificate_data = given(&tls.cert_data);
    settings.auth_info.client_certificate = given(&tls.cert_file);
    settings.auth_info.client_key_data = given(&tls.key_data).map(Into::into);
    settings.auth_info.client_key = given(&tls.key_file);
    Ok(())
}

/// The certificates in a PEM text that is given in base64.
fn certificates(data: &str) -> Result<Vec<Vec<u8>>, String> {
    let wrong = |what: &str| format!("caData is not PEM in base64: {what}");
    let pem = BASE64_STANDARD.decode(data).map_err(|error| wrong(&error.to_string()))?;
    let pem = String::from_utf8(pem).map_err(|error| wrong(&error.to_string()))?;
    let mut found = Vec::new();
    for part in pem.split("-----BEGIN CERTIFICATE-----").skip(1) {
        let (body, _) =
            part.split_once("-----END CERTIFICATE-----").ok_or_else(|| wrong("a certificate has no end"))?;
        let body: String = body.split_whitespace().collect();
        found.push(BASE64_STANDARD.decode(body).map_err(|error| wrong(&error.to_string()))?);
    }
    if found.is_empty() { Err(wrong("it has no certificate")) } else { Ok(found) }
}

impl Extenders {
    /// Connects to them all.
    pub(super) fn connect(configs: &[ExtenderConfig]) -> Result<Self, ExtenderError> {
        let mut all = Vec::new();
        for config in configs {
            all.push(Connection { client: connect(config)?, config: Arc::new(config.clone()) });
        }
        all.sort_by_key(|own| own.config.ignorable);
        Ok(Self(all))
    }

    /// Reaches one through another client.
    pub(super) fn replace(&mut self, url_prefix: &str, client: &Client) {
        for own in self.0.iter_mut().filter(|own| own.config.url_prefix == url_prefix) {
            own.client = client.clone();
        }
    }

    /// Whether any wants to see whole nodes.
    pub(super) fn want_nodes(&self) -> bool {
        let looks = |config: &ExtenderConfig| !config.filter_verb.is_empty() || !config.prioritize_verb.is_empty();
        self.0.iter().any(|own| !own.config.node_cache_capable && looks(&own.config))
    }

    /// Asks a question of the core.
    pub(super) async fn ask(&self, api: &Client, pod: &PodInfo, question: &Question, nodes: &FullNodes) -> Answer {
        match question {
            Question::Filter { extender, nodes: names } => {
                Answer::Filtered(self.filter(*extender, api, pod, names, nodes).await)
            }
            Question::Prioritize { extenders, nodes: names } => {
                let full = full_pod(api, pod).await;
                let one = |extender: &usize| self.prioritize(*extender, &full, names, nodes);
                Answer::Prioritized(join_all(extenders.iter().map(one)).await)
            }
            Question::Preempt { extender, candidates } => {
                Answer::Preempted(self.preempt(*extender, api, pod, candidates).await)
            }
        }
    }

    async fn filter(
        &self,
        extender: usize,
        api: &Client,
        pod: &PodInfo,
        names: &[Name],
        nodes: &FullNodes,
    ) -> Result<Filtered, String> {
        let own = &self.0[extender];
        let mut question = own.about_nodes(names, nodes);
        question["Pod"] = full_pod(api, pod).await?;
        let answer: FilterAnswer = own.send(&own.config.filter_verb, &question).await?;
        if !answer.error.is_empty() {
            return Err(answer.error);
        }
        let given = match (answer.node_names, answer.nodes) {
            (Some(names), _) if own.config.node_cache_capable => names,
            (_, Some(list)) => {
                let name = |node: &Value| Name::from(node["metadata"]["name"].as_str().unwrap_or_default());
                list.items.iter().map(name).collect()
            }
            _ => Vec::new(),
        };
        let (failed, unresolvable) = (answer.failed.unwrap_or_default(), answer.unresolvable.unwrap_or_default());
        Ok(Filtered { nodes: given, failed, unresolvable })
    }

    /// An extender that fails scores nothing.
    async fn prioritize(
        &self,
        extender: usize,
        pod: &Result<Value, String>,
        names: &[Name],
        nodes: &FullNodes,
    ) -> Vec<(Name, i64)> {
        let own = &self.0[extender];
        let asked = async {
            let mut question = own.about_nodes(names, nodes);
            question["Pod"] = pod.clone()?;
            own.send::<Option<Vec<HostPriority>>>(&own.config.prioritize_verb, &question).await
        };
        match asked.await {
            Ok(scores) => scores.unwrap_or_default().into_iter().map(|entry| (entry.host, entry.score)).collect(),
            Err(message) => {
                tracing::debug!(extender = own.config.url_prefix, message, "an extender gave no scores");
                Vec::new()
            }
        }
    }

    async fn preempt(
        &self,
        extender: usize,
        api: &Client,
        pod: &PodInfo,
        candidates: &[Candidate],
    ) -> Result<Vec<Preempted>, String> {
        let own = &self.0[extender];
        let capable = own.config.node_cache_capable;
        let mut told = serde_json::Map::new();
        for Candidate { node, victims, budget_violations } in candidates {
            let mut pods = Vec::new();
            for victim in victims {
                pods.push(if capable { json!({"UID": victim.uid}) } else { full_pod(api, victim).await? });
            }
            told.insert(node.to_string(), json!({"Pods": pods, "NumPDBViolations": budget_violations}));
        }
        let key = if capable { "NodeNameToMetaVictims" } else { "NodeNameToVictims" };
        let mut question = json!({"NodeNameToVictims": null, "NodeNameToMetaVictims": null});
        question[key] = told.into();
        question["Pod"] = full_pod(api, pod).await?;
        let answer: PreemptAnswer = own.send(&own.config.preempt_verb, &question).await?;
        let left = answer.victims.unwrap_or_default().into_iter().map(|(node, victims)| {
            let victims = victims.unwrap_or_default();
            Preempted {
                node,
                victims: victims.pods.unwrap_or_default().into_iter().map(|pod| pod.uid).collect(),
                budget_violations: usize::try_from(victims.violations).unwrap_or(0),
            }
        });
        Ok(left.collect())
    }

    /// Has an extender bind a pod.
    pub(super) async fn bind(&self, extender: usize, pod: &PodInfo, node: &Name) -> Result<(), String> {
        let own = &self.0[extender];
        let binding = json!({"PodName": pod.name, "PodNamespace": pod.namespace, "PodUID": pod.uid, "Node": node});
        let answer: BindAnswer = own.send(&own.config.bind_verb, &binding).await?;
        if answer.error.is_empty() { Ok(()) } else { Err(answer.error) }
    }
}

impl Connection {
    /// Nodes by name for those that know them, whole for others.
    fn about_nodes(&self, names: &[Name], nodes: &FullNodes) -> Value {
        if self.config.node_cache_capable {
            return json!({"Nodes": null, "NodeNames": names});
        }
        let known = |name: &Name| nodes.get(name).map(|node| Value::clone(node));
        let whole = |name: &Name| known(name).unwrap_or_else(|| json!({"metadata": {"name": name}}));
        let items: Vec<Value> = names.iter().map(whole).collect();
        json!({"Nodes": {"metadata": {}, "items": items}, "NodeNames": null})
    }

    async fn send<T: DeserializeOwned>(&self, verb: &str, question: &Value) -> Result<T, String> {
        let timeout = self.config.timeout;
        let sent = tokio::time::timeout(timeout, self.send_now(verb, question)).await;
        sent.unwrap_or_else(|_| Err(format!("no answer from extender {:?} within {timeout:?}", self.config.url_prefix)))
    }

    async fn send_now<T: DeserializeOwned>(&self, verb: &str, question: &Value) -> Result<T, String> {
        let url = format!("{}/{verb}", self.config.url_prefix.trim_end_matches('/'));
        let request = http::Request::post(format!("/{verb}"))
            .header(http::header::CONTENT_TYPE, api::JSON)
            .body(kube::client::Body::from(question.to_string().into_bytes()))
            .map_err(|error| error.to_string())?;
        let response = self.client.send(request).await.map_err(|error| format!("{url}: {error}"))?;
        let status = response.status();
        if status != http::StatusCode::OK {
            return Err(format!("failed {verb} with extender at URL {url}, code {}", status.as_u16()));
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| format!("{url}: {error}"))?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|error| format!("{url}: {error}"))
    }
}

/// The pod as the API server gives it.
async fn full_pod(api: &Client, pod: &PodInfo) -> Result<Value, String> {
    let path = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name);
    let found = api::call(api, http::Method::GET, &path, api::JSON, &Value::Null).await;
    let found = found.map_err(|error| error.message)?;
    if found["metadata"]["uid"].as_str() != Some(pod.uid.as_str()) {
        return Err(format!("pod {}/{} is another one by now", pod.namespace, pod.name));
    }
    Ok(found)
}

/// Go's JSON takes field names in any case, but extenders write those of the Go types.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct FilterAnswer {
    #[serde(alias = "nodes")]
    nodes: Option<NodeList>,
    #[serde(alias = "nodenames", alias = "nodeNames")]
    node_names: Option<Vec<Name>>,
    #[serde(rename = "FailedNodes", alias = "failedNodes")]
    failed: Option<BTreeMap<Name, String>>,
    #[serde(rename = "FailedAndUnresolvableNodes", alias = "failedAndUnresolvableNodes")]
    unresolvable: Option<BTreeMap<Name, String>>,
    #[serde(alias = "error")]
    error: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeList {
    items: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostPriority {
    #[serde(alias = "host")]
    host: Name,
    #[serde(alias = "score")]
    score: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PreemptAnswer {
    #[serde(rename = "NodeNameToMetaVictims", alias = "nodeNameToMetaVictims")]
    victims: Option<BTreeMap<Name, Option<MetaVictims>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetaVictims {
    #[serde(rename = "Pods", alias = "pods")]
    pods: Option<Vec<MetaPod>>,
    #[serde(rename = "NumPDBViolations", alias = "numPDBViolations")]
    violations: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetaPod {
    #[serde(rename = "UID", alias = "uid")]
    uid: Name,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BindAnswer {
    #[serde(alias = "error")]
    error: String,
}
