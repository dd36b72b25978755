//! What a decision of RBAC costs among many bindings: `cargo bench -p kubewright-apiserver --bench authorize`.
#![allow(missing_docs, reason = "a measurement, not a library")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use kubewright_apiserver::authz::rbac::{GROUP, Rbac};
use kubewright_apiserver::authz::{Attributes, Authorizer};
use kubewright_apiserver::objects::GroupResource;
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::ApiServer;
use kubewright_store::MemoryStore;
use serde_json::json;

const BINDINGS: usize = 10_000;

/// Bindings of as many users, a hundred in each namespace, beside those that every server has.
async fn policy() -> Rbac {
    let server = ApiServer::builder(Arc::new(MemoryStore::new())).build().await.expect("a server");
    let objects = server.objects();
    for n in 0..BINDINGS {
        let binding = json!({
            "metadata": {"name": format!("binding-{n}"), "namespace": format!("space-{}", n % 100)},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"apiGroup": GROUP, "kind": "User", "name": format!("user-{n}")},
                {"apiGroup": GROUP, "kind": "Group", "name": format!("team-{}", n % 500)}],
        });
        objects.create(GroupResource::new(GROUP, "rolebindings"), binding).await.expect("it is created");
    }
    let rbac = Rbac::observing(&*objects);
    server.shutdown().await;
    rbac
}

fn request(user: &str, groups: &[&str], verb: &str) -> Attributes {
    Attributes {
        user: User::new(user, groups),
        verb: verb.into(),
        version: "v1".into(),
        namespace: "space-42".into(),
        resource: "pods".into(),
        is_resource_request: true,
        ..Attributes::default()
    }
}

fn authorize(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let rbac = runtime.block_on(policy());
    let groups = ["team-42", "system:authenticated"];
    for (name, asked, allowed) in [
        ("one binding, allowed", request("user-42", &["system:authenticated"], "list"), true),
        ("a team's bindings, allowed", request("nobody", &groups, "list"), true),
        ("a team's bindings, refused", request("nobody", &groups, "escalate"), false),
        ("no binding, refused", request("nobody", &["system:authenticated"], "list"), false),
    ] {
        assert_eq!(runtime.block_on(rbac.authorize(&asked)).is_allowed(), allowed, "{name}");
        criterion.bench_function(&format!("RBAC among {BINDINGS} bindings: {name}"), |bencher| {
            bencher.iter(|| runtime.block_on(rbac.authorize(black_box(&asked))));
        });
    }
}

criterion_group!(benches, authorize);
criterion_main!(benches);
