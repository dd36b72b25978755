//! Shuffle sharding: each flow has a few queues of its own among many, so that a flow which fills all of its queues
//! hardly ever fills all of another's.

/// The queues of a flow, by the flow's hash: `hand` different numbers below `queues`.
pub(super) fn deal(mut hash: u64, queues: usize, hand: usize) -> Vec<usize> {
    let hand = hand.min(queues);
    let mut dealt: Vec<usize> = Vec::with_capacity(hand);
    let mut sorted: Vec<usize> = Vec::with_capacity(hand);
    for left in (queues - hand + 1..=queues).rev() {
        let left = left as u64;
        #[allow(clippy::cast_possible_truncation, reason = "it is below the number of queues")]
        let mut card = (hash % left) as usize;
        hash /= left;
        // The card is counted among those that are left: each smaller one that was dealt moves it up.
        let mut at = 0;
        while at < sorted.len() && sorted[at] <= card {
            card += 1;
            at += 1;
        }
        sorted.insert(at, card);
        dealt.push(card);
    }
    dealt
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hands_are_those_of_a_dealer() {
        assert_eq!(deal(0, 4, 2), [0, 1]);
        assert_eq!(deal(1, 4, 2), [1, 0]);
        assert_eq!(deal(3 + 4 * 2, 4, 2), [3, 2]);
        assert_eq!(deal(7, 1, 1), [0]);
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for hash in 0..4 * 3 {
            deal(hash, 4, 2).into_iter().for_each(|queue| *counts.entry(queue).or_default() += 1);
        }
        assert!(counts.values().all(|count| *count == 6), "{counts:?}");
    }

    proptest! {
        #[test]
        fn a_hand_has_no_card_twice(hash: u64, queues in 1usize..200, hand in 1usize..10) {
            let mut dealt = deal(hash, queues, hand);
            prop_assert_eq!(dealt.len(), hand.min(queues));
            prop_assert!(dealt.iter().all(|card| *card < queues));
            dealt.sort_unstable();
            dealt.dedup();
            prop_assert_eq!(dealt.len(), hand.min(queues));
        }
    }
}
