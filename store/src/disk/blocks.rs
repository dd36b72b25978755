//! Bytes on their way to a file, in whole blocks and at an address that direct writes accept.

/// Every disk and file system in use takes direct writes of this size.
pub(crate) const BLOCK: usize = 4096;
/// One huge batch should not hold its memory for good.
const KEPT_MAX: usize = 4 << 20;

/// The end of a file as it will be: what is there already of the block in which new bytes begin, and those.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    bytes: Vec<u8>,
    /// Where the first block begins, so that its address is a multiple of [`BLOCK`].
    start: usize,
    /// How much of the first block is in the file already.
    there: usize,
}

impl Blocks {
    /// Begins after what is in the file of the last, unfinished block, with room for so many bytes more.
    pub(crate) fn begin(&mut self, room: usize) {
        let end = self.start + self.there;
        self.bytes.truncate(end);
        let needed = self.there + room + BLOCK;
        let excess = self.bytes.capacity() > KEPT_MAX && needed + BLOCK < KEPT_MAX / 2;
        if self.bytes.capacity() >= self.start + needed && !self.bytes.is_empty() && !excess {
            return;
        }
        let mut bytes: Vec<u8> = Vec::with_capacity(needed + BLOCK);
        let start = bytes.as_ptr().align_offset(BLOCK);
        bytes.resize(start, 0);
        bytes.extend_from_slice(&self.bytes[self.start..end]);
        (self.bytes, self.start) = (bytes, start);
    }

    /// Where new bytes are to be appended, no more than there was said to be room for.
    pub(crate) const fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The new bytes.
    pub(crate) fn new_bytes(&self) -> &[u8] {
        &self.bytes[self.start + self.there..]
    }

    pub(crate) fn new_len(&self) -> usize {
        self.bytes.len() - self.start - self.there
    }

    /// Fills the last block up with zeros; answers how many bytes the blocks have.
    pub(crate) fn fill_up(&mut self) -> usize {
        let length = (self.bytes.len() - self.start).next_multiple_of(BLOCK);
        self.bytes.resize(self.start + length, 0);
        length
    }

    /// The blocks, filled up.
    pub(crate) fn whole(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The first `length` new bytes are in the file: the next begin after them.
    pub(crate) fn keep(&mut self, length: usize) {
        let end = self.there + length;
        let first = end / BLOCK * BLOCK;
        self.bytes.copy_within(self.start + first..self.start + end, self.start);
        self.there = end - first;
        self.bytes.truncate(self.start + self.there);
    }

    /// The new bytes are not wanted: zeros take their place.
    pub(crate) fn wipe(&mut self) {
        let from = self.start + self.there;
        self.bytes[from..].fill(0);
    }

    /// Begins anew in a file that has these bytes of its last, unfinished block.
    pub(crate) fn restart(&mut self, there: &[u8]) {
        (self.there, self.start) = (0, 0);
        self.bytes.clear();
        self.begin(there.len());
        self.bytes.extend_from_slice(there);
        self.there = there.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_begin_at_whole_addresses_and_with_what_is_there() {
        let (mut blocks, mut file) = (Blocks::default(), Vec::new());
        blocks.restart(b"head");
        file.extend_from_slice(b"head");
        for (n, length) in [1, 300, 4000, 4096, 5_000_000, 8, 20_000, 3, 100_000].into_iter().enumerate() {
            let new = vec![n as u8 + 1; length];
            blocks.begin(length);
            blocks.bytes().extend_from_slice(&new);
            assert_eq!((blocks.new_bytes(), blocks.new_len()), (&*new, length));
            let whole = blocks.fill_up();
            assert_eq!((whole % BLOCK, blocks.whole().len()), (0, whole));
            assert_eq!(blocks.whole().as_ptr().align_offset(BLOCK), 0);
            let first = file.len() / BLOCK * BLOCK;
            file.extend_from_slice(&new);
            let (written, zeros) = blocks.whole().split_at(file.len() - first);
            assert_eq!(written, &file[first..]);
            assert!(zeros.iter().all(|byte| *byte == 0));
            blocks.keep(length);
        }
        assert!(blocks.bytes.capacity() < KEPT_MAX);
    }
}
