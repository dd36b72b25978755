//! Replicas as threads: what the simulation of the cores cannot see.
#![cfg(feature = "raft")]

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use kubewright_store::{
    Consistency, Error, Health, KeyRange, LocalNetwork, Member, MemberChange, Members, Membership, RaftConfig,
    RaftStore, ReadOptions, Revision, Store, StoreExt, WatchOptions,
};

/// What replicas need seconds for at worst, even on a machine that is busy with other things.
const BOUND: Duration = Duration::from_secs(120);

fn config(id: u64, size: u64, home: &Path) -> RaftConfig {
    let mut config = RaftConfig::new(id, (1..=size).collect::<Vec<u64>>(), home.join(id.to_string()));
    config.tick = Duration::from_millis(10);
    config.election_ticks = 30;
    config.request_timeout = Duration::from_secs(2);
    config.checkpoint_after = 100;
    config.segment_bytes = 64 << 10;
    config
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(BOUND, wait).await;
    done.unwrap_or_else(|_| panic!("not within {BOUND:?}: {what}"))
}

/// Does something until it works, or is refused for good. On a busy machine leaders change at any moment, and what
/// was asked meanwhile is lost.
async fn settled<T, F: Future<Output = Result<T, Error>>>(what: &str, mut ask: impl FnMut() -> F) -> Result<T, Error> {
    within(what, async {
        loop {
            match ask().await {
                Err(Error::Unavailable { .. }) => {}
                settled => return settled,
            }
        }
    })
    .await
}

/// Waits for a condition that nothing tells of.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    within(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn put(store: &RaftStore, key: &str, value: &str) {
    // One that timed out may have happened; it is the same again.
    settled(&format!("put {key}"), || store.put(key.to_owned(), value.to_owned())).await.expect("put");
}

struct Cluster {
    network: LocalNetwork,
    home: tempfile::TempDir,
    replicas: Vec<RaftStore>,
}

impl Cluster {
    async fn start(size: u64) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let mut cluster = Self { network: LocalNetwork::new(), home, replicas: Vec::new() };
        for id in 1..=size {
            let replica = cluster.open(id, size).await;
            cluster.replicas.push(replica);
        }
        cluster
    }

    async fn open(&self, id: u64, size: u64) -> RaftStore {
        self.open_with(config(id, size, self.home.path())).await
    }

    async fn open_with(&self, config: RaftConfig) -> RaftStore {
        let id = config.id;
        let replica = RaftStore::open(config, self.network.transport(id)).await.expect("open");
        self.network.join(id, replica.inbox());
        replica
    }

    /// The place of a replica that leads, once there is one.
    async fn leader(&self, except: Option<usize>) -> usize {
        let leads = |n: &usize| self.replicas[*n].is_leader() && Some(*n) != except;
        let find = || (0..self.replicas.len()).find(leads);
        until("a leader", async || find().is_some()).await;
        // It may have changed since, which does not matter to any test.
        find().unwrap_or_else(|| usize::from(except == Some(0)))
    }

    /// Waits until all replicas have the same.
    async fn agree(&self) {
        until("all replicas have the same", async || {
            let Ok(page) = self.replicas[0].read_prefix("").await else { return false };
            let mut all_there = true;
            for replica in &self.replicas {
                all_there &= replica.status().await.expect("status").revision == page.revision;
            }
            let first = self.replicas[0].digest();
            all_there && self.replicas.iter().all(|replica| replica.digest() == first)
        })
        .await;
    }

    async fn members(&self, n: usize) -> Members {
        settled("members", || self.replicas[n].members(true)).await.expect("members")
    }

    /// Changes members until `done` says that it is done: a change that timed out may have happened.
    async fn change(&self, n: usize, what: &str, changes: &[MemberChange], done: impl Fn(&Members) -> bool) -> Members {
        within(what, async {
            loop {
                // It is refused while others are not heard, or another change is under way.
                let _ = self.replicas[n].change_members(changes.to_vec()).await;
                let members = self.members(n).await;
                if done(&members) {
                    return members;
                }
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leads_when_the_leader_is_cut_off() {
    let cluster = Cluster::start(3).await;
    put(&cluster.replicas[0], "before", "1").await;
    let old = cluster.leader(None).await;
    cluster.agree().await;
    cluster.network.cut_off(old as u64 + 1);
    let new = cluster.leader(Some(old)).await;
    put(&cluster.replicas[new], "after", "2").await;
    // Whoever is cut off can neither write nor say what is newest.
    let stale = cluster.replicas[old].read("after").await;
    assert!(matches!(stale, Err(Error::Unavailable { .. })), "{stale:?}");
    let whatever = ReadOptions::latest().consistency(Consistency::Serializable);
    let whatever = cluster.replicas[old].get(&"before".into(), whatever).await.expect("what it has");
    assert!(whatever.is_some());
    until("the one cut off notices", async || {
        let lonely = cluster.replicas[old].status().await.expect("status");
        matches!(lonely.health, Health::ReadOnly(_))
    })
    .await;
    cluster.network.reconnect(old as u64 + 1);
    let caught_up = settled("read", || cluster.replicas[old].read("after")).await.expect("read");
    assert_eq!(caught_up.expect("there").value, "2");
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_down_catches_up_and_its_watches_go_on() {
    let mut cluster = Cluster::start(3).await;
    put(&cluster.replicas[0], "first", "1").await;
    let down = (cluster.leader(None).await + 1) % 3;
    cluster.agree().await;
    cluster.replicas[down].close().await;
    let up = (down + 1) % 3;
    for n in 0..400 {
        put(&cluster.replicas[up], &format!("key/{}", n % 7), &n.to_string()).await;
    }
    let replica = cluster.open(down as u64 + 1, 3).await;
    let mut watch = replica.watch(KeyRange::all(), Revision(2), WatchOptions::default()).await.expect("watch");
    cluster.replicas[down] = replica;
    let mut next = Revision(2);
    within("the watch catches up", async {
        loop {
            let batch = watch.next().await.expect("goes on").expect("no error");
            assert_eq!(batch.revision, next);
            next = next.next();
            if batch.events.iter().any(|event| event.entry.value == "399") {
                break;
            }
        }
    })
    .await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_down_and_up_again_have_what_they_had() {
    let mut cluster = Cluster::start(3).await;
    for n in 0..250 {
        put(&cluster.replicas[n % 3], &format!("key/{n}"), "value").await;
    }
    for replica in &cluster.replicas {
        replica.close().await;
    }
    for id in 1..=3 {
        cluster.replicas[id - 1] = cluster.open(id as u64, 3).await;
    }
    let count = settled("count", || cluster.replicas[1].count(KeyRange::prefix("key/"))).await;
    assert_eq!(count.expect("count"), 250);
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_can_be_handed_over() {
    let cluster = Cluster::start(3).await;
    put(&cluster.replicas[0], "a", "1").await;
    cluster.agree().await;
    let old = cluster.leader(None).await;
    let heir = (old + 1) % 3;
    // Any replica takes the wish.
    let handed_over = settled("handing over", || cluster.replicas[heir].transfer_leader(heir as u64 + 1)).await;
    handed_over.expect("handed over");
    let nobody = cluster.replicas[old].transfer_leader(9).await;
    assert!(matches!(nobody, Err(Error::MemberNotFound { member: 9 })), "{nobody:?}");
    put(&cluster.replicas[old], "b", "2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_while_the_store_works() {
    let mut cluster = Cluster::start(1).await;
    for n in 0..300 {
        put(&cluster.replicas[0], &format!("key/{}", n % 9), &n.to_string()).await;
    }
    for id in 2..=3 {
        let learner = Member::default().named(format!("n{id}")).peer_url(format!("https://n{id}")).learner();
        // A url is taken once, so it is added once.
        let added = cluster.change(0, "add", &[MemberChange::Add(learner)], |members| members.get(id).is_some()).await;
        assert!(added.get(id).is_some_and(|member| member.is_learner && member.name == format!("n{id}")), "{added:?}");
        let early = settled("promote", || cluster.replicas[0].promote(id)).await;
        assert!(matches!(early, Err(Error::Refused { .. })), "{early:?}");
        let mut joining = config(id, 3, cluster.home.path());
        joining.founders.clear();
        let replica = cluster.open_with(joining).await;
        cluster.replicas.push(replica);
        // It must have caught up first.
        let votes = |members: &Members| members.get(id).is_some_and(|member| !member.is_learner);
        cluster.change(0, "promote", &[MemberChange::Promote(id)], votes).await;
    }
    cluster.agree().await;
    let members = cluster.members(2).await;
    let names: Vec<&str> = members.members.iter().map(|member| &*member.name).collect();
    assert_eq!(names, ["", "n2", "n3"]);
    until("three replicas survive the loss of one", async || {
        let status = cluster.replicas[0].status().await.expect("status");
        status.replication.expect("raft").tolerates() == 1
    })
    .await;

    // Whoever leads is removed, together with a change that a follower asks for.
    let leader = cluster.leader(None).await;
    let (old, other) = (leader as u64 + 1, (leader + 1) % 3);
    let announce = MemberChange::Announce { id: other as u64 + 1, name: "other".to_owned(), client_urls: Vec::new() };
    let changes = [MemberChange::Remove(old), announce];
    let after = cluster.change(other, "remove", &changes, |members| members.get(old).is_none()).await;
    assert_eq!((after.members.len(), &*after.get(other as u64 + 1).expect("there").name), (2, "other"));
    put(&cluster.replicas[other], "after", "1").await;
    within("the one that was removed ends", async {
        loop {
            match cluster.replicas[leader].status().await.expect("status").health {
                Health::Failed(reason) => break assert!(reason.contains("removed from its cluster"), "{reason}"),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    let refused = cluster.replicas[leader].put("late", "1").await;
    assert!(matches!(refused, Err(Error::Failed { .. })), "{refused:?}");
    let gone = settled("remove", || cluster.replicas[other].remove_member(old)).await;
    assert!(matches!(gone, Err(Error::MemberNotFound { .. })), "{gone:?}");

    // Two of three are up, but two of four would be no majority.
    let add = [MemberChange::Add(Member::default())];
    cluster.change(other, "add", &add, |members| members.members.len() == 3).await;
    let refused = settled("add", || cluster.replicas[other].add_member(Member::default())).await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_replica_says_who_it_is_at_once() {
    let (home, network) = (tempfile::tempdir().expect("a directory"), LocalNetwork::new());
    let founder = Member::voter(7).named("seven").peer_url("http://seven:1");
    let config = RaftConfig::founding(7, vec![founder], home.path());
    let replica = RaftStore::open(config, network.transport(7)).await.expect("open");
    let found = replica.status().await.expect("status").replication.expect("replicated");
    assert_eq!((found.id, &found.voters[..]), (7, &[7][..]));
    let members = replica.members(false).await.expect("members");
    assert!(found.cluster_id != 0 && members.cluster_id == found.cluster_id);
    assert_eq!((members.answered_by, &*members.get(7).expect("there").name), (7, "seven"));
}

#[tokio::test]
async fn a_replica_refuses_a_config_without_itself() {
    let home = tempfile::tempdir().expect("a directory");
    let config = RaftConfig::new(4, [1, 2, 3], home.path());
    let refused = RaftStore::open(config, LocalNetwork::new().transport(4)).await;
    assert!(matches!(refused, Err(Error::InvalidRequest { .. })));
}
