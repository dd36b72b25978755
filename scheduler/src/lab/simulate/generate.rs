//! Workloads made up from a seed.

use std::fmt::Write as _;

use crate::random::Random;

/// What a made-up workload is like.
#[derive(Clone, Copy, Debug)]
pub struct GenerateConfig {
    /// How many nodes, in three zones; one in four is twice as large as the others.
    pub nodes: usize,
    /// How many jobs arrive.
    pub jobs: usize,
    /// Within how many seconds they arrive, at random moments.
    pub seconds: f64,
    /// How many times the CPUs there are jobs ask for on average at any moment; durations are chosen so.
    pub load: f64,
    /// Whose jobs they are: so many owners, the first with the most jobs.
    pub owners: usize,
    /// How many nodes fail for a while.
    pub outages: usize,
    /// From which all of it is drawn.
    pub seed: u64,
}

impl Default for GenerateConfig {
    /// 100 nodes, 2,000 jobs in a day, asking for 90 % of the CPUs.
    fn default() -> Self {
        Self { nodes: 100, jobs: 2_000, seconds: 86_400.0, load: 0.9, owners: 5, outages: 3, seed: 1 }
    }
}

/// A workload as rows for [`SimWorkload::read_csv`](super::SimWorkload::read_csv). The same seed makes the same rows.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "numbers of nodes and jobs")]
pub fn generate(config: &GenerateConfig) -> String {
    let mut random = Random::new(config.seed);
    let mut csv = "kind,name,at,duration,cpu,memory,pods,replicas,priority,owner,labels,selector,spread\n".to_owned();
    let mut cpus = 0.0;
    for node in 0..config.nodes {
        let size = if node % 4 == 3 { 64 } else { 32 };
        cpus += f64::from(size);
        let zone = node % 3;
        let _ = writeln!(csv, "node,node-{node},,,{size},{}Gi,110,,,,zone=z{zone},,", size * 4);
    }
    let mut arrivals: Vec<f64> = (0..config.jobs).map(|_| unit(&mut random) * config.seconds).collect();
    arrivals.sort_by(f64::total_cmp);
    // Millicpus, replicas, and how long a pod of that size runs compared with others.
    const SIZES: [(u32, usize, f64); 6] =
        [(250, 4, 0.5), (500, 2, 1.0), (1_000, 3, 1.0), (4_000, 1, 2.0), (8_000, 1, 3.0), (16_000, 1, 4.0)];
    let drawn: Vec<(usize, f64)> =
        arrivals.iter().map(|_| (random.below(SIZES.len()), long_tailed(&mut random))).collect();
    let work: f64 = drawn
        .iter()
        .map(|(size, length)| {
            let (millis, replicas, factor) = SIZES[*size];
            f64::from(millis) / 1000.0 * replicas as f64 * factor * length
        })
        .sum();
    let scale = config.load * cpus * config.seconds / work.max(1e-9);
    for (job, (at, (size, length))) in arrivals.iter().zip(&drawn).enumerate() {
        let (millis, replicas, factor) = SIZES[*size];
        let duration = (length * factor * scale).max(1.0);
        let owner = random.below(config.owners.max(1)).min(random.below(config.owners.max(1)));
        let priority = if random.below(10) == 0 { 10 } else { 0 };
        let spread = if replicas > 2 { "zone" } else { "" };
        let memory = u64::from(millis) * (2 + random.below(4) as u64);
        let _ = writeln!(
            csv,
            "pod,job-{job},{at:.1},{duration:.1},{millis}m,{memory}Mi,,{replicas},{priority},team-{owner},,,{spread}"
        );
    }
    for _ in 0..config.outages.min(config.nodes) {
        let (node, at) = (random.below(config.nodes), unit(&mut random) * config.seconds);
        let _ = writeln!(csv, "outage,node-{node},{at:.1},{:.1},,,,,,,,,", config.seconds / 50.0);
    }
    csv
}

/// A number between 0 and 1.
#[allow(clippy::cast_precision_loss, reason = "a fraction of 2^32")]
fn unit(random: &mut Random) -> f64 {
    const STEPS: usize = 1 << 31;
    (random.below(STEPS) as f64 + 0.5) / STEPS as f64
}

/// Most are below 1, a few far above: lognormal with a median of 1.
fn long_tailed(random: &mut Random) -> f64 {
    let (a, b) = (unit(random), unit(random));
    let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
    normal.exp()
}
