//! Who may write what into the status of a claim: what was allocated, and who uses it, belongs to whoever binds claims;
//! what is said of a device belongs to its driver. Both are asked about as subresources that nobody serves,
//! `resourceclaims/binding` and `resourceclaims/driver`.

use std::collections::{BTreeMap, BTreeSet};

use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::names;
use kubewright_api::status::Status;
use serde_json::Value;

use crate::authz::{Attributes, Authorizer};
use crate::layers::forbidden;
use crate::request::User;

const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// Before the verb where a driver on a claim's own node writes, and where any other does.
const ASSOCIATED: &str = "associated-node:";
const ARBITRARY: &str = "arbitrary-node:";

/// What the request may not change so.
pub(super) async fn unauthorized(
    authorizer: &dyn Authorizer,
    request: &Attributes,
    new: &Value,
    old: &Value,
) -> FieldErrors {
    let (new, old) = (&new["status"], &old["status"]);
    let mut faults = FieldErrors::new();
    let status = Path::new("status");
    let unchanged = |field: &str| equal(new.get(field), old.get(field));
    if !(unchanged("allocation") && unchanged("reservedFor")) {
        let binding = Attributes { namespace: String::new(), ..synthetic(request, "binding", &request.verb, "") };
        if let Err(refusal) = ask(authorizer, binding).await {
            let verb = &request.verb;
            let why = format!(
                "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", \
                 verb=\"{verb}\" permission: {}",
                refusal.message
            );
            faults.push(FieldError::forbidden(&status.child("allocation"), why));
        }
    }
    // What is deallocated has nothing said of it any more.
    if new["allocation"].is_null() {
        return faults;
    }
    let own_node = is_on(&request.user, node_of(&new["allocation"]));
    let verbs: Vec<String> = [ASSOCIATED, ARBITRARY][usize::from(!own_node)..]
        .iter()
        .map(|prefix| format!("{prefix}{}", request.verb))
        .collect();
    for driver in changed_drivers(new, old) {
        let mut first = None;
        for verb in &verbs {
            match ask(authorizer, synthetic(request, "driver", verb, driver)).await {
                Ok(()) => {
                    first = None;
                    break;
                }
                Err(refusal) => _ = first.get_or_insert(refusal),
            }
        }
        if let Some(refusal) = first {
            let why = format!(
                "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{}]\" permission: {}",
                verbs.join(" "),
                refusal.message
            );
            faults.push(FieldError::forbidden(&status.child("devices"), why));
        }
    }
    faults
}

fn synthetic(request: &Attributes, subresource: &str, verb: &str, name: &str) -> Attributes {
    Attributes { subresource: subresource.into(), verb: verb.into(), name: name.into(), ..request.clone() }
}

async fn ask(authorizer: &dyn Authorizer, attributes: Attributes) -> Result<(), Status> {
    let decision = authorizer.authorize(&attributes).await;
    if decision.is_allowed() { Ok(()) } else { Err(forbidden(&attributes, decision)) }
}

/// Whether two values are one, what is left out or empty in lists and texts included: an empty structure is something.
fn equal(a: Option<&Value>, b: Option<&Value>) -> bool {
    let is_nothing = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => false,
    };
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            a.keys().chain(b.keys()).all(|key| equal(a.get(key), b.get(key)))
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if !a.is_empty() => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(Some(a), Some(b)))
        }
        (a, b) => a == b || (is_nothing(a) && is_nothing(b)),
    }
}

/// The drivers of devices of which something else is said, or nothing any more, in order.
fn changed_drivers<'a>(new: &'a Value, old: &'a Value) -> BTreeSet<&'a str> {
    let devices = |status: &'a Value| status["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let id =
        |device: &'a Value| ["driver", "pool", "device", "shareID"].map(|part| device[part].as_str().unwrap_or(""));
    let mut before: BTreeMap<_, &Value> = devices(old).iter().map(|device| (id(device), device)).collect();
    let mut changed = BTreeSet::new();
    for device in devices(new) {
        if !before.remove(&id(device)).is_some_and(|old| equal(Some(old), Some(device))) {
            changed.insert(id(device)[0]);
        }
    }
    changed.extend(before.keys().map(|id| id[0]));
    changed
}

/// The one node by whose name the allocation selects, and by nothing else.
fn node_of(allocation: &Value) -> &str {
    let one = |list: &Value| match list.as_array().map(Vec::as_slice) {
        Some([only]) => only.clone(),
        _ => Value::Null,
    };
    let terms = &allocation["nodeSelector"]["nodeSelectorTerms"];
    let term = one(terms);
    let by_labels = term["matchExpressions"].as_array().is_some_and(|list| !list.is_empty());
    let field = one(&term["matchFields"]);
    let by_name = field["key"] == "metadata.name" && field["operator"] == "In" && one(&field["values"]).is_string();
    match by_name && !by_labels {
        true => terms[0]["matchFields"][0]["values"][0].as_str().unwrap_or_default(),
        false => "",
    }
}

/// Whether that is a service account whose token belongs to a pod on that node.
fn is_on(user: &User, node: &str) -> bool {
    let account = user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let account = account.is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    let own = user.extra.get(NODE_NAME).map(Vec::as_slice);
    account && !node.is_empty() && names::dns1123_subdomain(node).is_empty() && own == Some(&[node.to_owned()])
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use serde_json::json;

    use super::*;
    use crate::authz::Decision;

    /// Allows `verb/subresource[/name]`, as listed, and says no otherwise.
    struct Only(&'static [&'static str]);

    #[async_trait]
    impl Authorizer for Only {
        async fn authorize(&self, a: &Attributes) -> Decision {
            let asked = format!("{}/{}/{}/{}", a.verb, a.subresource, a.namespace, a.name);
            match self.0.contains(&asked.as_str()) {
                true => Decision::Allow(String::new()),
                false => Decision::NoOpinion("denied".into()),
            }
        }
    }

    fn driver_on(node: &str) -> User {
        let mut user = User::new("system:serviceaccount:kube-system:driver", &[]);
        user.extra.insert(NODE_NAME.into(), vec![node.into()]);
        user
    }

    fn claim(status: Value) -> Value {
        json!({"metadata": {"name": "c"}, "status": status})
    }

    fn on_node(node: &str) -> Value {
        let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
        json!({"nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]}})
    }

    fn device(driver: &str, name: &str, data: i64) -> Value {
        json!({"driver": driver, "pool": "p", "device": name, "data": {"n": data}})
    }

    async fn check(
        who: &User,
        verb: &str,
        allowed: &'static [&'static str],
        (old, new): (Value, Value),
    ) -> Vec<String> {
        let request = Attributes {
            user: who.clone(),
            verb: verb.into(),
            group: "resource.k8s.io".into(),
            resource: "resourceclaims".into(),
            subresource: "status".into(),
            namespace: "ns".into(),
            name: "c".into(),
            is_resource_request: true,
            ..Attributes::default()
        };
        let faults = unauthorized(&Only(allowed), &request, &claim(new), &claim(old)).await;
        faults.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn allocating_and_reserving_is_for_whoever_may_bind() {
        let alice = User::new("alice", &[]);
        let nothing = || json!({});
        let allocated = || json!({"allocation": {"devices": {}}});
        let reserved = || json!({"allocation": {"devices": {}}, "reservedFor": [{"name": "p"}]});
        let why = "status.allocation: Forbidden: changing status.allocation or status.reservedFor requires \
                   resource=\"resourceclaims/binding\", verb=\"update\" permission: resourceclaims.resource.k8s.io is \
                   forbidden: User \"alice\" cannot update resource \"resourceclaims/binding\" in API group \
                   \"resource.k8s.io\" at the cluster scope: denied";
        // The last one frees it again.
        for (old, new) in
            [(nothing(), allocated()), (allocated(), reserved()), (reserved(), allocated()), (reserved(), nothing())]
        {
            let change = || (old.clone(), new.clone());
            assert_eq!(check(&alice, "update", &[], change()).await, [why]);
            assert!(check(&alice, "update", &["update/binding//"], change()).await.is_empty());
            assert_eq!(check(&alice, "patch", &["update/binding//"], change()).await.len(), 1);
            assert!(check(&alice, "patch", &["patch/binding//"], change()).await.is_empty());
            // In one namespace alone is not enough, nor for one claim.
            assert_eq!(
                check(&alice, "update", &["update/binding/ns/", "update/binding/ns/c"], change()).await.len(),
                1
            );
        }
        let empty = json!({"allocation": {"devices": {}}, "reservedFor": [], "devices": []});
        assert!(check(&alice, "update", &[], (allocated(), empty)).await.is_empty(), "nothing changes");
    }

    #[tokio::test]
    async fn what_is_said_of_devices_is_for_their_drivers() {
        let with = |devices: Value| {
            let mut status = json!({"allocation": on_node("n1")});
            status["devices"] = devices;
            status
        };
        let (none, one) = (json!([]), json!([device("a.io", "d", 1)]));
        let (near, far, person) = (driver_on("n1"), driver_on("n2"), User::new("alice", &[]));
        let near_may: &[&str] = &["associated-node:update/driver/ns/a.io"];
        let any_may: &[&str] = &["arbitrary-node:update/driver/ns/a.io"];
        for change in [
            (none.clone(), one.clone()),
            (one.clone(), json!([device("a.io", "d", 2)])),
            (one.clone(), none.clone()),
            (one.clone(), json!([device("a.io", "d", 1), device("a.io", "e", 1)])),
        ] {
            let change = || (with(change.0.clone()), with(change.1.clone()));
            assert!(check(&near, "update", near_may, change()).await.is_empty());
            assert!(check(&near, "update", any_may, change()).await.is_empty(), "the other verb will do as well");
            assert_eq!(check(&near, "patch", near_may, change()).await.len(), 1);
            for other in [&far, &person] {
                assert_eq!(check(other, "update", near_may, change()).await.len(), 1);
                assert!(check(other, "update", any_may, change()).await.is_empty());
            }
        }
        // Every driver of whose devices something changed is asked about, and no other.
        let two = json!([device("a.io", "d", 2), device("b.io", "d", 1), device("c.io", "d", 1)]);
        let before = json!([device("a.io", "d", 1), device("c.io", "d", 1)]);
        let faults = check(&near, "update", near_may, (with(before), with(two))).await;
        assert_eq!(
            faults,
            ["status.devices: Forbidden: changing status.devices requires resource=\"resourceclaims/driver\", \
             verb=\"[associated-node:update arbitrary-node:update]\" permission: resourceclaims.resource.k8s.io \"b.io\" \
             is forbidden: User \"system:serviceaccount:kube-system:driver\" cannot associated-node:update resource \
             \"resourceclaims/driver\" in API group \"resource.k8s.io\" in the namespace \"ns\": denied"]
        );
        assert!(check(&near, "update", near_may, (with(one.clone()), with(one))).await.is_empty());
    }

    #[test]
    fn a_node_is_meant_by_its_name_alone() {
        let node = |allocation: Value| node_of(&allocation).to_owned();
        assert_eq!(node(on_node("n1")), "n1");
        let field =
            |operator: &str, values: Value| json!({"key": "metadata.name", "operator": operator, "values": values});
        for terms in [
            json!([]),
            json!([{"matchFields": [field("In", json!(["n1", "n2"]))]}]),
            json!([{"matchFields": [field("NotIn", json!(["n1"]))]}]),
            json!([{"matchFields": [field("In", json!(["n1"]))]}, {}]),
            json!([{"matchFields": [field("In", json!(["n1"]))], "matchExpressions": [{"key": "a"}]}]),
        ] {
            assert_eq!(node(json!({"nodeSelector": {"nodeSelectorTerms": terms}})), "", "{terms}");
        }
        let mut two = driver_on("n1");
        two.extra.insert(NODE_NAME.into(), vec!["n1".into(), "n2".into()]);
        assert!(is_on(&driver_on("n1"), "n1") && !is_on(&two, "n1") && !is_on(&driver_on(""), ""));
        let mut person = driver_on("n1");
        person.name = "system:node:n1".into();
        assert!(!is_on(&person, "n1"));
    }
}
