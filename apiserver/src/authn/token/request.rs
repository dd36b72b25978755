//! `TokenRequest`: a token for a service account, perhaps bound to a pod, a secret or a node.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::{BoundObject, Claims, Issuer, KubernetesClaims, sign};
use crate::admission::{self, Admission, Operation};
use crate::body::{self, Body};
use crate::environment::{self, Environment};
use crate::layers::read_typed;
use crate::objects::{GroupResource, Objects};
use crate::request::{Context, RequestInfo};
use crate::server::Endpoint;

const GROUP: &str = "authentication.k8s.io";
const DEFAULT_SECONDS: i64 = 3600;
const SECONDS_MIN: i64 = 600;
const SECONDS_MAX: i64 = 1 << 32;
/// What kubelets ask for on behalf of pods. Such tokens live a year, for clients that never read a renewed one, and
/// their use is worth a warning once this time is over.
const POD_TOKEN_SECONDS: i64 = 3607;
const POD_TOKEN_EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// Answers `POST …/serviceaccounts/NAME/token`.
pub struct TokenRequests {
    issuer: Arc<Issuer>,
    objects: Arc<dyn Objects>,
    environment: Arc<dyn Environment>,
    admission: Arc<[Arc<dyn Admission>]>,
}

impl fmt::Debug for TokenRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenRequests").field(&self.issuer.name).finish()
    }
}

/// What a token will be bound to.
#[derive(Default)]
struct Bound {
    pod: Option<BoundObject>,
    secret: Option<BoundObject>,
    node: Option<BoundObject>,
}

impl TokenRequests {
    /// Issues tokens for the accounts among these objects, after these admission plugins agreed.
    #[must_use]
    pub fn new(
        issuer: Arc<Issuer>,
        objects: Arc<dyn Objects>,
        environment: Arc<dyn Environment>,
        admission: Arc<[Arc<dyn Admission>]>,
    ) -> Self {
        Self { issuer, objects, environment, admission }
    }

    async fn create(&self, context: &Context, mut request: Value, options: &Value) -> Result<Value, Status> {
        let RequestInfo { namespace, name, .. } = &*context.info;
        let account = self.objects.get(GroupResource::core("serviceaccounts"), namespace, name).await?;
        let uid = account["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let attributes = |request| {
            let create = Operation::Create;
            admission::AdmissionAttributes::of_request(context, create, "TokenRequest", request, None, options)
        };
        // What the request left out is for admission to see.
        let mut asked = attributes(request);
        admission::admit(&self.admission, &mut asked).await?;
        request = asked.object;
        self.complete(&mut request, namespace, name, &uid)?;
        let faults = validate(&request);
        if !faults.is_empty() {
            return Err(Status::invalid(GROUP, "TokenRequest", "", &faults));
        }
        let completed = attributes(request);
        admission::validate(&self.admission, &completed).await?;
        request = completed.object;
        let bound = self.bind(&request, namespace, name).await?;
        let now = self.environment.now();
        let asked = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
        let audiences: Vec<String> = serde_json::from_value(request["spec"]["audiences"].clone()).unwrap_or_default();
        let for_us = audiences.iter().all(|audience| self.issuer.audiences.contains(audience));
        let extended = bound.pod.is_some() && asked == POD_TOKEN_SECONDS && for_us;
        let lifetime = if extended { POD_TOKEN_EXTENDED_SECONDS } else { asked };
        let seconds = now.as_second();
        let claims = Claims {
            audiences,
            expires: seconds + lifetime,
            issued_at: seconds,
            issuer: self.issuer.name.clone(),
            id: environment::new_uid(&*self.environment),
            not_before: seconds,
            subject: format!("system:serviceaccount:{namespace}:{name}"),
            kubernetes: KubernetesClaims {
                namespace: namespace.clone(),
                node: bound.node,
                pod: bound.pod,
                secret: bound.secret,
                serviceaccount: BoundObject { name: name.clone(), uid },
                warnafter: extended.then_some(seconds + asked),
            },
        };
        let token = sign(&claims, &self.issuer.signing).map_err(Status::internal)?;
        let expires = now + jiff::SignedDuration::from_secs(asked);
        request["metadata"]["creationTimestamp"] = environment::time(now).into();
        request["status"] = json!({"token": token, "expirationTimestamp": environment::time(expires)});
        Ok(request)
    }

    /// Fills in what the request left out, and refuses what contradicts its path.
    fn complete(&self, request: &mut Value, namespace: &str, name: &str, uid: &str) -> Result<(), Status> {
        let given = |field: &str| request["metadata"][field].as_str().unwrap_or_default().to_owned();
        for (field, actual) in [("name", name), ("namespace", namespace)] {
            let value = given(field);
            if !value.is_empty() && value != actual {
                let what = if field == "name" { "name" } else { "namespace" };
                let detail = format!("must match the service account {what} if specified");
                let fault = FieldError::invalid(&Path::new("metadata").child(field), value, detail);
                return Err(Status::invalid(GROUP, "TokenRequest", name, &[fault]));
            }
        }
        let given_uid = given("uid");
        if !given_uid.is_empty() && given_uid != uid {
            let why = format!(
                "the UID in the token request ({given_uid}) does not match the UID of the service account ({uid})"
            );
            return Err(Status::conflict(GROUP, "TokenRequest", name, &why));
        }
        request["apiVersion"] = "authentication.k8s.io/v1".into();
        request["kind"] = "TokenRequest".into();
        request["metadata"] = json!({"name": name, "namespace": namespace, "uid": uid});
        if !request["spec"].is_object() {
            request["spec"] = json!({});
        }
        if request["spec"]["audiences"].as_array().is_none_or(Vec::is_empty) {
            request["spec"]["audiences"] = self.issuer.audiences.clone().into();
        }
        if request["spec"]["expirationSeconds"].is_null() {
            request["spec"]["expirationSeconds"] = DEFAULT_SECONDS.into();
        }
        if request["spec"]["boundObjectRef"].is_null() {
            request["spec"]["boundObjectRef"] = Value::Null;
        }
        Ok(())
    }

    async fn bind(&self, request: &Value, namespace: &str, account: &str) -> Result<Bound, Status> {
        let mut bound = Bound::default();
        let reference = &request["spec"]["boundObjectRef"];
        if !reference.is_object() {
            return Ok(bound);
        }
        let field = |name: &str| reference[name].as_str().unwrap_or_default();
        let (version, kind, name, uid) = (field("apiVersion"), field("kind"), field("name"), field("uid"));
        let resource = match (version.contains('/'), kind) {
            (false, "Pod") => "pods",
            (false, "Secret") => "secrets",
            (false, "Node") => "nodes",
            _ => {
                let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
                let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
                return Err(Status::bad_request(why));
            }
        };
        let space = if resource == "nodes" { "" } else { namespace };
        let object = self.objects.get(GroupResource::core(resource), space, name).await?;
        let actual = object["metadata"]["uid"].as_str().unwrap_or_default();
        if resource == "pods" && object["spec"]["serviceAccountName"] != account {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
            )));
        }
        if !uid.is_empty() && uid != actual {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(Status::conflict("", kind, name, &why));
        }
        let reference = BoundObject { name: name.into(), uid: actual.into() };
        match resource {
            "pods" => {
                bound.node = object["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()).map(|node| {
                    let found = self.objects.cached(GroupResource::core("nodes"), "", node);
                    let uid = found.and_then(|node| node["metadata"]["uid"].as_str().map(str::to_owned));
                    BoundObject { name: node.into(), uid: uid.unwrap_or_default() }
                });
                bound.pod = Some(reference);
            }
            "secrets" => bound.secret = Some(reference),
            _ => bound.node = Some(reference),
        }
        Ok(bound)
    }
}

fn validate(request: &Value) -> FieldErrors {
    let mut faults = FieldErrors::new();
    let path = Path::new("spec").child("expirationSeconds");
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    if seconds < SECONDS_MIN {
        faults.push(FieldError::invalid(&path, seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > SECONDS_MAX {
        faults.push(FieldError::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    faults
}

#[async_trait]
impl Endpoint for TokenRequests {
    fn handles(&self, info: &RequestInfo) -> bool {
        info.is_resource_request
            && info.api_group.is_empty()
            && (info.resource.as_str(), info.subresource.as_str(), info.verb.as_str())
                == ("serviceaccounts", "token", "create")
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let read = read_typed(request, |_| ("authentication.k8s.io/v1".to_owned(), "TokenRequest"));
        let (context, value, options) = match read.await {
            Ok(read) => read,
            Err(status) => return body::status(&status),
        };
        match self.create(&context, value, &options).await {
            Ok(token) => body::json(StatusCode::CREATED, &token),
            Err(status) => body::status(&status),
        }
    }
}
