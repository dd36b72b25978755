//! Writing the database file that etcd keeps: all pages of a tree one after the other, nothing to spare. The layout
//! is told where it is read.

use super::bolt::{BRANCH, BUCKET, ELEMENT, FREE, LEAF, MAGIC, META, PAGE_HEADER, VERSION, fnv};

const PAGE: usize = 4096;
/// The first two pages are heads, the third tells of free pages.
const FIRST: u64 = 3;

/// A key and its value.
pub(super) type Item = (Vec<u8>, Vec<u8>);

/// The whole file with these buckets, which are in the order of their names, as are items in that of their keys.
pub(super) fn file(buckets: Vec<(&[u8], Vec<Item>)>) -> Vec<u8> {
    let mut pages = Pages { bytes: vec![0; FIRST as usize * PAGE] };
    let mut roots = Vec::new();
    for (name, items) in buckets {
        let mut value = pages.tree(0, items).to_le_bytes().to_vec();
        // Where a bucket that numbers its keys is.
        value.extend_from_slice(&[0; 8]);
        roots.push((name.to_vec(), value));
    }
    let root = pages.tree(BUCKET, roots);
    let end = pages.next();
    pages.bytes[2 * PAGE..2 * PAGE + PAGE_HEADER].copy_from_slice(&header(2, FREE, 0, 0));
    for id in 0..2 {
        let mut head = header(id, META, 0, 0).to_vec();
        let body = head.len();
        for number in [MAGIC, VERSION, PAGE as u32, 0] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        for number in [root, 0, 2, end, id] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        let sum = fnv(&head[body..]);
        head.extend_from_slice(&sum.to_le_bytes());
        let place = id as usize * PAGE;
        pages.bytes[place..place + head.len()].copy_from_slice(&head);
    }
    pages.bytes
}

struct Pages {
    bytes: Vec<u8>,
}

impl Pages {
    /// The number of the next page.
    const fn next(&self) -> u64 {
        (self.bytes.len() / PAGE) as u64
    }

    /// Writes a tree; answers its root.
    fn tree(&mut self, flags: u32, items: Vec<Item>) -> u64 {
        let mut level = self.leaves(flags, items);
        while level.len() > 1 {
            level = self.branches(level);
        }
        level[0].1
    }

    /// Writes leaves; answers the first key in each, and its page.
    fn leaves(&mut self, flags: u32, items: Vec<Item>) -> Vec<(Vec<u8>, u64)> {
        let size = |(key, value): &Item| key.len() + value.len();
        let mut written = Vec::new();
        for items in together(items, size) {
            let (mut front, mut back) = (Vec::new(), Vec::new());
            for (n, (key, value)) in items.iter().enumerate() {
                let place = (items.len() - n) * ELEMENT + back.len();
                for number in [flags, place as u32, key.len() as u32, value.len() as u32] {
                    front.extend_from_slice(&number.to_le_bytes());
                }
                back.extend_from_slice(key);
                back.extend_from_slice(value);
            }
            front.extend(back);
            let page = self.page(LEAF, items.len(), &front);
            written.push((items.into_iter().next().map(|(key, _)| key).unwrap_or_default(), page));
        }
        written
    }

    fn branches(&mut self, children: Vec<(Vec<u8>, u64)>) -> Vec<(Vec<u8>, u64)> {
        let mut written = Vec::new();
        for children in together(children, |(key, _)| key.len()) {
            let (mut front, mut back) = (Vec::new(), Vec::new());
            for (n, (key, page)) in children.iter().enumerate() {
                let place = (children.len() - n) * ELEMENT + back.len();
                for number in [place as u32, key.len() as u32] {
                    front.extend_from_slice(&number.to_le_bytes());
                }
                front.extend_from_slice(&page.to_le_bytes());
                back.extend_from_slice(key);
            }
            front.extend(back);
            let page = self.page(BRANCH, children.len(), &front);
            written.push((children.into_iter().next().map(|(key, _)| key).unwrap_or_default(), page));
        }
        written
    }

    fn page(&mut self, flags: u16, count: usize, body: &[u8]) -> u64 {
        let id = self.next();
        let more = (PAGE_HEADER + body.len() - 1) / PAGE;
        self.bytes.extend_from_slice(&header(id, flags, count, more));
        self.bytes.extend_from_slice(body);
        self.bytes.resize((id as usize + 1 + more) * PAGE, 0);
        id
    }
}

/// Items in groups that each fit on a page; one that is too large for a page is alone on several. At least one group.
fn together<T>(items: Vec<T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut groups, mut group, mut taken) = (Vec::new(), Vec::new(), PAGE_HEADER);
    for item in items {
        let size = ELEMENT + size(&item);
        if taken + size > PAGE && !group.is_empty() {
            groups.push(std::mem::take(&mut group));
            taken = PAGE_HEADER;
        }
        taken += size;
        group.push(item);
    }
    groups.push(group);
    groups
}

fn header(id: u64, flags: u16, count: usize, more: usize) -> [u8; PAGE_HEADER] {
    let mut header = [0; PAGE_HEADER];
    header[..8].copy_from_slice(&id.to_le_bytes());
    header[8..10].copy_from_slice(&flags.to_le_bytes());
    header[10..12].copy_from_slice(&(count as u16).to_le_bytes());
    header[12..].copy_from_slice(&(more as u32).to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::super::bolt::Bolt;
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let item =
            |n: u32| (n.to_be_bytes().to_vec(), vec![n as u8; if n % 100 == 7 { 10_000 } else { n as usize % 300 }]);
        for count in [0, 1, 5, 3000] {
            let items: Vec<Item> = (0..count).map(item).collect();
            let file = file(vec![(b"empty", Vec::new()), (b"key", items.clone())]);
            let bolt = Bolt::open(&file).expect("two sound heads");
            let mut seen = Vec::new();
            let bucket = bolt.bucket(b"key").expect("sound").expect("there");
            bolt.each(bucket, &mut |key, value| {
                seen.push((key.to_vec(), value.to_vec()));
                Ok(())
            })
            .expect("sound");
            assert!(seen == items, "{count} items");
            let empty = bolt.bucket(b"empty").expect("sound").expect("there");
            bolt.each(empty, &mut |_, _| Err("something is there")).expect("nothing is there");
        }
    }
}
