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

const ALL: [&str; 6] = ["random", "dotprod", "gpuclustering", "gpupacking", "bestfit", "fgd"];

#[test]
fn every_policy_fills_the_cluster_and_repeats_itself() {
    let trace = trace();
    for name in ALL {
        let once = run(&trace, by_name(name, &trace).unwrap(), 42, 1.3);
        assert_eq!(once.policy, name);
        assert!(once.gpu_allocation_percent > 60.0 && once.gpu_allocation_percent <= 100.0, "{once:?}");
        assert!(once.gpu_fragmentation_percent <= 100.0 - once.gpu_allocation_percent + 1e-6, "{once:?}");
        assert!(once.failed > 0 && once.placed > 0);
        assert_eq!(once, run(&trace, by_name(name, &trace).unwrap(), 42, 1.3), "{name} with the same seed");
    }
    assert!(by_name("none", &trace).is_none());
}

#[test]
fn comparisons_are_ordered_whatever_finished_first() {
    let trace = trace();
    let policies: [MakePolicy; 2] = [|_| Box::new(BestFit), |_| Box::new(RandomChoice)];
    let comparison = compare(&trace, &policies, &[3, 1, 2], 1.3, &|_| {});
    let found: Vec<(&str, u64)> = comparison.runs.iter().map(|run| (run.policy.as_str(), run.seed)).collect();
    let expected = [("bestfit", 3), ("bestfit", 1), ("bestfit", 2), ("random", 3), ("random", 1), ("random", 2)];
    assert_eq!(found, expected);
    assert_eq!(comparison.table().lines().count(), 3);
    assert!(serde_json::to_string(&comparison).unwrap().contains("gpu_allocation_percent"));
}

#[test]
fn fragmentation_is_what_typical_jobs_cannot_use() {
    let jobs =
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli\na,1000,1,1,600\nb,1000,1,1,1000\nc,1000,1,0,0\nd,9000,1,1,200\n";
    let trace = Trace::read("sn,cpu_milli,memory_mib,gpu,model\n", jobs).unwrap();
    let typical = TypicalJobs::of(&trace);
    let node = GpuNode { cpu_left: 4000, cpu: 8000, gpus_left: vec![500, 700], ..GpuNode::default() };
    // a: 500 is too little of one GPU; b: nothing fits; c: GPUs are of no use; d: too few cpus.
    assert!((typical.fragmentation(&node) - (500.0 + 1200.0 + 1200.0 + 1200.0) / 4.0).abs() < 1e-9);
}

#[test]
fn the_gradient_prefers_gpus_that_are_of_little_use() {
    let trace = trace();
    let policy = Fragmentation::of(&trace);
    let node = GpuNode { cpu_left: 32000, cpu: 32000, gpus_left: vec![1000, 500], ..GpuNode::default() };
    let half = Ask { cpu: 1000, memory_mib: 1, gpus: 1, gpu_milli: 500, models: Vec::new() };
    assert_eq!(policy.pick(&half, &node, &mut Random::new(1)), [1]);
}

#[test]
fn bad_rows_are_named() {
    let nodes = "sn,cpu_milli,memory_mib,gpu,model\nn,1,1,1,T4\n";
    let bad = Trace::read(nodes, "name,cpu_milli,memory_mib,num_gpu,gpu_milli\na,1,1,1,1\nb,1,x,1,1\n").unwrap_err();
    assert_eq!(bad.to_string(), r#"pods: row 3, column "memory_mib": "x" is not a number"#);
    let bad = Trace::read("sn,cpu_milli\nn,1\n", "").unwrap_err();
    assert_eq!(bad.to_string(), r#"nodes: no column "memory_mib""#);
}
