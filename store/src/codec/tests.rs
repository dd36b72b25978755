use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::state::Command;
use crate::{Compare, CompareOp, CompareTarget, Op, Put, RangeOptions, Txn};

fn key() -> impl Strategy<Value = Key> {
    vec(any::<u8>(), 0..6).prop_map(Key::from)
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        key().prop_map(KeyRange::key),
        key().prop_map(KeyRange::prefix),
        (key(), key()).prop_map(|(a, b)| KeyRange::between(a, b)),
        key().prop_map(KeyRange::starting_at),
    ]
}

fn lease() -> impl Strategy<Value = Option<LeaseId>> {
    proptest::option::of((1..i64::MAX).prop_map(LeaseId))
}

fn options() -> impl Strategy<Value = RangeOptions> {
    (any::<[bool; 4]>(), any::<Option<u64>>(), any::<Option<u32>>()).prop_map(|(flags, revision, limit)| {
        let mut options = RangeOptions::latest().revision(revision.map(Revision));
        options.limit = limit.map(|limit| limit as usize);
        [options.keys_only, options.count, options.count_only, _] = flags;
        if flags[3] {
            options.consistency = crate::Consistency::Serializable;
        }
        options
    })
}

fn op() -> impl Strategy<Value = Op> {
    plain_op().prop_recursive(3, 8, 3, |inner| {
        (vec(compare(), 0..2), vec(inner.clone(), 0..3), vec(inner, 0..3)).prop_map(|(c, s, f)| {
            let mut txn = Txn::new();
            (txn.compares, txn.success, txn.failure) = (c, s, f);
            Op::Txn(txn)
        })
    })
}

fn plain_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (key(), vec(any::<u8>(), 0..300), lease(), any::<[bool; 2]>()).prop_map(|(k, v, l, f)| {
            let mut put = Put::new(k, v).lease(l);
            [put.keep_value, put.keep_lease] = f;
            Op::Put(put)
        }),
        key().prop_map(Op::Delete),
        range().prop_map(Op::DeleteRange),
        key().prop_map(Op::Get),
        (range(), options()).prop_map(|(r, o)| Op::Range(r, o)),
    ]
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        any::<u64>().prop_map(CompareTarget::Version),
        any::<u64>().prop_map(|r| CompareTarget::CreateRevision(Revision(r))),
        any::<u64>().prop_map(|r| CompareTarget::ModRevision(Revision(r))),
        vec(any::<u8>(), 0..9).prop_map(|v| CompareTarget::Value(v.into())),
        lease().prop_map(CompareTarget::Lease),
    ];
    let how = prop_oneof![
        Just(CompareOp::Equal),
        Just(CompareOp::NotEqual),
        Just(CompareOp::Greater),
        Just(CompareOp::Less),
    ];
    (range(), how, target).prop_map(|(range, how, target)| Compare::new(range, how, target))
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (vec(compare(), 0..4), vec(op(), 0..4), vec(op(), 0..4)).prop_map(|(c, s, f)| {
            let mut txn = Txn::new();
            (txn.compares, txn.success, txn.failure) = (c, s, f);
            Command::Txn(txn)
        }),
        any::<u64>().prop_map(|r| Command::Compact(Revision(r))),
        (lease(), 0..u64::MAX / 2, 0..1_000_000_000_u32).prop_map(|(id, secs, nanos)| {
            let ttl = Duration::new(secs, nanos);
            Command::LeaseGrant { id, ttl }
        }),
        (1..i64::MAX).prop_map(|id| Command::LeaseRevoke(LeaseId(id))),
    ]
}

proptest! {
    #[test]
    fn every_command_comes_back_as_it_was(command in command()) {
        let mut bytes = Vec::new();
        encode_command(&command, &mut bytes);
        prop_assert_eq!(decode_command(&bytes), Ok(command));
        // And no part of it stands for another command.
        for end in 0..bytes.len() {
            prop_assert!(decode_command(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..200), tag in 0..6_u8) {
        let _ = decode_command(&bytes);
        let mut tagged = vec![tag];
        tagged.extend_from_slice(&bytes);
        let _ = decode_command(&tagged);
    }
}
