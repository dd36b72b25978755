use super::*;
use crate::framework::Profile;
use crate::plugins::default_profile;
use crate::testing::node;

fn profiles() -> Vec<Profile> {
    vec![default_profile("default-scheduler").build().unwrap()]
}

fn run(rows: &str) -> SimResult {
    let workload = SimWorkload::read_csv(rows).unwrap_or_else(|error| panic!("{error}"));
    simulate(&workload, &SimConfig::default(), profiles(), None).unwrap()
}

#[test]
fn pods_wait_run_and_end() {
    // One node for one pod at a time: the second waits until the first has ended.
    let result = run("kind,name,at,duration,cpu\nnode,n,,,1\npod,a,0,100,1\npod,b,10,100,1\n");
    assert_eq!((result.arrived, result.placed, result.ended, result.running, result.moves), (2, 2, 2, 0, 0));
    assert!((result.waited_max_seconds - 90.0).abs() < 1.1, "{}", result.waited_max_seconds);
    assert!((result.seconds - 200.0).abs() < 1.1, "{}", result.seconds);
    assert!(result.samples.iter().any(|sample| sample.waiting == 1 && sample.cpu_allocation_percent > 99.0));
    assert!(result.unplaced.is_empty());
}

#[test]
fn pods_that_never_fit_are_asked_why() {
    let result = run("kind,name,at,duration,cpu,selector\nnode,n,,,1,\npod,large,0,10,2,\npod,picky,0,10,1,zone=z\n");
    let why: Vec<(&str, &str)> = result.unplaced.iter().map(|pod| (pod.pod.as_str(), pod.why.as_str())).collect();
    assert_eq!(why.len(), 2);
    assert!(why[0].0 == "large-0" && why[0].1.starts_with("0/1 nodes are available: 1 Insufficient cpu."), "{why:?}");
    assert!(why[1].1.contains("didn't match Pod's node affinity/selector"), "{why:?}");
}

#[test]
fn pods_of_failed_nodes_arrive_anew() {
    let result = run("kind,name,at,duration,cpu,replicas\nnode,n,,,4,2\npod,a,0,1000,2,4\noutage,n-0,100,200,,\n");
    assert_eq!((result.moves, result.ended, result.arrived), (2, 4, 6));
    let down = result.samples.iter().find(|sample| sample.seconds > 100.0 && sample.seconds < 300.0).unwrap();
    assert_eq!((down.nodes, down.running, down.waiting, down.moves), (1, 2, 2, 2));
    assert!(result.waited_max_seconds > 199.0);
}

#[test]
fn important_pods_push_others_out() {
    let rows = "kind,name,at,duration,cpu,priority\nnode,n,,,1,\npod,low,0,500,1,0\npod,high,100,50,1,10\n";
    let result = run(rows);
    assert_eq!((result.moves, result.ended, result.running), (1, 2, 0));
}

#[test]
fn clusters_grow_and_shrink() {
    let rows = "kind,name,at,duration,cpu,replicas\nnode,n,,,1,1\npod,a,0,600,1,3\npod,late,5000,10,1,1\n";
    let workload = SimWorkload::read_csv(rows).unwrap();
    let mut autoscaler =
        GrowAndShrink::new(node("more").capacity(&[("cpu", "1"), ("memory", "8Gi"), ("pods", "10")]).build(), 5);
    let result = simulate(&workload, &SimConfig::default(), profiles(), Some(&mut autoscaler)).unwrap();
    assert_eq!((result.placed, result.ended, result.unplaced.len()), (4, 4, 0));
    let most = result.samples.iter().map(|sample| sample.nodes).max();
    assert!(most > Some(1) && result.samples.last().unwrap().nodes == 1, "{most:?}");
}

#[test]
fn the_same_seed_gives_the_same_result() {
    let config = GenerateConfig { nodes: 10, jobs: 120, outages: 2, ..GenerateConfig::default() };
    let rows = generate(&config);
    assert_eq!(rows, generate(&config));
    assert_ne!(rows, generate(&GenerateConfig { seed: 2, ..config }));
    let workload = SimWorkload::read_csv(&rows).unwrap();
    let make = |seed: usize| (SimConfig { seed: seed as u64, ..SimConfig::default() }, profiles(), None);
    let once = simulate_all(&workload, 3, &make, &|_| {}).unwrap();
    assert_eq!(once, simulate_all(&workload, 3, &make, &|_| {}).unwrap());
    assert_eq!(once.iter().map(|result| result.seed).collect::<Vec<_>>(), [0, 1, 2]);
    for result in &once {
        assert_eq!(result.arrived, result.ended + result.moves + result.running + result.unplaced.len(), "{result:?}");
        assert!(result.cpu_allocation_percent > 5.0 && result.fairness > 0.3 && result.fairness <= 1.0 + 1e-9);
    }
}

#[test]
fn lines_of_json_say_all_that_kubernetes_knows() {
    let lines = r#"{"node": {"metadata": {"name": "n", "labels": {"zone": "a"}}, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}, "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "9"}}}, "replicas": 2}
{"pod": {"metadata": {"name": "p"}, "spec": {"tolerations": [{"operator": "Exists"}], "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}, "at": 1.5, "duration": 3, "replicas": 3, "owner": "o"}
{"outage": "n-0", "at": 100}
"#;
    let workload = SimWorkload::read_jsonl(lines).unwrap();
    assert_eq!((workload.nodes.len(), workload.jobs[0].replicas, workload.outages.len()), (2, 3, 1));
    let result = simulate(&workload, &SimConfig::default(), profiles(), None).unwrap();
    assert_eq!((result.ended, result.samples.last().unwrap().nodes), (3, 1));
}

#[test]
fn bad_rows_are_named() {
    let csv = |text: &str| SimWorkload::read_csv(text).unwrap_err().to_string();
    assert_eq!(
        csv("kind,name,cpu\nnode,n,much\n").split(": ").take(2).collect::<Vec<_>>().join(": "),
        r#"row 2, column "cpu": "much" is not a quantity"#
    );
    assert_eq!(csv("kind,name,at\nnode,n,\n\npod,p,-1\n"), r#"row 4, column "at": "-1" is not a number of seconds"#);
    assert_eq!(csv("kind,name,replicas\npod,p,-1\n"), r#"row 2, column "replicas": -1 is below 0"#);
    assert_eq!(csv("kind,name\nthing,p\n"), r#"row 2, column "kind": "thing" is neither node, pod nor outage"#);
    assert_eq!(csv("kind,name,labels\nnode,n,a\n"), r#"row 2, column "labels": "a" is not key=value"#);
    assert!(
        csv("kind,name,colour\n").starts_with(r#"row 1, column "colour": no such column; there are kind, name, at"#)
    );
    assert_eq!(csv("kind\n"), r#"row 1, column "name": missing"#);
    let jsonl = |text: &str| SimWorkload::read_jsonl(text).unwrap_err().to_string();
    assert!(jsonl("\n{").starts_with(r#"row 2, column "": EOF"#));
    assert_eq!(
        jsonl(r#"{"pod": {"metadata": {"name": "p"}}, "at": "x"}"#),
        r#"row 1, column "at": "x" is not a number of seconds"#
    );
    assert_eq!(
        jsonl(r#"{"pods": 1}"#),
        r#"row 1, column "pods": no such field; there are node, pod, outage, at, duration, replicas, owner"#
    );
    assert_eq!(jsonl(r#"{"at": 1}"#), r#"row 1, column "node": a line has a node, a pod or an outage"#);
}
