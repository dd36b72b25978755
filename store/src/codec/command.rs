//! Commands as bytes.

use std::time::Duration;

use super::{Decoder, Reason, put_bytes, put_lease, put_number, put_range};
use crate::state::Command;
use crate::txn::DEPTH_MAX;
use crate::{Compare, CompareOp, CompareTarget, Consistency, LeaseId, Op, Put, RangeOptions, Revision, Txn};

const TXN: u8 = 1;
const COMPACT: u8 = 2;
const LEASE_GRANT: u8 = 3;
const LEASE_REVOKE: u8 = 4;

pub(crate) fn encode_command(command: &Command, to: &mut Vec<u8>) {
    match command {
        Command::Txn(txn) => {
            to.reserve(txn.size() + 64);
            to.push(TXN);
            put_txn(to, txn);
        }
        Command::Compact(revision) => {
            to.push(COMPACT);
            put_number(to, revision.0);
        }
        Command::LeaseGrant { id, ttl } => {
            to.push(LEASE_GRANT);
            put_optional(to, id.map(|id| id.0 as u64));
            put_number(to, ttl.as_secs());
            put_number(to, u64::from(ttl.subsec_nanos()));
        }
        Command::LeaseRevoke(id) => {
            to.push(LEASE_REVOKE);
            put_number(to, id.0 as u64);
        }
    }
}

pub(crate) fn decode_command(bytes: &[u8]) -> Result<Command, Reason> {
    let mut from = Decoder::new(bytes);
    let command = match from.byte()? {
        TXN => Command::Txn(txn(&mut from, DEPTH_MAX)?),
        COMPACT => Command::Compact(from.revision()?),
        LEASE_GRANT => Command::LeaseGrant {
            id: optional(&mut from)?.map(|id| LeaseId(id as i64)),
            ttl: from.seconds()? + nanoseconds(&mut from)?,
        },
        LEASE_REVOKE => Command::LeaseRevoke(LeaseId(from.number()? as i64)),
        _ => return Err("unknown command"),
    };
    from.finish()?;
    Ok(command)
}

fn nanoseconds(from: &mut Decoder<'_>) -> Result<Duration, Reason> {
    match u32::try_from(from.number()?) {
        Ok(nanos) if nanos < 1_000_000_000 => Ok(Duration::from_nanos(u64::from(nanos))),
        _ => Err("too many nanoseconds"),
    }
}

fn put_txn(to: &mut Vec<u8>, txn: &Txn) {
    put_number(to, txn.compares.len() as u64);
    txn.compares.iter().for_each(|c| put_compare(to, c));
    for ops in [&txn.success, &txn.failure] {
        put_number(to, ops.len() as u64);
        ops.iter().for_each(|op| put_op(to, op));
    }
}

fn txn(from: &mut Decoder<'_>, depth: usize) -> Result<Txn, Reason> {
    let depth = depth.checked_sub(1).ok_or("too many transactions within one another")?;
    let mut txn = Txn::new();
    for _ in 0..from.count(4)? {
        txn.compares.push(compare(from)?);
    }
    for _ in 0..from.count(2)? {
        txn.success.push(op(from, depth)?);
    }
    for _ in 0..from.count(2)? {
        txn.failure.push(op(from, depth)?);
    }
    Ok(txn)
}

fn put_optional(to: &mut Vec<u8>, number: Option<u64>) {
    to.push(u8::from(number.is_some()));
    if let Some(number) = number {
        put_number(to, number);
    }
}

fn optional(from: &mut Decoder<'_>) -> Result<Option<u64>, Reason> {
    Ok(match from.byte()? {
        0 => None,
        1 => Some(from.number()?),
        _ => return Err("neither some nor none"),
    })
}

fn put_compare(to: &mut Vec<u8>, compare: &Compare) {
    to.push(match compare.op {
        CompareOp::Equal => 0,
        CompareOp::NotEqual => 1,
        CompareOp::Greater => 2,
        CompareOp::Less => 3,
    });
    put_range(to, &compare.range);
    match &compare.target {
        CompareTarget::Version(version) => {
            to.push(0);
            put_number(to, *version);
        }
        CompareTarget::CreateRevision(revision) => {
            to.push(1);
            put_number(to, revision.0);
        }
        CompareTarget::ModRevision(revision) => {
            to.push(2);
            put_number(to, revision.0);
        }
        CompareTarget::Value(value) => {
            to.push(3);
            put_bytes(to, value);
        }
        CompareTarget::Lease(lease) => {
            to.push(4);
            put_lease(to, *lease);
        }
    }
}

fn compare(from: &mut Decoder<'_>) -> Result<Compare, Reason> {
    let op = match from.byte()? {
        0 => CompareOp::Equal,
        1 => CompareOp::NotEqual,
        2 => CompareOp::Greater,
        3 => CompareOp::Less,
        _ => return Err("unknown comparison"),
    };
    let range = from.range()?;
    let target = match from.byte()? {
        0 => CompareTarget::Version(from.number()?),
        1 => CompareTarget::CreateRevision(from.revision()?),
        2 => CompareTarget::ModRevision(from.revision()?),
        3 => CompareTarget::Value(from.bytes()?),
        4 => CompareTarget::Lease(from.lease()?),
        _ => return Err("unknown compare target"),
    };
    Ok(Compare::new(range, op, target))
}

fn put_op(to: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Put(put) => {
            to.push(0);
            to.push(u8::from(put.keep_value) | u8::from(put.keep_lease) << 1);
            put_bytes(to, &put.key);
            put_bytes(to, &put.value);
            put_lease(to, put.lease);
        }
        Op::Delete(key) => {
            to.push(1);
            put_bytes(to, key);
        }
        Op::DeleteRange(range) => {
            to.push(2);
            put_range(to, range);
        }
        Op::Get(key) => {
            to.push(3);
            put_bytes(to, key);
        }
        Op::Range(range, options) => {
            to.push(4);
            put_range(to, range);
            put_options(to, options);
        }
        Op::Txn(inner) => {
            to.push(5);
            put_txn(to, inner);
        }
    }
}

fn op(from: &mut Decoder<'_>, depth: usize) -> Result<Op, Reason> {
    Ok(match from.byte()? {
        0 => {
            let flags = from.byte()?;
            let mut put = Put::new(from.key()?, from.bytes()?).lease(from.lease()?);
            put.keep_value = flags & 1 != 0;
            put.keep_lease = flags & 2 != 0;
            Op::Put(put)
        }
        1 => Op::Delete(from.key()?),
        2 => Op::DeleteRange(from.range()?),
        3 => Op::Get(from.key()?),
        4 => Op::Range(from.range()?, options(from)?),
        5 => Op::Txn(txn(from, depth)?),
        _ => return Err("unknown operation"),
    })
}

fn put_options(to: &mut Vec<u8>, options: &RangeOptions) {
    to.push(
        u8::from(options.keys_only)
            | u8::from(options.count) << 1
            | u8::from(options.count_only) << 2
            | u8::from(options.consistency == Consistency::Serializable) << 3,
    );
    put_optional(to, options.revision.map(|revision| revision.0));
    put_optional(to, options.limit.map(|limit| limit as u64));
}

fn options(from: &mut Decoder<'_>) -> Result<RangeOptions, Reason> {
    let flags = from.byte()?;
    let mut options = RangeOptions::latest();
    options.keys_only = flags & 1 != 0;
    options.count = flags & 2 != 0;
    options.count_only = flags & 4 != 0;
    if flags & 8 != 0 {
        options.consistency = Consistency::Serializable;
    }
    options.revision = optional(from)?.map(Revision);
    options.limit = optional(from)?.map(|limit| limit as usize);
    Ok(options)
}
