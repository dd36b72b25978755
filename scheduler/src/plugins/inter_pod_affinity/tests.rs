use serde_json::{Value, json};

use super::*;
use crate::cache::Snapshot;
use crate::framework::{CycleState, FilterPlugin, PreFilterOutcome, PreFilterPlugin};
use crate::object::Namespace;
use crate::testing::{NodeMaker, PodMaker, node, pod, scores, snapshot};

fn nodes() -> [NodeMaker; 3] {
    [("a", "z1", "r1"), ("b", "z2", "r1"), ("c", "z3", "r2")]
        .map(|(name, zone, region)| node(name).labels(&[("zone", zone), ("region", region), ("host", name)]))
}

fn term(key: &str, label: &str, values: &[&str]) -> Value {
    json!({"topologyKey": key,
           "labelSelector": {"matchExpressions": [{"key": label, "operator": "In", "values": values}]}})
}

fn near(terms: &[Value]) -> Value {
    json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
}

fn far(terms: &[Value]) -> Value {
    json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
}

fn verdicts(snapshot: &Snapshot, pod: PodMaker) -> Vec<Option<String>> {
    let (plugin, pod, mut state) = (InterPodAffinity::default(), pod.build(), CycleState::new());
    if PreFilterPlugin::pre_filter(&plugin, &mut state, &pod, snapshot) == Ok(PreFilterOutcome::Skip) {
        return vec![None; snapshot.len()];
    }
    let judge = |node| FilterPlugin::filter(&plugin, &state, &pod, node).err().map(|status| status.message());
    let mut nodes: Vec<_> = snapshot.nodes().collect();
    nodes.sort_by_key(|node| node.name().clone());
    nodes.into_iter().map(judge).collect()
}

#[track_caller]
fn check(asked: PodMaker, existing: Vec<PodMaker>, expected: [Option<&str>; 3]) {
    let found = verdicts(&snapshot(nodes(), existing), asked);
    assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
}

const NOT_NEAR: Option<&str> = Some(InterPodAffinity::REASON_AFFINITY);
const NOT_FAR: Option<&str> = Some(InterPodAffinity::REASON_ANTI_AFFINITY);
const REPELLED: Option<&str> = Some(InterPodAffinity::REASON_EXISTING);

fn security(name: &str, value: &str) -> PodMaker {
    pod(name).labels(&[("security", value)])
}

#[test]
fn wanted_pods_must_be_near() {
    let s1 = || vec![security("e", "S1").on("a")];
    check(pod("p"), s1(), [None; 3]);
    check(pod("p").affinity(near(&[term("host", "security", &["S1"])])), s1(), [None, NOT_NEAR, NOT_NEAR]);
    check(pod("p").affinity(near(&[term("region", "security", &["S1"])])), s1(), [None, None, NOT_NEAR]);
    check(pod("p").affinity(near(&[term("missing", "security", &["S1"])])), s1(), [NOT_NEAR; 3]);
    check(pod("p").affinity(near(&[term("host", "security", &["S2"])])), s1(), [NOT_NEAR; 3]);
    let both = near(&[term("region", "security", &["S1"]), term("host", "other", &["x"])]);
    check(pod("p").affinity(both.clone()), s1(), [NOT_NEAR; 3]);
    let one_pod = vec![pod("e").labels(&[("security", "S1"), ("other", "x")]).on("a")];
    check(pod("p").affinity(both), one_pod, [None, NOT_NEAR, NOT_NEAR]);
    let elsewhere = vec![security("e", "S1").namespace("other").on("a")];
    check(pod("p").affinity(near(&[term("host", "security", &["S1"])])), elsewhere, [NOT_NEAR; 3]);
}

#[test]
fn the_first_of_its_kind_may_go_anywhere() {
    let wants_own_kind = |name: &str| security(name, "S1").affinity(near(&[term("zone", "security", &["S1"])]));
    check(wants_own_kind("p"), vec![], [None; 3]);
    check(wants_own_kind("p"), vec![wants_own_kind("e").on("b")], [NOT_NEAR, None, NOT_NEAR]);
    let misses_the_key = security("p", "S1").affinity(near(&[term("missing", "security", &["S1"])]));
    check(misses_the_key, vec![], [NOT_NEAR; 3]);
}

#[test]
fn unwanted_pods_must_be_far() {
    let s1 = || vec![security("e", "S1").on("a")];
    check(pod("p").affinity(far(&[term("host", "security", &["S1"])])), s1(), [NOT_FAR, None, None]);
    check(pod("p").affinity(far(&[term("region", "security", &["S1"])])), s1(), [NOT_FAR, NOT_FAR, None]);
    let repelling = |key: &str| vec![pod("e").on("a").affinity(far(&[term(key, "security", &["S1"])]))];
    check(security("p", "S1"), repelling("region"), [REPELLED, REPELLED, None]);
    check(security("p", "S2"), repelling("region"), [None; 3]);
    check(security("p", "S1").namespace("other"), repelling("region"), [None; 3]);
}

#[test]
fn namespaces_can_be_named_or_selected() {
    let mut named = term("host", "security", &["S1"]);
    named["namespaces"] = json!(["ns1", "ns2"]);
    let there = vec![security("e", "S1").namespace("ns2").on("a")];
    check(pod("p").affinity(near(&[named])), there.clone(), [None, NOT_NEAR, NOT_NEAR]);
    let mut selected = term("host", "security", &["S1"]);
    selected["namespaceSelector"] = json!({"matchLabels": {"team": "one"}});
    let mut cluster = snapshot(nodes(), there);
    let asked = || pod("p").affinity(far(&[selected.clone()]));
    assert!(verdicts(&cluster, asked()).iter().all(Option::is_none));
    let labels = [("team", "one")].into_iter().collect();
    cluster.objects_mut().put_namespace(Namespace { name: "ns2".into(), labels });
    assert_eq!(verdicts(&cluster, asked())[0].as_deref(), NOT_FAR);
    let mut everywhere = term("host", "security", &["S1"]);
    everywhere["namespaceSelector"] = json!({});
    assert_eq!(verdicts(&cluster, pod("p").affinity(far(&[everywhere])))[0].as_deref(), NOT_FAR);
}

#[test]
fn pods_can_be_added_and_taken_away() {
    let cluster = snapshot(nodes(), [security("e", "S1").on("a")]);
    let plugin = InterPodAffinity::default();
    let asked = pod("p").affinity(far(&[term("host", "security", &["S1"])])).build();
    let mut state = CycleState::new();
    PreFilterPlugin::pre_filter(&plugin, &mut state, &asked, &cluster).unwrap();
    let (a, b) = (cluster.node("a").unwrap(), cluster.node("b").unwrap());
    let fits = |state: &CycleState, node| FilterPlugin::filter(&plugin, state, &asked, node).is_ok();
    assert_eq!((fits(&state, a), fits(&state, b)), (false, true));
    let copy = state.clone();
    PreFilterPlugin::remove_pod(&plugin, &mut state, &asked, &a.pods[0], a);
    PreFilterPlugin::add_pod(&plugin, &mut state, &asked, &a.pods[0], b);
    assert_eq!((fits(&state, a), fits(&state, b)), (true, false));
    assert_eq!((fits(&copy, a), fits(&copy, b)), (false, true));
}

#[test]
fn wishes_are_summed_and_scaled() {
    let wish = |kind: &str, weight: i32, term: Value| json!({kind: {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight, "podAffinityTerm": term}]}});
    let existing = || [security("1", "S1").on("a"), security("2", "S2").on("c")];
    let plugin = InterPodAffinity::default;
    let likes = pod("p").affinity(wish("podAffinity", 5, term("region", "security", &["S1"])));
    assert_eq!(scores(plugin(), likes, nodes(), existing()), [100, 100, 0]);
    let dislikes = pod("p").affinity(wish("podAntiAffinity", 5, term("host", "security", &["S1"])));
    assert_eq!(scores(plugin(), dislikes, nodes(), existing()), [0, 100, 100]);
    // A placed pod's insistence on being near counts as a wish of weight 1.
    let attracting = [security("1", "S1").on("b").affinity(near(&[term("host", "security", &["S9"])]))];
    assert_eq!(scores(plugin(), security("p", "S9"), nodes(), attracting), [0, 100, 0]);
    let repelling = [pod("1").on("b").affinity(wish("podAntiAffinity", 9, term("host", "security", &["S9"])))];
    assert_eq!(scores(plugin(), security("p", "S9"), nodes(), repelling), [100, 0, 100]);
    assert_eq!(scores(plugin(), pod("p"), nodes(), existing()), [0, 0, 0]);
}

#[test]
fn what_is_news_for_a_rejected_pod() {
    let waiting = pod("w").affinity(near(&[term("zone", "security", &["S1"])])).build();
    let placed = |maker: PodMaker| Some(Arc::new(maker.on("a").build()));
    assert!(pod_is_news(&waiting, &Object::Pod(None, placed(security("n", "S1")))));
    assert!(!pod_is_news(&waiting, &Object::Pod(None, placed(security("n", "S2")))));
    assert!(!pod_is_news(&waiting, &Object::Pod(None, Some(Arc::new(security("n", "S1").build())))));
    let avoiding = pod("w").affinity(far(&[term("zone", "security", &["S1"])])).build();
    assert!(pod_is_news(&avoiding, &Object::Pod(placed(security("n", "S1")), None)));
    assert!(!pod_is_news(&avoiding, &Object::Pod(placed(security("n", "S2")), None)));
    let zoned = |zone: &str| Some(Arc::new(node("n").labels(&[("zone", zone)]).build()));
    assert!(node_is_news(&waiting, &Object::Node(None, zoned("z"))));
    assert!(!node_is_news(&waiting, &Object::Node(None, Some(Arc::new(node("n").build())))));
    assert!(node_is_news(&avoiding, &Object::Node(zoned("z"), zoned("y"))));
}
