use std::time::Duration;

use super::*;
use crate::random::Random;

fn trace() -> Trace {
    let mut nodes = "sn,cpu_milli,memory_mib,gpu,model\n".to_owned();
    for n in 0..12 {
        nodes +=
            &format!("n{n},{},262144,{},{}\n", [32000, 64000, 96000][n % 3], [2, 4, 8][n % 3], ["T4", "G2"][n % 2]);
    }
    let mut jobs = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n".to_owned();
    for n in 0..60 {
        let (gpus, milli) = [(1, 500), (1, 1000), (0, 0), (1, 300), (2, 1000)][n % 5];
        jobs +=
            &format!("j{n},{},8192,{gpus},{milli},{}\n", 1000 * (1 + n % 7), if n % 20 == 0 { "T4|V100" } else { "" });
    }
    Trace::read(&nodes, &jobs).unwrap()
}

fn plan(policies: &[&str], seeds: &[u64]) -> Plan {
    let policies = policies.iter().filter_map(|name| by_name(name)).collect();
    Plan { workloads: vec![("small".to_owned(), trace())], policies, seeds: seeds.to_vec(), demand: 1.3 }
}

#[test]
fn every_policy_fills_the_cluster_and_repeats_itself() {
    let trace = trace();
    for (name, make) in POLICIES {
        let once = run(&trace, make(&trace), 42, 1.3);
        assert_eq!(once.policy, name);
        assert!(once.gpu_allocation_percent > 60.0 && once.gpu_allocation_percent <= 100.0, "{once:?}");
        assert!(once.gpu_fragmentation_percent <= 100.0 - once.gpu_allocation_percent + 1e-6, "{once:?}");
        assert!(once.failed > 0 && once.placed > 0);
        assert_eq!(once.failed, once.turned_away.len());
        assert!(once.turned_away[0].why.starts_with("0/12 nodes are available: "), "{:?}", once.turned_away[0]);
        // The last job is a few percent of so small a cluster.
        assert!((127..=130).contains(&once.curve.last().unwrap().arrived_percent));
        assert_eq!(once, run(&trace, make(&trace), 42, 1.3), "{name} with the same seed");
    }
    assert!(by_name("none").is_none());
}

#[test]
fn comparisons_are_ordered_whatever_finished_first() {
    let plan = plan(&["bestfit", "random"], &[3, 1, 2]);
    let comparison = compare(&plan, &|| Duration::ZERO, &|_| {});
    let found: Vec<(&str, u64)> = comparison.runs.iter().map(|run| (run.policy.as_str(), run.seed)).collect();
    let expected = [("bestfit", 3), ("bestfit", 1), ("bestfit", 2), ("random", 3), ("random", 1), ("random", 2)];
    assert_eq!(found, expected);
    assert_eq!(comparison.table().lines().count(), 4);
    assert!(serde_json::to_string(&comparison).unwrap().contains("gpu_allocation_percent"));
    assert_eq!(comparison.csv().lines().count(), 7);
    let points: usize = comparison.runs.iter().map(|run| run.curve.len()).sum();
    assert!(points > 6 * 30 && comparison.curves_csv().lines().count() == points + 1);
    let failed: usize = comparison.runs.iter().map(|run| run.failed).sum();
    assert_eq!(comparison.turned_away_csv().lines().count(), failed + 1);
}

#[test]
fn the_page_needs_nothing_else() {
    let plan = plan(&["bestfit", "fgd"], &[1, 2]);
    let comparison = compare(&plan, &|| Duration::ZERO, &|_| {});
    let published = report::Published::read("workload,FGD_mean,FGD_min,FGD_max\nsmall,90,80,95\n").unwrap();
    let origin = report::Origin { command: "compare <x>".to_owned(), published, ..report::Origin::default() };
    let page = report::html(&plan, &comparison, &origin);
    assert_eq!(page.matches("<svg").count(), 5);
    assert_eq!(page.matches("</svg>").count(), 5);
    assert!(page.contains("compare &lt;x&gt;") && page.contains(">80.00–95.00"));
    for outside in ["src=", "href=", "@import", "url(", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf"));
}

#[test]
fn jobs_come_once_and_then_again_until_demand_is_reached() {
    let trace = trace();
    let asked = |order: &[usize]| order.iter().map(|job| trace.jobs[*job].gpu_total()).sum::<i64>() as f64;
    let all = trace.gpu_capacity() as f64;
    for demand in [0.2, 1.3] {
        let order = arrivals::order(&trace, demand, &mut Random::new(7));
        assert!(asked(&order) <= demand * all + 1000.0 && asked(&order) > demand * all - 2000.0, "{demand}");
    }
    let order = arrivals::order(&trace, 1.3, &mut Random::new(7));
    let mut first: Vec<usize> = order[..trace.len()].to_vec();
    assert_ne!(first, (0..trace.len()).collect::<Vec<_>>());
    first.sort_unstable();
    assert_eq!(first, (0..trace.len()).collect::<Vec<_>>());
}

#[test]
fn fragmentation_is_what_typical_jobs_cannot_use() {
    let jobs =
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli\na,1000,1,1,600\nb,1000,1,1,1000\nc,1000,1,0,0\nd,9000,1,1,200\n";
    let trace = Trace::read("sn,cpu_milli,memory_mib,gpu,model\n", jobs).unwrap();
    let typical = TypicalJobs::of(&trace);
    let node = GpuNode { cpu_left: 4000, gpus_left: [500, 700].into_iter().collect(), ..GpuNode::idle(8000, 2, "") };
    // a: 500 is too little of one GPU; b: nothing fits; c: GPUs are of no use; d: too few cpus.
    assert!((typical.fragmentation(&node) - (500.0 + 1200.0 + 1200.0 + 1200.0) / 4.0).abs() < 1e-9);
    // Taking the 700 leaves 500 that nobody can use: as much as before for a, less for the others.
    let ask = Ask { cpu: 1000, gpus: 1, gpu_milli: 700, ..Ask::default() };
    assert!((typical.growth(&node, &ask, &[1]) - (0.0 - 0.7 * 3.0) / 4.0).abs() < 1e-9);
}

#[test]
fn rare_kinds_are_not_typical() {
    let row =
        |n: usize| format!("j{n},{},1,1,{}\n", if n < 96 { 1000 } else { 64000 }, if n < 96 { 500 } else { 1000 });
    let jobs: String = (0..100).map(row).collect();
    let jobs = format!("name,cpu_milli,memory_mib,num_gpu,gpu_milli\n{jobs}");
    let typical = TypicalJobs::of(&Trace::read("sn,cpu_milli,memory_mib,gpu,model\n", &jobs).unwrap());
    assert!(typical.fragmentation(&GpuNode::idle(2000, 1, "")).abs() < 1e-9, "the 4 % that want 64 cpus don't count");
}

#[test]
fn the_gradient_prefers_gpus_that_are_of_little_use() {
    let trace = trace();
    let policy = Fragmentation::of(&trace);
    let node = GpuNode { gpus_left: [1000, 500].into_iter().collect(), ..GpuNode::idle(32000, 2, "T4") };
    let half = Ask { cpu: 1000, memory_mib: 1, gpus: 1, gpu_milli: 500, models: Vec::new() };
    assert_eq!(policy.pick(&half, &node, &mut Random::new(1)), [1]);
}

#[test]
fn scores_are_the_published_ones() {
    let share = Ask { cpu: 8000, gpus: 1, gpu_milli: 500, ..Ask::default() };
    let two = Ask { cpu: 8000, gpus: 2, gpu_milli: 1000, ..Ask::default() };
    let none = Ask { cpu: 8000, ..Ask::default() };
    let idle = GpuNode::idle(128_000, 8, "");
    let mut used = idle.clone();
    used.take(&share, &[0]);
    let cases: [(&dyn Policy, &Ask, &GpuNode, i64); 14] = [
        (&GpuPacking, &share, &idle, 25),
        (&GpuPacking, &share, &GpuNode::idle(128_000, 1, ""), 32),
        (&GpuPacking, &share, &used, 95),
        (&GpuPacking, &two, &used, 48),
        (&GpuPacking, &none, &used, 0),
        (&GpuClustering, &share, &used, 76),
        (&GpuClustering, &share, &idle, 25),
        (&GpuClustering, &two, &used, 1),
        (&GpuClustering, &none, &used, 0),
        (&BestFit, &none, &idle, 3),
        (&BestFit, &two, &used, 21),
        (&DotProduct, &none, &idle, 96),
        (&DotProduct, &two, &used, 85),
        (&RandomChoice, &two, &used, 0),
    ];
    for (policy, ask, node, expected) in cases {
        assert_eq!(policy.score(ask, node), expected, "{} {ask:?}", policy.name());
    }
}

#[test]
fn bad_rows_are_named() {
    let nodes = "sn,cpu_milli,memory_mib,gpu,model\nn,1,1,1,T4\n";
    let bad = Trace::read(nodes, "name,cpu_milli,memory_mib,num_gpu,gpu_milli\na,1,1,1,1\nb,1,x,1,1\n").unwrap_err();
    assert_eq!(bad.to_string(), r#"pods: row 3, column "memory_mib": "x" is not a number"#);
    // Empty rows count, and cells that aren't there are named.
    let bad = Trace::read(nodes, "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n\na,1,1,1\n").unwrap_err();
    assert_eq!(bad.to_string(), r#"pods: row 3, column "gpu_milli": "" is not a number"#);
    let bad = Trace::read("sn,cpu_milli,memory_mib,gpu,model\nn,-1,1,1,T4\n", "").unwrap_err();
    assert_eq!(bad.to_string(), r#"nodes: row 2, column "cpu_milli": "-1" is not a number"#);
    let bad = Trace::read("sn,cpu_milli\nn,1\n", "").unwrap_err();
    assert_eq!(bad.to_string(), r#"nodes: no column "memory_mib""#);
}
