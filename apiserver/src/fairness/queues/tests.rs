use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn queuing(length_max: usize) -> Treatment {
    Treatment::Queue { queues: 8, hand: 2, length_max }
}

#[test]
fn without_queues_what_does_not_fit_is_turned_away() {
    let mut set = QueueSet::new(Treatment::Reject, 2, ms(0));
    assert_eq!(set.arrive(1, 0, Width::ONE, ms(0)).0, Arrival::Runs);
    assert_eq!(set.arrive(2, 0, Width::of(2), ms(0)).0, Arrival::Refused("concurrency-limit"));
    assert_eq!(set.arrive(3, 0, Width::ONE, ms(0)).0, Arrival::Runs);
    assert_eq!(set.arrive(4, 0, Width::ONE, ms(0)).0, Arrival::Refused("concurrency-limit"));
    set.finish(1, ms(1));
    assert_eq!(set.arrive(5, 0, Width::ONE, ms(1)).0, Arrival::Runs);
    let mut exempt = QueueSet::new(Treatment::Exempt, 0, ms(0));
    assert!((0..100).all(|id| exempt.arrive(id, 0, Width::of(10), ms(0)).0 == Arrival::Runs));
}

#[test]
fn what_does_not_fit_waits_until_queues_are_full_or_it_gives_up() {
    let mut set = QueueSet::new(Treatment::Queue { queues: 1, hand: 1, length_max: 2 }, 1, ms(0));
    assert_eq!(set.arrive(1, 0, Width::ONE, ms(0)).0, Arrival::Runs);
    assert_eq!(set.arrive(2, 0, Width::ONE, ms(0)).0, Arrival::Waits);
    assert_eq!(set.arrive(3, 0, Width::ONE, ms(0)).0, Arrival::Waits);
    assert_eq!(set.arrive(4, 0, Width::ONE, ms(0)).0, Arrival::Refused("queue-full"));
    assert_eq!(set.give_up(2, ms(1)), (true, vec![]));
    assert_eq!(set.give_up(1, ms(1)), (false, vec![]));
    assert_eq!(set.finish(1, ms(2)), [3]);
    assert_eq!((set.executing, set.waiting, set.seats_in_use, set.seats_waiting), (1, 0, 1, 0));
    assert!(set.finish(3, ms(3)).is_empty());
    assert_eq!((set.executing, set.seats_in_use, set.active_queues), (0, 0, 0));
}

#[test]
fn a_quiet_flow_does_not_wait_behind_a_busy_one() {
    // Flows whose hands differ.
    let (busy, quiet) = (0, 2 + 8 * 3);
    let mut set = QueueSet::new(queuing(50), 2, ms(0));
    let mut running: Vec<u64> = Vec::new();
    for id in 0..40 {
        let (arrival, _) = set.arrive(id, busy, Width::ONE, ms(0));
        if arrival == Arrival::Runs {
            running.push(id);
        }
    }
    assert_eq!(running.len(), 2);
    assert_eq!(set.arrive(100, quiet, Width::ONE, ms(1)).0, Arrival::Waits);
    let mut order: Vec<u64> = Vec::new();
    for step in 0..4 {
        let done = running.remove(0);
        let started = set.finish(done, ms(10 + step));
        order.extend(&started);
        running.extend(started);
    }
    assert!(order.iter().position(|id| *id == 100).unwrap() <= 2, "{order:?}");
}

#[test]
fn a_flow_of_slow_requests_does_not_keep_its_place() {
    let (slow, quiet) = (0, 2 + 8 * 3);
    let mut set = QueueSet::new(queuing(50), 4, ms(0));
    let arrivals: Vec<Arrival> = (0..40).map(|id| set.arrive(id, slow, Width::ONE, ms(0)).0).collect();
    assert!(arrivals[..4].iter().all(|arrival| *arrival == Arrival::Runs));
    assert_eq!(set.arrive(100, quiet, Width::ONE, ms(10_000)).0, Arrival::Waits);
    assert_eq!(set.finish(0, ms(10_200)), [100]);
}

#[test]
fn flows_share_seats_equally_whatever_they_ask_for() {
    let mut set = QueueSet::new(Treatment::Queue { queues: 2, hand: 1, length_max: 1000 }, 10, ms(0));
    let mut running: BTreeMap<u64, Duration> = BTreeMap::new();
    // One flow asks for 400, the other for 200; all take 10 ms.
    for id in 0..600u64 {
        if set.arrive(id, u64::from(id >= 400), Width::ONE, ms(0)).0 == Arrival::Runs {
            running.insert(id, ms(10));
        }
    }
    let mut served = [0, 0];
    while served.iter().sum::<usize>() < 200 {
        let (&id, &at) = running.iter().min_by_key(|(id, at)| (**at, **id)).unwrap();
        running.remove(&id);
        served[usize::from(id >= 400)] += 1;
        for next in set.finish(id, at) {
            running.insert(next, at + ms(10));
        }
    }
    assert!(served[0].abs_diff(served[1]) <= 20, "{served:?}");
}

#[test]
fn what_is_wider_than_the_level_runs_alone() {
    let mut set = QueueSet::new(queuing(10), 2, ms(0));
    assert_eq!(set.arrive(1, 0, Width::ONE, ms(0)).0, Arrival::Runs);
    assert_eq!(set.arrive(2, 0, Width::of(5), ms(0)).0, Arrival::Waits);
    assert_eq!(set.finish(1, ms(1)), [2]);
    assert_eq!(set.arrive(3, 0, Width::ONE, ms(1)).0, Arrival::Waits);
    assert_eq!(set.finish(2, ms(2)), [3]);
}

#[test]
fn seats_linger_after_a_write() {
    let mut set = QueueSet::new(queuing(10), 2, ms(0));
    let write = Width { initial: 1, last: 2, linger: ms(5) };
    assert_eq!(set.arrive(1, 0, write, ms(0)).0, Arrival::Runs);
    assert_eq!(set.arrive(2, 0, Width::ONE, ms(0)).0, Arrival::Waits);
    assert!(set.finish(1, ms(10)).is_empty());
    assert_eq!(set.next_release(), Some(ms(15)));
    assert!(set.tick(ms(14)).is_empty());
    assert_eq!(set.tick(ms(15)), [2]);
    assert_eq!(set.seats_in_use, 1);
}

#[test]
fn queues_stay_while_something_lingers_in_them() {
    let write = Width { initial: 1, last: 2, linger: ms(50) };
    for fewer in [Treatment::Queue { queues: 1, hand: 1, length_max: 1 }, Treatment::Reject, Treatment::Exempt] {
        let mut set = QueueSet::new(queuing(10), 100, ms(0));
        for id in 0..20 {
            assert_eq!(set.arrive(id, id * 7, write, ms(0)).0, Arrival::Runs);
        }
        for id in 0..20 {
            set.finish(id, ms(1));
        }
        set.configure(fewer, 100, ms(2));
        assert_eq!(set.seats_in_use, 40);
        set.configure(queuing(10), 100, ms(3));
        set.configure(fewer, 100, ms(4));
        set.tick(ms(60));
        assert_eq!((set.seats_in_use, set.requests.len()), (0, 0));
        assert!(set.queues.len() <= 1, "{} are left", set.queues.len());
    }
}

#[test]
fn more_seats_let_more_run_and_fewer_queues_are_emptied_first() {
    let mut set = QueueSet::new(queuing(10), 1, ms(0));
    for id in 0..5 {
        set.arrive(id, id * 7, Width::ONE, ms(0));
    }
    assert_eq!(set.configure(queuing(10), 3, ms(1)).len(), 2);
    let mut more = set.configure(Treatment::Queue { queues: 1, hand: 1, length_max: 1 }, 5, ms(1));
    assert_eq!(more.len(), 2);
    for id in 0..5 {
        more.extend(set.finish(id, ms(2)));
    }
    assert_eq!((set.queues.len(), set.executing, set.seats_in_use), (1, 0, 0));
}

proptest! {
    /// Whatever happens: counts agree with what is there, limits hold, and nothing waits while it could run.
    #[test]
    fn nothing_is_lost(steps in prop::collection::vec((0u8..5, 0u64..6, 1usize..4), 1..200)) {
        let limit = 4;
        let mut set = QueueSet::new(queuing(3), limit, ms(0));
        let (mut running, mut waiting, mut next) = (Vec::new(), Vec::new(), 0u64);
        for (at, (what, flow, seats)) in steps.into_iter().enumerate() {
            let now = ms(at as u64);
            let started = match what {
                0..3 => {
                    next += 1;
                    let linger = if seats == 2 { ms(3) } else { ms(0) };
                    let width = Width { initial: 1, last: seats, linger };
                    let (arrival, started) = set.arrive(next, flow * 1_000_003, width, now);
                    match arrival {
                        Arrival::Runs => running.push(next),
                        Arrival::Waits => waiting.push(next),
                        Arrival::Refused(_) => {}
                    }
                    started
                }
                3 if !running.is_empty() => {
                    let id = running.remove(0);
                    set.finish(id, now)
                }
                _ if !waiting.is_empty() => {
                    let id = waiting.remove(waiting.len() / 2);
                    let (did, started) = set.give_up(id, now);
                    if !did {
                        // It was let start just now.
                        prop_assert!(started.contains(&id));
                        waiting.push(id);
                    }
                    started
                }
                _ => set.tick(now),
            };
            for id in started {
                let was = waiting.iter().position(|other| *other == id);
                prop_assert!(was.is_some());
                running.push(waiting.remove(was.unwrap()));
            }
            prop_assert_eq!((set.executing, set.waiting), (running.len(), waiting.len()));
            prop_assert!(set.seats_in_use <= limit);
            prop_assert!(waiting.is_empty() || set.seats_in_use + 3 > limit);
            let active = set.queues.iter().filter(|queue| queue.is_active()).count();
            prop_assert_eq!(set.active_queues, active);
        }
        let mut all = running;
        for id in waiting { all.extend(set.give_up(id, ms(1000)).1); }
        while let Some(id) = all.pop() { all.extend(set.finish(id, ms(1001))); }
        set.tick(ms(2000));
        prop_assert_eq!((set.executing, set.waiting, set.seats_in_use, set.seats_waiting), (0, 0, 0, 0));
        prop_assert!(set.requests.is_empty() && set.lingering.is_empty());
    }
}
