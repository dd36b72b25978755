//! Files, requests and messages are damaged at random, and refused, or do no harm. The example `fuzz` does the same for
//! as long as one likes.
#![cfg(feature = "disk")]

#[path = "../examples/fuzz/files.rs"]
mod files;
#[path = "../examples/fuzz/mutate.rs"]
mod mutate;
#[cfg(feature = "raft")]
#[path = "../examples/fuzz/replicas.rs"]
mod replicas;
#[cfg(feature = "face")]
#[path = "../examples/fuzz/requests.rs"]
mod requests;

#[tokio::test]
async fn damaged_files_are_refused_with_the_place_or_harmless() {
    let home = tempfile::tempdir().expect("a directory");
    let sample = files::Sample::new(home.path(), &mut mutate::Random::new(1)).await.expect("a sample");
    let mut tally = files::Tally::default();
    for seed in 0..400 {
        let judged = sample.damage(&mut mutate::Random::new(seed), &mut tally);
        assert_eq!(judged, Ok(()), "seed {seed}");
    }
    assert!(tally.refused > tally.unharmed, "{tally:?}");
}

#[cfg(feature = "face")]
#[tokio::test]
async fn damaged_requests_are_answered() {
    for seed in 0..20 {
        let ((_store, face), mut random) = (requests::face(), mutate::Random::new(seed));
        for n in 0..100 {
            let answered = requests::damage(&face, &mut random).await;
            assert_eq!(answered, Ok(()), "seed {seed}, request {n}");
        }
    }
}

#[cfg(feature = "raft")]
#[tokio::test]
async fn damaged_files_of_a_replica_are_refused_with_the_place_or_harmless() {
    let home = tempfile::tempdir().expect("a directory");
    let sample = replicas::ReplicaFiles::new(home.path()).await.expect("a sample");
    let mut tally = files::Tally::default();
    for seed in 0..300 {
        let judged = sample.damage(&mut mutate::Random::new(seed), &mut tally);
        assert_eq!(judged, Ok(()), "seed {seed}");
    }
    assert!(tally.refused > tally.unharmed, "{tally:?}");
}

#[cfg(feature = "raft")]
#[tokio::test(flavor = "multi_thread")]
async fn no_message_ends_a_replica() {
    let home = tempfile::tempdir().expect("a directory");
    let replicas = replicas::Replicas::start(home.path()).await.expect("three replicas");
    let mut random = mutate::Random::new(1);
    for round in 0..30 {
        (0..100).for_each(|_| replicas.damage(&mut random));
        assert_eq!(replicas.stand().await, Ok(()), "round {round}");
    }
    replicas.stop().await;
}
