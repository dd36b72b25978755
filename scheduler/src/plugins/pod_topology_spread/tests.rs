use serde_json::json;

use super::*;
use crate::cache::Snapshot;
use crate::framework::{CycleState, FilterPlugin, PreFilterOutcome, PreFilterPlugin};
use crate::testing::{NodeMaker, PodMaker, node, pod, scores, snapshot};

fn hosts() -> [NodeMaker; 4] {
    [("node-a", "zone1"), ("node-b", "zone1"), ("node-x", "zone2"), ("node-y", "zone2")]
        .map(|(name, zone)| node(name).labels(&[("zone", zone), ("node", name)]))
}

fn foo(name: &str, on: &str) -> PodMaker {
    pod(name).labels(&[("foo", "")]).on(on)
}

fn spread(max_skew: i32, key: &str, when: &str) -> serde_json::Value {
    json!({"maxSkew": max_skew, "topologyKey": key, "whenUnsatisfiable": when,
           "labelSelector": {"matchExpressions": [{"key": "foo", "operator": "Exists"}]}})
}

fn verdicts(snapshot: &Snapshot, pod: PodMaker) -> Vec<Option<String>> {
    let (plugin, pod, mut state) = (PodTopologySpread::default(), pod.build(), CycleState::new());
    assert_eq!(PreFilterPlugin::pre_filter(&plugin, &mut state, &pod, snapshot), Ok(PreFilterOutcome::AllNodes));
    let judge = |node| FilterPlugin::filter(&plugin, &state, &pod, node).err().map(|status| status.message());
    let mut nodes: Vec<_> = snapshot.nodes().collect();
    nodes.sort_by_key(|node| node.name().clone());
    nodes.into_iter().map(judge).collect()
}

#[track_caller]
fn check(constraints: &[serde_json::Value], existing: &[&str], expected: [bool; 4]) {
    let pods = existing.iter().enumerate().map(|(at, on)| foo(&format!("p{at}"), on));
    let asked = pod("p").labels(&[("foo", "")]).spread(constraints);
    let fits: Vec<bool> = verdicts(&snapshot(hosts(), pods), asked).iter().map(Option::is_none).collect();
    assert_eq!(fits, expected, "with {existing:?}");
}

#[test]
fn the_fullest_domains_are_refused() {
    let zone = spread(1, "zone", "DoNotSchedule");
    let host = spread(1, "node", "DoNotSchedule");
    check(std::slice::from_ref(&zone), &[], [true; 4]);
    check(std::slice::from_ref(&zone), &["node-a", "node-b", "node-y"], [false, false, true, true]);
    check(std::slice::from_ref(&host), &["node-a", "node-b"], [false, false, true, true]);
    check(std::slice::from_ref(&host), &["node-a", "node-b", "node-x", "node-y"], [true; 4]);
    check(&[zone.clone(), host.clone()], &["node-a", "node-b", "node-y"], [false, false, true, false]);
    check(&[zone, host], &["node-a", "node-b", "node-x", "node-y", "node-y"], [true, true, false, false]);
}

#[test]
fn too_few_domains_count_as_an_empty_one() {
    let mut zone = spread(1, "zone", "DoNotSchedule");
    zone["minDomains"] = json!(3);
    check(&[zone.clone()], &["node-a", "node-x"], [false; 4]);
    check(&[zone.clone()], &["node-a"], [false, false, true, true]);
    zone["minDomains"] = json!(2);
    check(&[zone], &["node-a", "node-x"], [true; 4]);
}

#[test]
fn a_node_without_the_label_is_in_no_domain() {
    let mut nodes: Vec<NodeMaker> = hosts().into();
    nodes.push(node("node-z"));
    let asked = pod("p").labels(&[("foo", "")]).spread(&[spread(1, "zone", "DoNotSchedule")]);
    let verdicts = verdicts(&snapshot(nodes, []), asked);
    assert_eq!(verdicts[4].as_deref(), Some(PodTopologySpread::REASON_LABEL));
    assert!(verdicts[..4].iter().all(Option::is_none));
}

#[test]
fn node_affinity_and_taints_decide_which_nodes_count() {
    let asked = |constraint: serde_json::Value| {
        pod("p").labels(&[("foo", "")]).node_selector(&[("zone", "zone1")]).spread(&[constraint])
    };
    let cluster = snapshot(hosts(), [foo("1", "node-a"), foo("2", "node-b")]);
    let host = spread(1, "node", "DoNotSchedule");
    let fits = |pod| verdicts(&cluster, pod).iter().map(Option::is_none).collect::<Vec<_>>();
    assert_eq!(fits(asked(host.clone())), [true, true, true, true]);
    let mut all = host.clone();
    all["nodeAffinityPolicy"] = json!("Ignore");
    assert_eq!(fits(asked(all)), [false, false, true, true]);
    let [a, b, x, y] = hosts();
    let cluster = snapshot(
        [a, b, x.taints(&[("k", "v", "NoSchedule")]), y],
        [foo("1", "node-a"), foo("2", "node-b"), foo("3", "node-y")],
    );
    let fits = |pod| verdicts(&cluster, pod).iter().map(Option::is_none).collect::<Vec<_>>();
    let asked = |c: serde_json::Value| pod("p").labels(&[("foo", "")]).spread(&[c]);
    assert_eq!(fits(asked(host.clone())), [false, false, true, false]);
    let mut honored = host;
    honored["nodeTaintsPolicy"] = json!("Honor");
    assert_eq!(fits(asked(honored)), [true; 4]);
}

#[test]
fn match_label_keys_narrow_the_selector() {
    let mut host = spread(1, "node", "DoNotSchedule");
    host["matchLabelKeys"] = json!(["version"]);
    let existing = [
        foo("1", "node-a").labels(&[("foo", ""), ("version", "1")]),
        foo("2", "node-b").labels(&[("foo", ""), ("version", "2")]),
    ];
    let asked = pod("p").labels(&[("foo", ""), ("version", "1")]).spread(&[host]);
    let fits: Vec<bool> = verdicts(&snapshot(hosts(), existing), asked).iter().map(Option::is_none).collect();
    assert_eq!(fits, [false, true, true, true]);
}

#[test]
fn other_namespaces_and_dying_pods_do_not_count() {
    let host = spread(1, "node", "DoNotSchedule");
    let existing = [foo("1", "node-a").namespace("other"), foo("2", "node-b").deleted()];
    let asked = pod("p").labels(&[("foo", "")]).spread(&[host]);
    assert!(verdicts(&snapshot(hosts(), existing), asked).iter().all(Option::is_none));
}

#[test]
fn emptier_domains_are_better() {
    let host =
        || ["node-a", "node-b", "node-c", "node-d"].map(|name| node(name).labels(&[("kubernetes.io/hostname", name)]));
    let asked = || pod("p").labels(&[("foo", "")]).spread(&[spread(1, "kubernetes.io/hostname", "ScheduleAnyway")]);
    let plugin = PodTopologySpread::default;
    assert_eq!(scores(plugin(), asked(), host(), []), [100, 100, 100, 100]);
    let existing = ["node-a", "node-b", "node-b", "node-c", "node-d", "node-d", "node-d", "node-d"];
    let existing = existing.iter().enumerate().map(|(at, on)| foo(&format!("p{at}"), on)).collect::<Vec<_>>();
    // 1, 2, 1 and 4 pods times ln(6), rounded: 2, 4, 2 and 7.
    assert_eq!(scores(plugin(), asked(), host(), existing), [100, 71, 100, 28]);
}

#[test]
fn pods_of_a_service_are_spread_by_default() {
    use crate::object::{Workload, WorkloadKind};
    let mut cluster =
        snapshot(["a", "b"].map(|name| node(name).labels(&[("kubernetes.io/hostname", name)])), [foo("1", "a")]);
    let asked = pod("p").labels(&[("foo", "")]).build();
    let plugin = PodTopologySpread::default();
    assert!(plugin.is_idle(&asked, Unsatisfiable::ScheduleAnyway, &cluster));
    let service = Workload {
        namespace: asked.namespace.clone(),
        name: "s".into(),
        selector: LabelSelector::from_pairs([("foo", "")]),
    };
    cluster.objects_mut().put_workload(WorkloadKind::Service, service);
    assert!(!plugin.is_idle(&asked, Unsatisfiable::ScheduleAnyway, &cluster));
    assert_eq!(plugin.constraints(&asked, Unsatisfiable::ScheduleAnyway, &cluster).len(), 2);
    assert!(plugin.constraints(&asked, Unsatisfiable::DoNotSchedule, &cluster).is_empty());
}
