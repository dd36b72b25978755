use std::ops::Range;
use std::time::Duration;

use super::*;
use crate::Revision;
use crate::raft::replica::Effect;

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
    assert!(sum.torn > 0 && sum.lost > 0, "{sum:?}");
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

/// Steps until it is so.
fn step_until(cluster: &mut Cluster, done: &dyn Fn(&Cluster) -> bool) {
    for _ in 0..20_000 {
        if done(cluster) {
            return;
        }
        cluster.step().expect("nothing goes wrong");
    }
    panic!("no progress: {}", cluster.describe());
}

#[test]
fn a_snapshot_that_was_called_off_is_not_taken_for_the_next() {
    let mut cluster = Cluster::new(7, Options::replicas(3)).expect("three empty disks");
    cluster.faulty = false;
    let snapshots = |cluster: &Cluster| {
        let names = cluster.nodes[2].disk.names();
        names.into_iter().filter(|name| name.starts_with("snapshot-")).collect::<Vec<_>>()
    };
    // A snapshot is written, but whoever wrote it does not get to tell.
    step_until(&mut cluster, &|cluster| !cluster.nodes[2].jobs.is_empty());
    cluster.nodes[2].jobs[0].told = u64::MAX;
    let before = snapshots(&cluster);
    step_until(&mut cluster, &|cluster| snapshots(cluster) != before);
    // A whole state comes in between, and then another snapshot is due.
    cluster.nodes[2].paused_until = u64::MAX;
    let known = cluster.known;
    step_until(&mut cluster, &|cluster| cluster.known.0 >= known.0 + 600);
    cluster.nodes[2].paused_until = 0;
    step_until(&mut cluster, &|cluster| cluster.report.images == 1);
    let known = cluster.known;
    let behind = |cluster: &Cluster| cluster.nodes[2].replica.as_ref().expect("up").core().state().revision();
    step_until(&mut cluster, &|cluster| cluster.nodes[2].jobs.len() > 1 || behind(cluster).0 > known.0 + 100);
    for job in cluster.nodes[2].jobs.iter_mut() {
        (job.written, job.told) = if job.told == u64::MAX { (0, 0) } else { (u64::MAX, u64::MAX) };
    }
    cluster.step().expect("nothing goes wrong");
    cluster.crash(2);
    cluster.start(2).expect("whatever the log starts from is there");
    // The next one is written all the same.
    let before = snapshots(&cluster);
    step_until(&mut cluster, &|cluster| snapshots(cluster) != before);
    cluster.open = false;
    step_until(&mut cluster, &Cluster::is_calm);
    cluster.finish().expect("all have the same, and what was promised");
}

#[test]
fn a_read_is_judged_by_the_time_at_which_it_is_asked() {
    // With lease reads.
    let mut cluster = Cluster::new(7, Options::replicas(3)).expect("three empty disks");
    (cluster.faulty, cluster.open) = (false, false);
    step_until(&mut cluster, &Cluster::is_calm);
    let leads = |node: &cluster::Node| node.replica.as_ref().is_some_and(|replica| replica.role().is_leader);
    let n = cluster.nodes.iter().position(leads).expect("a leader");
    let answered = |cluster: &mut Cluster, token: u64, later: Duration| {
        let now = cluster.clock(n) + later;
        let replica = cluster.nodes[n].replica.as_mut().expect("up");
        replica.read(token, now).expect("a member");
        let mut effects = Vec::new();
        replica.ready(&mut |effect| effects.push(effect)).expect("room");
        let found = effects.iter().any(|effect| matches!(effect, Effect::Read(read) if *read == token));
        cluster.follow(n, effects);
        found
    };
    assert!(!answered(&mut cluster, 1, Duration::ZERO), "a majority is asked");
    for _ in 0..4 {
        cluster.step().expect("nothing goes wrong");
    }
    assert!(answered(&mut cluster, 2, Duration::ZERO), "a majority answered just now");
    // The disk takes its time over something that comes before the read.
    assert!(!answered(&mut cluster, 3, Duration::from_secs(1)), "there may be another leader by then");
}

#[test]
fn a_founder_that_lost_its_disk_does_not_vote_what_it_knew_away() {
    let mut cluster = Cluster::new(2, Options::replicas(3)).expect("three empty disks");
    cluster.faulty = false;
    step_until(&mut cluster, &|cluster| cluster.known >= Revision(20));
    let leads = |node: &cluster::Node| node.replica.as_ref().is_some_and(|replica| replica.role().is_leader);
    let leader = cluster.nodes.iter().position(leads).expect("a leader");
    let (forgetful, behind) = ((leader + 1) % 3, (leader + 2) % 3);
    // One falls behind, the other two go on.
    cluster.nodes[behind].paused_until = u64::MAX;
    let known = cluster.known;
    step_until(&mut cluster, &|cluster| cluster.known.0 >= known.0 + 20);
    // Then one of these stops, the other forgets everything.
    cluster.nodes[leader].paused_until = u64::MAX;
    let session = |cluster: &Cluster| cluster.nodes[forgetful].replica.as_ref().expect("up").session;
    let before = session(&cluster);
    cluster.crash(forgetful);
    cluster.nodes[forgetful].disk = cluster.nodes[forgetful].disk.emptied();
    cluster.start(forgetful).expect("a founder");
    assert_ne!(session(&cluster), before, "what it proposes now is not taken for what it proposed then");
    cluster.nodes[behind].paused_until = 0;
    for _ in 0..1000 {
        cluster.step().expect("nothing goes wrong");
        assert!(!leads(&cluster.nodes[forgetful]) && !leads(&cluster.nodes[behind]), "{}", cluster.describe());
    }
    // Who knows it comes back.
    cluster.nodes[leader].paused_until = 0;
    let known = cluster.known;
    step_until(&mut cluster, &|cluster| cluster.known.0 >= known.0 + 20);
    step_until(&mut cluster, &|cluster| !cluster.nodes[forgetful].replica.as_ref().expect("up").is_newborn());
    cluster.open = false;
    step_until(&mut cluster, &Cluster::is_calm);
    cluster.finish().expect("all have the same, and what was promised");
}

#[test]
fn a_replica_that_was_away_gets_the_state_as_a_whole() {
    let mut cluster = Cluster::new(7, Options::replicas(3)).expect("three empty disks");
    cluster.faulty = false;
    step_until(&mut cluster, &|cluster| cluster.known >= Revision(20));
    cluster.nodes[2].paused_until = u64::MAX;
    step_until(&mut cluster, &|cluster| cluster.known >= Revision(600));
    let applied = cluster.nodes[2].replica.as_ref().expect("up").applied();
    assert!(applied < 200 && cluster.report.images == 0, "{}", cluster.describe());
    cluster.nodes[2].paused_until = 0;
    step_until(&mut cluster, &|cluster| cluster.report.images == 1);
    cluster.open = false;
    step_until(&mut cluster, &Cluster::is_calm);
    let report = cluster.finish().expect("all have the same, and what was promised");
    assert!(report.revisions >= 600 && report.images == 1, "{report:?}");
}
