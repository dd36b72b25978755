//! What replicas send one another, as bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of this format |
//! | numbers | cluster, sender, receiver |
//! | 1 | kind |
//! | rest | a message of raft, a piece of a whole state, how much of one has arrived, who the members are, what is there, or nothing |
//! | 4 | CRC-32C of all before it: what is changed on the way would otherwise be agreed upon, and end every replica |

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::disk::{message, put_message};
use crate::codec::{Decoder, Reason, put_number};

const VERSION: u8 = 2;
const SUM: usize = 4;
const RAFT: u8 = 1;
const PIECE: u8 = 2;
const ARRIVED: u8 = 3;
const REMOVED: u8 = 4;
const AM_I_MEMBER: u8 = 5;
const NEW_HERE: u8 = 6;
const HAVE: u8 = 7;

#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    /// 0 while the sender does not know its cluster.
    pub(crate) cluster: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) frame: Frame,
}

#[derive(Clone, Debug)]
pub(crate) enum Frame {
    Raft(Box<Message>),
    /// Piece `number` of the state that is sent as `transfer`.
    Piece {
        transfer: u64,
        number: u64,
        data: Bytes,
    },
    /// All pieces before `next` are there.
    Arrived {
        transfer: u64,
        next: u64,
    },
    /// The receiver is no member any more: as of this index of the log these vote. The sender will not forget that.
    Removed {
        index: u64,
        voters: Vec<u64>,
    },
    /// Is the sender no member any more? Only whoever knows that it is none answers.
    AmIMember,
    /// The sender founds the cluster, or lost its directory, and has no more than this entry: what do others have?
    NewHere {
        session: u64,
        last: u64,
    },
    /// The sender's newest entry, for whoever asked in this session.
    Have {
        session: u64,
        last: u64,
    },
}

/// Why bytes are no envelope, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) offset: usize,
    pub(crate) reason: Reason,
}

impl Envelope {
    pub(crate) fn encode(&self) -> Bytes {
        let entries = |message: &Message| message.entries.iter().map(|entry| entry.data.len() + 64).sum::<usize>();
        let room = if let Frame::Raft(message) = &self.frame { entries(message) } else { 0 };
        let mut to = Vec::with_capacity(96 + room);
        to.push(VERSION);
        [self.cluster, self.from, self.to].iter().for_each(|number| put_number(&mut to, *number));
        match &self.frame {
            Frame::Raft(message) => {
                to.push(RAFT);
                put_message(&mut to, &**message);
            }
            Frame::Piece { transfer, number, data } => {
                to.push(PIECE);
                put_number(&mut to, *transfer);
                put_number(&mut to, *number);
                to.extend_from_slice(data);
            }
            Frame::Arrived { transfer, next } => {
                to.push(ARRIVED);
                put_number(&mut to, *transfer);
                put_number(&mut to, *next);
            }
            Frame::Removed { index, voters } => {
                to.push(REMOVED);
                put_number(&mut to, *index);
                put_number(&mut to, voters.len() as u64);
                voters.iter().for_each(|voter| put_number(&mut to, *voter));
            }
            Frame::AmIMember => to.push(AM_I_MEMBER),
            Frame::NewHere { session, last } => {
                to.push(NEW_HERE);
                put_number(&mut to, *session);
                put_number(&mut to, *last);
            }
            Frame::Have { session, last } => {
                to.push(HAVE);
                put_number(&mut to, *session);
                put_number(&mut to, *last);
            }
        }
        seal(&mut to);
        to.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Refused> {
        let Some((body, sum)) = bytes.split_last_chunk::<SUM>() else {
            return Err(Refused { offset: bytes.len(), reason: "too short" });
        };
        // Others may have other sums.
        if body.first().is_some_and(|version| *version == VERSION) && crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
            return Err(Refused { offset: body.len(), reason: "the checksum does not match" });
        }
        let mut from = Decoder::new(body);
        let decoded = Self::read(&mut from);
        decoded.map_err(|reason| Refused { offset: body.len() - from.left(), reason })
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, Reason> {
        if from.byte()? != VERSION {
            return Err("another version of the format");
        }
        let (cluster, sender, to) = (from.number()?, from.number()?, from.number()?);
        if sender == 0 || to == 0 || sender == to {
            return Err("no sender and receiver");
        }
        let frame = match from.byte()? {
            RAFT => {
                let message: Message = message(from.rest())?;
                sound(&message)?;
                // Who was the leader passes requests on to the new one.
                let passed_on = matches!(message.get_msg_type(), MessageType::MsgPropose | MessageType::MsgReadIndex);
                if message.to != to || (message.from != sender && !passed_on) {
                    return Err("a message of raft from or to somebody else");
                }
                Frame::Raft(Box::new(message))
            }
            PIECE => Frame::Piece {
                transfer: from.number()?,
                number: from.number()?,
                data: Bytes::copy_from_slice(from.rest()),
            },
            ARRIVED => Frame::Arrived { transfer: from.number()?, next: from.number()? },
            REMOVED => Frame::Removed {
                index: from.number()?,
                voters: (0..from.count(1)?).map(|_| from.number()).collect::<Result<_, _>>()?,
            },
            AM_I_MEMBER => Frame::AmIMember,
            NEW_HERE => Frame::NewHere { session: from.number()?, last: from.number()? },
            HAVE => Frame::Have { session: from.number()?, last: from.number()? },
            _ => return Err("unknown kind of frame"),
        };
        if !from.is_done() {
            return Err("unexpected bytes at the end");
        }
        Ok(Self { cluster, from: sender, to, frame })
    }
}

fn seal(to: &mut Vec<u8>) {
    let sum = crc32c::crc32c(to);
    to.extend_from_slice(&sum.to_le_bytes());
}

/// Refuses messages that raft would trip over, whatever its state.
fn sound(message: &Message) -> Result<(), Reason> {
    let entries = message.get_entries();
    match message.get_msg_type() {
        MessageType::MsgAppend => {
            let follows = |(n, entry): (usize, &Entry)| {
                message.index.checked_add(n as u64 + 1) == Some(entry.index)
                    && entry.term > 0
                    && entry.term >= message.log_term
                    && entry.term <= message.term
            };
            if !entries.iter().enumerate().all(follows) {
                return Err("entries that do not follow one another");
            }
        }
        MessageType::MsgPropose if entries.is_empty() => return Err("a proposal of nothing"),
        MessageType::MsgPropose => {
            let known = |entry: &Entry| entry.get_entry_type() != EntryType::EntryConfChange;
            if !entries.iter().all(known) {
                return Err("a kind of entry that nobody proposes");
            }
        }
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp if entries.len() != 1 => {
            return Err("a read without its name");
        }
        // Whole states travel in pieces.
        MessageType::MsgSnapshot => return Err("a whole state in one message"),
        kind if raft::raw_node::is_local_msg(kind) => return Err("a message that never travels"),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelope(frame: Frame) -> Envelope {
        Envelope { cluster: 7, from: 1, to: 2, frame }
    }

    fn append() -> Message {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        (message.from, message.to, message.term, message.index) = (1, 2, 3, 4);
        let entry = Entry { index: 5, term: 3, data: "data".into(), ..Entry::default() };
        message.set_entries(vec![entry].into());
        message
    }

    #[test]
    fn frames_come_back_from_bytes() {
        for frame in [
            Frame::Raft(Box::new(append())),
            Frame::Piece { transfer: 9, number: 1, data: "piece".into() },
            Frame::Arrived { transfer: 9, next: 2 },
            Frame::Removed { index: 9, voters: vec![1, 3] },
            Frame::AmIMember,
            Frame::NewHere { session: 1 << 48, last: 1 },
            Frame::Have { session: 1 << 48, last: 900 },
        ] {
            let bytes = envelope(frame.clone()).encode();
            let back = Envelope::decode(&bytes).expect("sound");
            assert_eq!((back.cluster, back.from, back.to), (7, 1, 2));
            assert_eq!(format!("{frame:?}"), format!("{:?}", back.frame));
        }
    }

    #[test]
    fn what_raft_would_trip_over_is_refused() {
        let refused = |change: fn(&mut Message)| {
            let mut message = append();
            change(&mut message);
            Envelope::decode(&envelope(Frame::Raft(Box::new(message))).encode()).expect_err("refused").reason
        };
        assert_eq!(refused(|m| m.index = 7), "entries that do not follow one another");
        assert_eq!(refused(|m| m.from = 3), "a message of raft from or to somebody else");
        assert_eq!(refused(|m| m.set_msg_type(MessageType::MsgHup)), "a message that never travels");
        assert_eq!(refused(|m| m.set_msg_type(MessageType::MsgSnapshot)), "a whole state in one message");
        let nothing = refused(|m| {
            m.clear_entries();
            m.set_msg_type(MessageType::MsgPropose);
        });
        assert_eq!(nothing, "a proposal of nothing");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_envelope_or_refused_with_the_place(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Err(refused) = Envelope::decode(&bytes) {
                prop_assert!(refused.offset <= bytes.len() && !refused.reason.is_empty());
            }
        }

        #[test]
        fn a_damaged_envelope_is_decoded_or_refused(at in 0_usize..40, byte in any::<u8>(), cut in 0_usize..40) {
            let sound_bytes = envelope(Frame::Raft(Box::new(append()))).encode().to_vec();
            let mut bytes = sound_bytes.clone();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(length - cut % length);
            if bytes != sound_bytes {
                prop_assert!(Envelope::decode(&bytes).is_err());
            }
            // With a sum that fits, it may be anything.
            bytes.truncate(bytes.len().saturating_sub(SUM));
            seal(&mut bytes);
            if let Ok(envelope) = Envelope::decode(&bytes) && let Frame::Raft(message) = envelope.frame {
                prop_assert!(sound(&message).is_ok());
            }
        }
    }
}
