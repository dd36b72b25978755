//! The members of a replicated store, seen and changed by etcd's own client.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kubewright_store::{Face, FaceConfig, LocalNetwork, Member, RaftConfig, RaftStore, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Etcdctl;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Three members, each with a face of its own, and room for more.
struct Cluster {
    runtime: tokio::runtime::Runtime,
    network: LocalNetwork,
    home: tempfile::TempDir,
    members: Vec<(Arc<RaftStore>, String)>,
    cancelled: CancellationToken,
    tasks: TaskTracker,
}

fn peer_url(id: u64) -> String {
    format!("http://127.0.0.1:{}", 10_000 + id)
}

impl Cluster {
    fn start() -> Self {
        let mut cluster = Self {
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
            network: LocalNetwork::new(),
            home: tempfile::tempdir().expect("a directory"),
            members: Vec::new(),
            cancelled: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let founders = (1..=3).map(|id| Member::voter(id).named(format!("n{id}")).peer_url(peer_url(id)));
        let founders: Vec<Member> = founders.collect();
        for id in 1..=3 {
            let config = RaftConfig::founding(id, founders.clone(), cluster.directory(id));
            cluster.add(config);
        }
        cluster
    }

    fn directory(&self, id: u64) -> PathBuf {
        self.home.path().join(id.to_string())
    }

    /// Starts a member and its face, which say what they are called.
    fn add(&mut self, mut config: RaftConfig) {
        let id = config.id;
        config.request_timeout = PATIENCE;
        let (network, tasks, cancelled) = (self.network.clone(), self.tasks.clone(), self.cancelled.clone());
        let started = self.runtime.block_on(async move {
            let store = Arc::new(RaftStore::open(config, network.transport(id)).await.expect("open"));
            network.join(id, store.inbox());
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address").to_string();
            let replication = store.status().await.expect("status").replication.expect("replicated");
            let mut config = FaceConfig::default();
            (config.member_id, config.cluster_id) = (id, replication.cluster_id);
            let face = Face::new(store.clone(), config).backup(store.clone()).members(store.clone());
            tasks.spawn({
                let cancelled = cancelled.clone();
                async move { face.serve(listener, None, cancelled).await }
            });
            let (told, urls) = (store.clone(), vec![format!("http://{address}")]);
            tasks.spawn(async move {
                // One that is removed, or stopped, has nobody to tell.
                let _ = cancelled.run_until_cancelled(told.announce(&format!("n{id}"), &urls)).await;
            });
            (store, address)
        });
        self.members.push(started);
    }

    /// A client of some members.
    fn client(&self, members: &[usize]) -> Etcdctl {
        let endpoints = members.iter().map(|n| self.members[*n].1.as_str()).collect::<Vec<_>>();
        Etcdctl { endpoint: endpoints.join(",") }
    }

    fn leader(&self) -> usize {
        let mut leader = None;
        until("a leader", || {
            leader = self.members.iter().position(|(store, _)| store.is_leader());
            leader.is_some()
        });
        leader.expect("found")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.cancelled.cancel();
        self.tasks.close();
        let (tasks, members) = (self.tasks.clone(), std::mem::take(&mut self.members));
        self.runtime.block_on(async move {
            tasks.wait().await;
            for (store, _) in members {
                store.close().await;
            }
        });
    }
}

/// Waits for what nothing tells of.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the command succeeds and prints what is wanted; answers what it printed.
#[track_caller]
fn becomes(etcdctl: &Etcdctl, arguments: &[&str], holds: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let last = match etcdctl.try_with("", arguments) {
            Ok(printed) if holds(&printed) => return printed,
            Ok(printed) | Err(printed) => printed,
        };
        assert!(begun.elapsed() < PATIENCE, "etcdctl {arguments:?} still says: {last}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn members_are_listed_with_their_urls_and_asked_each() {
    let cluster = Cluster::start();
    let etcdctl = cluster.client(&[0]);
    // id, status, name, peer URLs, client URLs, is learner
    let list = becomes(&etcdctl, &["member", "list"], |list| {
        list.matches(", started, ").count() == 3 && list.matches("http://").count() == 6
    });
    for (n, (_, address)) in cluster.members.iter().enumerate() {
        let id = n as u64 + 1;
        let line = format!("{id:x}, started, n{id}, {}, http://{address}, false", peer_url(id));
        assert!(list.lines().any(|found| found == line), "{line} is not in:\n{list}");
    }
    etcdctl.run(&["put", "a", "1"]);
    becomes(&etcdctl, &["endpoint", "health", "--cluster"], |_| true);
    // The client of 3.4 sends the whole URL as the authority of a request when it asks one member, which HTTP/2 does
    // not allow: for it, members are named without a scheme.
    let etcdctl = cluster.client(&[0, 1, 2]);
    assert_eq!(etcdctl.run(&["endpoint", "status"]).lines().count(), 3);
    let hashes = |printed: &str| {
        let hashes: std::collections::BTreeSet<&str> =
            printed.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        hashes.len()
    };
    becomes(&etcdctl, &["endpoint", "hashkv"], |printed| printed.lines().count() == 3 && hashes(printed) == 1);
    let status = etcdctl.run(&["endpoint", "status", "--write-out", "json"]);
    let cluster_ids: Vec<&str> =
        status.split("\"cluster_id\":").skip(1).filter_map(|rest| rest.split(',').next()).collect();
    assert!(cluster_ids.len() == 3 && cluster_ids.iter().all(|id| *id == cluster_ids[0] && *id != "1"), "{status}");
}

#[test]
fn the_leader_is_moved() {
    let cluster = Cluster::start();
    let etcdctl = cluster.client(&[0, 1, 2]);
    etcdctl.run(&["put", "a", "1"]);
    let next = (cluster.leader() + 1) % 3;
    // It may move by itself just then.
    becomes(&etcdctl, &["move-leader", &format!("{:x}", next + 1)], |printed| {
        printed.contains("Leadership transferred")
    });
    until("the other leads", || cluster.leader() == next);
    etcdctl.fails(&["move-leader", "77"], "bad leader transferee");
}

#[test]
fn a_member_is_added_as_a_learner_promoted_and_removed() {
    let mut cluster = Cluster::start();
    let etcdctl = cluster.client(&[1]);
    for n in 0..50 {
        etcdctl.run(&["put", &format!("key/{n}"), "value"]);
    }
    let four = format!("--peer-urls={}", peer_url(4));
    etcdctl.fails(&["member", "add", "n4", "--peer-urls=localhost:1", "--learner"], "URL scheme must be http");
    etcdctl.fails(&["member", "add", "n4", &format!("--peer-urls={}", peer_url(2))], "Peer URLs already exists");
    let added = etcdctl.run(&["member", "add", "n4", &four, "--learner"]);
    assert!(added.contains("ETCD_INITIAL_CLUSTER_STATE=\"existing\"") && added.contains("n4=http"), "{added}");
    assert!(etcdctl.run(&["member", "list"]).contains("4, unstarted, , http://127.0.0.1:10004, , true"));
    etcdctl.fails(&["member", "promote", "4"], "can only promote a learner member which is in sync with leader");
    etcdctl.fails(&["member", "promote", "2"], "can only promote a learner member");
    etcdctl.fails(&["member", "promote", "99"], "member not found");

    cluster.add(RaftConfig::joining(4, cluster.directory(4)));
    becomes(&etcdctl, &["member", "list"], |list| list.contains("4, started, n4, "));
    becomes(&etcdctl, &["member", "promote", "4"], |printed| printed.contains("promoted in cluster"));
    let newcomer = cluster.client(&[3]);
    assert_eq!(becomes(&newcomer, &["get", "key/7", "--print-value-only"], |_| true), "value\n");
    assert!(newcomer.run(&["member", "list"]).contains("4, started, n4, "));

    let moved = format!("--peer-urls={}", peer_url(44));
    assert!(etcdctl.run(&["member", "update", "4", &moved]).contains("updated in cluster"));
    assert!(etcdctl.run(&["member", "list"]).contains(&peer_url(44)));

    // The last one removes itself, and the others go on.
    let removed = newcomer.try_with("", &["member", "remove", "4"]);
    let gone = |list: &str| list.lines().count() == 3;
    becomes(&etcdctl, &["member", "list"], gone);
    assert!(removed.is_err() || removed.is_ok_and(|printed| printed.contains("removed from cluster")));
    etcdctl.fails(&["member", "remove", "4"], "member not found");
    becomes(&etcdctl, &["put", "after", "1"], |printed| printed == "OK\n");
}

#[test]
fn what_would_lose_the_majority_is_refused() {
    let cluster = Cluster::start();
    let etcdctl = cluster.client(&[0, 1, 2]);
    etcdctl.run(&["put", "a", "1"]);
    let add = |id: u64| {
        let url = format!("--peer-urls={}", peer_url(id));
        etcdctl.try_with("", &["member", "add", &format!("n{id}"), &url])
    };
    // Members that vote and were never started: three of five are a majority still, three of six are none.
    for id in 4..=5 {
        until("it is added", || match add(id) {
            Ok(_) => true,
            // An answer that was lost is no reason to add it twice.
            Err(error) => error.contains("Peer URLs already exists"),
        });
    }
    let quorum = "re-configuration failed due to not enough started members";
    let refused = |asked: Result<String, String>| match asked {
        Ok(printed) => panic!("it was done: {printed}"),
        Err(error) => error.contains(quorum),
    };
    until("a sixth is refused", || refused(add(6)));
    until("who is up stays", || refused(etcdctl.try_with("", &["member", "remove", "1"])));
    becomes(&etcdctl, &["member", "remove", "5"], |printed| printed.contains("removed from cluster"));
    becomes(&etcdctl, &["member", "remove", "4"], |printed| printed.contains("removed from cluster"));
    assert_eq!(etcdctl.run(&["member", "list"]).lines().count(), 3);
}
