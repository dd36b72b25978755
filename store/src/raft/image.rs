//! A whole state on its way to a replica that is too far behind for entries: in pieces, a few at a time,
//! each sent again until it is known to have arrived.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{Message, Snapshot};

use super::disk::{Checkpoint, message, message_bytes};
use super::frame::Frame;
use crate::Revision;
use crate::codec::{Decoder, Reason, put_bytes};
use crate::driver::Core;
use crate::state::{ImageSink, ImageSource, State};

/// Pieces that may be on their way at a time.
const WINDOW: usize = 8;
/// Ticks after which pieces that did not arrive are sent again.
const AGAIN: usize = 4;

#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) to: u64,
    transfer: u64,
    /// `None` when all of it was read.
    source: Option<ImageSource>,
    keep: Revision,
    /// The number of the first piece that is on its way.
    first: u64,
    on_their_way: VecDeque<Bytes>,
    /// Ticks since anything arrived or was sent again, and since anything arrived.
    quiet: usize,
    silent: usize,
}

impl Sending {
    /// Begins to send the state as it is now. `message` is what raft wants to send.
    pub(crate) fn new(transfer: u64, mut message: Message, checkpoint: &Checkpoint, core: &Core) -> Self {
        // Raft asked for a state at least as new as it is, so the newest will do.
        message.set_snapshot(snapshot(checkpoint));
        let mut head = Vec::new();
        put_bytes(&mut head, &message_bytes(&message));
        checkpoint.encode(&mut head);
        let source = ImageSource::new(&core.state());
        Self {
            to: message.to,
            transfer,
            keep: source.keep(),
            source: Some(source),
            first: 0,
            on_their_way: VecDeque::from([head.into()]),
            quiet: AGAIN,
            silent: 0,
        }
    }

    /// From where on history must not be pruned.
    pub(crate) const fn keep(&self) -> Revision {
        self.keep
    }

    /// Sends what may be sent.
    pub(crate) fn send(&mut self, core: &Core, out: &mut dyn FnMut(Frame)) {
        if self.quiet >= AGAIN {
            self.quiet = 0;
            let again = (self.first..).zip(&self.on_their_way);
            again.for_each(|(number, data)| out(self.piece(number, data.clone())));
        }
        while self.on_their_way.len() < WINDOW
            && let Some(source) = &mut self.source
        {
            let Some(block) = source.next(&core.state()) else {
                self.source = None;
                return;
            };
            let (number, data) = (self.first + self.on_their_way.len() as u64, Bytes::from(block));
            self.on_their_way.push_back(data.clone());
            out(self.piece(number, data));
        }
    }

    const fn piece(&self, number: u64, data: Bytes) -> Frame {
        Frame::Piece { transfer: self.transfer, number, data }
    }

    /// Notes that all pieces before `next` arrived.
    pub(crate) fn arrived(&mut self, transfer: u64, next: u64) {
        if transfer != self.transfer || next <= self.first || next > self.first + self.on_their_way.len() as u64 {
            return;
        }
        self.on_their_way.drain(..(next - self.first) as usize);
        self.first = next;
        (self.quiet, self.silent) = (0, 0);
    }

    /// Everything arrived.
    pub(crate) fn is_done(&self) -> bool {
        self.source.is_none() && self.on_their_way.is_empty()
    }

    /// Lets a tick pass; answers for how many nothing has arrived.
    pub(crate) const fn tick(&mut self) -> usize {
        self.quiet += 1;
        self.silent += 1;
        self.silent
    }
}

/// What raft must know of a state.
pub(crate) fn snapshot(checkpoint: &Checkpoint) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let meta = snapshot.mut_metadata();
    (meta.index, meta.term) = (checkpoint.index, checkpoint.term);
    meta.set_conf_state(checkpoint.conf_state.clone());
    snapshot
}

/// A state that arrives.
#[derive(Debug)]
pub(crate) struct Receiving {
    from: u64,
    transfer: u64,
    next: u64,
    message: Message,
    checkpoint: Checkpoint,
    sink: ImageSink,
}

/// A state that arrived.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) state: State,
}

impl Receiving {
    /// Begins with the first piece of a state.
    pub(crate) fn new(from: u64, transfer: u64, data: &[u8]) -> Result<Self, Reason> {
        let mut decoder = Decoder::new(data);
        let message: Message = message(decoder.slice()?)?;
        let checkpoint = Checkpoint::decode(&mut decoder)?;
        decoder.finish()?;
        if message.from != from || *message.get_snapshot() != snapshot(&checkpoint) || checkpoint.index == 0 {
            return Err("a whole state whose head is wrong");
        }
        Ok(Self { from, transfer, next: 1, message, checkpoint, sink: ImageSink::default() })
    }

    pub(crate) fn is(&self, from: u64, transfer: u64) -> bool {
        (self.from, self.transfer) == (from, transfer)
    }

    /// How far it is.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Takes a piece. One that is not the next is left for later.
    pub(crate) fn piece(&mut self, number: u64, data: &[u8]) -> Result<(), Reason> {
        if number != self.next {
            return Ok(());
        }
        self.sink.block(data)?;
        self.next += 1;
        Ok(())
    }

    /// The state, once all of it is there.
    pub(crate) fn finish(self) -> Result<Received, Box<Self>> {
        if !self.sink.is_done() {
            return Err(Box::new(self));
        }
        let Self { message, checkpoint, sink, .. } = self;
        // A sink that is done has a state.
        let state = sink.finish().unwrap_or_default();
        Ok(Received { message, checkpoint, state })
    }
}
