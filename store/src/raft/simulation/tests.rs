use std::ops::Range;

use super::*;
use crate::Revision;

fn check(replicas: u64, seeds: Range<u64>) -> Report {
    let mut sum = Report::default();
    for seed in seeds {
        match run(seed, Options::replicas(replicas)) {
            Ok(report) => sum += report,
            Err(failure) => panic!("{failure}"),
        }
    }
    sum
}

#[test]
fn one_replica_keeps_what_it_promised() {
    let sum = check(1, 0..60);
    assert!(sum.answered > 1000 && sum.crashes > 100, "{sum:?}");
}

#[test]
fn three_replicas_keep_what_they_promised() {
    let sum = check(3, 0..120);
    assert!(sum.answered > 1000 && sum.delivered > 1000 && sum.crashes > 100, "{sum:?}");
    assert!(sum.rotten > 0 && sum.full > 0 && sum.images > 0 && sum.changes > 0, "each kind of fault: {sum:?}");
    assert!(sum.unjudged < 10, "{sum:?}");
}

#[test]
fn five_replicas_keep_what_they_promised() {
    let sum = check(5, 0..30);
    assert!(sum.answered > 1000 && sum.changes > 0, "{sum:?}");
}

#[test]
fn a_seed_replays() {
    for seed in [3, 99] {
        assert_eq!(run(seed, Options::replicas(3)), run(seed, Options::replicas(3)));
    }
}

#[test]
fn planted_bugs_are_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let found = (0..100).any(|seed| {
            // What a broken replica trips over may as well be an assertion.
            let result = std::panic::catch_unwind(|| run(seed, Options::replicas(3).bug(bug)));
            !matches!(result, Ok(Ok(_)))
        });
        if !found {
            missed.push(bug);
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn a_replica_that_was_away_gets_the_state_as_a_whole() {
    let mut cluster = Cluster::new(7, Options::replicas(3)).expect("three empty disks");
    cluster.faulty = false;
    let until = |cluster: &mut Cluster, done: &dyn Fn(&Cluster) -> bool| {
        for _ in 0..20_000 {
            if done(cluster) {
                return;
            }
            cluster.step().expect("nothing goes wrong");
        }
        panic!("no progress: {}", cluster.describe());
    };
    until(&mut cluster, &|cluster| cluster.known >= Revision(20));
    cluster.nodes[2].paused_until = u64::MAX;
    until(&mut cluster, &|cluster| cluster.known >= Revision(600));
    let applied = cluster.nodes[2].replica.as_ref().expect("up").applied();
    assert!(applied < 200 && cluster.report.images == 0, "{}", cluster.describe());
    cluster.nodes[2].paused_until = 0;
    until(&mut cluster, &|cluster| cluster.report.images == 1);
    cluster.open = false;
    until(&mut cluster, &Cluster::is_calm);
    let report = cluster.finish().expect("all have the same, and what was promised");
    assert!(report.revisions >= 600 && report.images == 1, "{report:?}");
}
