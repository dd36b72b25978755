//! Controllers against the API server in one process, with a kubelet that only says what a test wants to hear.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::runtime::{WatchStreamExt, watcher};
use kubewright::apiserver::request::User;
use kubewright::apiserver::server::ApiServer;
use kubewright::controllers::Manager;
use kubewright::store::MemoryStore;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a condition may take to come true before a test gives up.
const LIMIT: Duration = Duration::from_secs(60);

struct Cluster {
    client: kube::Client,
    server: ApiServer,
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Cluster {
    async fn start() -> Self {
        let server = ApiServer::builder(Arc::new(MemoryStore::new())).build().await.expect("a server");
        let client = kube::Client::new(server.as_user(User::admin()), "default");
        let cancel = CancellationToken::new();
        kubewright::controllers::grant_access(&client).await.expect("roles for controllers");
        // Each controller with its own rights only, as in the reference assembly.
        let own = server.clone();
        let account = move |account: &str| {
            let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
            let user = User::new(&format!("system:serviceaccount:kube-system:{account}"), &groups);
            kube::Client::new(own.as_user(user), "default")
        };
        let reader = server.as_user(User::new("system:kube-controller-manager", &["system:authenticated"]));
        let manager = Manager::builder(kube::Client::new(reader, "default"))
            .client_of_account(account)
            .with_all()
            .configure(|config| {
                config.root_ca = Some("certificates".into());
                config.cluster_cidrs = vec!["10.244.0.0/16".into()];
            })
            .build()
            .expect("controllers");
        let tasks =
            vec![tokio::spawn(manager.run(cancel.clone())), tokio::spawn(kubelet(client.clone(), cancel.clone()))];
        Self { client, server, cancel, tasks }
    }

    async fn stop(self) {
        self.cancel.cancel();
        for task in self.tasks {
            task.await.expect("no task panics");
        }
        self.server.shutdown().await;
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::default_namespaced(self.client.clone())
    }

    /// Waits until what is selected is as wanted, by watching it.
    async fn until<K>(&self, api: Api<K>, what: &str, mut wanted: impl FnMut(&[K]) -> bool)
    where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
    {
        let wait = async {
            // Every change of any of them is a reason to look at all of them again.
            let mut changes = watcher(api.clone(), watcher::Config::default()).default_backoff().boxed();
            loop {
                let now = api.list(&ListParams::default()).await.expect("a list").items;
                if wanted(&now) {
                    return;
                }
                changes.try_next().await.expect("a watch");
            }
        };
        if tokio::time::timeout(LIMIT, wait).await.is_err() {
            let now = api.list(&ListParams::default()).await.expect("a list").items;
            let names: Vec<String> = now.iter().map(|object| format!("{:?}", object.meta().name)).collect();
            panic!("{what} did not come true; there are {names:?}");
        }
    }

    async fn create<K>(&self, api: Api<K>, object: Value)
    where
        K: kube::Resource + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
    {
        let object: K = serde_json::from_value(object).expect("a sound object");
        api.create(&PostParams::default(), &object).await.expect("it is created");
    }
}

/// Binds pods, reports them ready, and lets deleted ones go. A pod labelled `ends` succeeds at once.
async fn kubelet(client: kube::Client, cancel: CancellationToken) {
    let all: Api<Pod> = Api::all(client.clone());
    let run = async {
        let mut pods = watcher(all, watcher::Config::default()).default_backoff().applied_objects().boxed();
        while let Ok(Some(pod)) = pods.try_next().await {
            let metadata = &pod.metadata;
            let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else { continue };
            let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let status = pod.status.clone().unwrap_or_default();
            // Races with controllers end in conflicts and missing objects; the next event brings the pod again.
            if metadata.deletion_timestamp.is_some() {
                _ = api.delete(name, &DeleteParams::default().grace_period(0)).await;
            } else if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) {
                let node = target(&pod).unwrap_or_else(|| "node-a".to_owned());
                let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": node}});
                _ = api.create_subresource::<Value, Value>("binding", name, &PostParams::default(), &binding).await;
            } else if status.phase.as_deref() == Some("Pending") {
                let ends = metadata.labels.as_ref().is_some_and(|labels| labels.contains_key("ends"));
                let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
                let status = if ends {
                    json!({"phase": "Succeeded"})
                } else {
                    json!({"phase": "Running", "conditions": ready, "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]})
                };
                let patch = Patch::Merge(json!({"status": status}));
                _ = api.patch_status(name, &PatchParams::default(), &patch).await;
            }
        }
    };
    cancel.run_until_cancelled(run).await;
}

/// The node that a daemon's pod is meant for.
fn target(pod: &Pod) -> Option<String> {
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    terms.first()?.match_fields.as_ref()?.first()?.values.as_ref()?.first().cloned()
}

fn deployment(image: &str, replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    })
}

fn rolled_out(generation: i64, replicas: i32) -> impl FnMut(&[Deployment]) -> bool {
    move |all| {
        all.iter().any(|deployment| {
            let Some(status) = &deployment.status else { return false };
            status.observed_generation >= Some(generation)
                && status.available_replicas == Some(replicas)
                && status.updated_replicas == Some(replicas)
                && status.replicas == Some(replicas)
        })
    }
}

#[tokio::test]
async fn a_deployment_is_rolled_out_served_undone_and_collected() {
    let cluster = Cluster::start().await;
    let deployments = cluster.api::<Deployment>();
    cluster.create(deployments.clone(), deployment("one", 3)).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    cluster.create(cluster.api::<Service>(), service).await;
    cluster.until(deployments.clone(), "the rollout", rolled_out(1, 3)).await;
    let endpoints = |slices: &[EndpointSlice]| {
        let ready = slices
            .iter()
            .flat_map(|slice| slice.endpoints.iter().flatten())
            .filter(|endpoint| endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true)));
        ready.count() == 3
    };
    cluster.until(cluster.api::<EndpointSlice>(), "three ready endpoints", endpoints).await;
    let told = |events: &[Event]| {
        let scaled = |event: &Event| event.reason.as_deref() == Some("ScalingReplicaSet");
        events.iter().any(scaled)
    };
    cluster.until(cluster.api::<Event>(), "an event about it", told).await;

    let patch = |image: &str| {
        Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}))
    };
    deployments.patch("web", &PatchParams::default(), &patch("two")).await.unwrap();
    cluster.until(deployments.clone(), "the second rollout", rolled_out(2, 3)).await;
    deployments.patch("web", &PatchParams::default(), &patch("one")).await.unwrap();
    cluster.until(deployments.clone(), "the rollout back", rolled_out(3, 3)).await;
    let sets = cluster.api::<ReplicaSet>();
    assert_eq!(sets.list(&ListParams::default()).await.unwrap().items.len(), 2, "the old set was taken up again");
    let revision = |deployment: &Deployment| {
        deployment.metadata.annotations.as_ref().and_then(|all| all.get("deployment.kubernetes.io/revision").cloned())
    };
    assert_eq!(revision(&deployments.get("web").await.unwrap()).as_deref(), Some("3"));

    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    cluster.until(sets, "no replica set", <[_]>::is_empty).await;
    cluster.until(cluster.api::<Pod>(), "no pod", <[_]>::is_empty).await;
    cluster.stop().await;
}

#[tokio::test]
async fn dependents_go_first_or_are_let_go_as_asked() {
    let cluster = Cluster::start().await;
    let (deployments, sets) = (cluster.api::<Deployment>(), cluster.api::<ReplicaSet>());
    cluster.create(deployments.clone(), deployment("one", 2)).await;
    cluster.until(deployments.clone(), "the rollout", rolled_out(1, 2)).await;
    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    deployments.delete("web", &orphan).await.unwrap();
    cluster.until(deployments.clone(), "no deployment", <[_]>::is_empty).await;
    let free =
        |sets: &[ReplicaSet]| sets.len() == 1 && sets[0].metadata.owner_references.as_ref().is_none_or(Vec::is_empty);
    cluster.until(sets.clone(), "a free replica set", free).await;

    cluster.create(deployments.clone(), deployment("one", 2)).await;
    cluster.until(deployments.clone(), "the rollout of the adopted set", rolled_out(1, 2)).await;
    assert_eq!(sets.list(&ListParams::default()).await.unwrap().items.len(), 1);
    deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
    cluster.until(deployments, "no deployment", <[_]>::is_empty).await;
    assert!(sets.list(&ListParams::default()).await.unwrap().items.is_empty(), "its set went before it");
    cluster.stop().await;
}

#[tokio::test]
async fn jobs_complete_and_daemons_run_everywhere() {
    let cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    for name in ["node-a", "node-b"] {
        cluster.create(nodes.clone(), json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})).await;
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }
    let ranged = |nodes: &[Node]| {
        let range = |node: &Node| node.spec.as_ref().and_then(|spec| spec.pod_cidr.clone());
        nodes.iter().filter_map(range).collect::<std::collections::BTreeSet<_>>().len() == 2
    };
    cluster.until(nodes, "a pod range for each node", ranged).await;

    let template = |labels: Value| json!({"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let jobs = cluster.api::<Job>();
    let spec = json!({"completions": 3, "parallelism": 2, "completionMode": "Indexed", "template": template(json!({"ends": "soon"}))});
    cluster
        .create(
            jobs.clone(),
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"}, "spec": spec}),
        )
        .await;
    let complete = |jobs: &[Job]| {
        jobs.iter().filter_map(|job| job.status.as_ref()).any(|status| {
            status.succeeded == Some(3)
                && status.completed_indexes.as_deref() == Some("0-2")
                && status.conditions.iter().flatten().any(|held| held.type_ == "Complete" && held.status == "True")
        })
    };
    cluster.until(jobs, "the completed job", complete).await;

    let mut template = template(json!({"app": "agent"}));
    template["spec"]["restartPolicy"] = json!("Always");
    let spec = json!({"selector": {"matchLabels": {"app": "agent"}}, "template": template});
    let sets = cluster.api::<DaemonSet>();
    cluster
        .create(
            sets.clone(),
            json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": spec}),
        )
        .await;
    let everywhere = |sets: &[DaemonSet]| {
        sets.iter()
            .filter_map(|set| set.status.as_ref())
            .any(|status| status.number_ready == 2 && status.desired_number_scheduled == 2)
    };
    cluster.until(sets, "a daemon on each node", everywhere).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_is_furnished_and_emptied() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    cluster
        .create(namespaces.clone(), json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}))
        .await;
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "team");
    cluster.until(accounts, "its service account", |all| !all.is_empty()).await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "team");
    cluster.until(maps.clone(), "its root certificates", |all| !all.is_empty()).await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), "team");
    cluster.create(deployments.clone(), deployment("one", 2)).await;
    cluster.until(deployments, "the rollout", rolled_out(1, 2)).await;
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    let gone = |all: &[Namespace]| !all.iter().any(|namespace| namespace.metadata.name.as_deref() == Some("team"));
    cluster.until(namespaces, "the namespace's end", gone).await;
    assert!(maps.list(&ListParams::default()).await.unwrap().items.is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn a_budget_grants_one_eviction_after_the_other() {
    let cluster = Cluster::start().await;
    cluster.create(cluster.api::<Deployment>(), deployment("one", 3)).await;
    let budgets = cluster.api::<PodDisruptionBudget>();
    let spec = json!({"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}});
    cluster.create(budgets.clone(), json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": spec})).await;
    let allows = |wanted: i32| {
        move |all: &[PodDisruptionBudget]| {
            let status = all.iter().find_map(|budget| budget.status.as_ref());
            status.is_some_and(|status| {
                status.disruptions_allowed == Some(wanted) && status.current_healthy == Some(2 + wanted)
            })
        }
    };
    cluster.until(budgets.clone(), "one allowed eviction", allows(1)).await;
    let pods = cluster.api::<Pod>();
    let victim = pods.list(&ListParams::default()).await.unwrap().items.remove(0);
    pods.evict(victim.metadata.name.as_deref().unwrap(), &Default::default()).await.unwrap();
    let replaced = move |all: &[Pod]| all.len() == 3 && all.iter().all(|pod| pod.metadata.uid != victim.metadata.uid);
    cluster.until(pods, "a replacement", replaced).await;
    cluster.until(budgets, "an allowed eviction again", allows(1)).await;
    cluster.stop().await;
}
