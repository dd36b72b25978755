//! Reading the database file that etcd keeps: bbolt's, a copy-on-write B+ tree in pages.
//!
//! | bytes | what |
//! |---|---|
//! | 16 at the start of a page | its number, what it is, how many elements it has, how many pages it goes on for |
//! | 64 after that in the first two pages | magic, version, size of a page, flags, root, free pages, end, transaction, checksum |
//! | 16 an element | in a leaf: flags, place of the key, length of key, of value; in a branch: place, length, page |
//!
//! Numbers have their least significant byte first. A value that is a bucket is the number of its root page and a
//! counter; if the number is 0, the page itself follows.

use crate::codec::Reason;

pub(super) const PAGE_HEADER: usize = 16;
pub(super) const ELEMENT: usize = 16;
pub(super) const MAGIC: u32 = 0xed0c_daed;
pub(super) const VERSION: u32 = 2;
pub(super) const BRANCH: u16 = 1;
pub(super) const LEAF: u16 = 2;
pub(super) const META: u16 = 4;
pub(super) const FREE: u16 = 16;
pub(super) const BUCKET: u32 = 1;
/// Far deeper than any tree that fits on a disk.
const DEPTH_MAX: usize = 32;

/// What is wrong, and where.
pub(super) type Damage = (u64, Reason);

/// Whether this looks like the beginning of such a file.
pub(super) fn is_bolt(first: &[u8]) -> bool {
    number(first, PAGE_HEADER).is_ok_and(|magic: u32| magic == MAGIC)
}

/// A whole file in memory.
pub(super) struct Bolt<'a> {
    bytes: &'a [u8],
    page_size: usize,
    root: u64,
}

/// Where the pages of a bucket begin.
#[derive(Clone, Copy)]
pub(super) enum Bucket {
    Page(u64),
    /// The page is in the value of an element, at this place of the file.
    Inline(usize),
}

impl<'a> Bolt<'a> {
    /// Finds the newest of the two heads that are sound.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Damage> {
        // The second is where the first says that pages end, if that can be read at all.
        let second = number::<u32>(bytes, PAGE_HEADER + 8).map_or(4096, |size| size as usize);
        let heads = [0, second, 4096].into_iter().filter_map(|place| Self::head(bytes, place));
        let newest = heads.max_by_key(|(transaction, _)| *transaction);
        newest.map(|(_, bolt)| bolt).ok_or((0, "no sound head"))
    }

    fn head(bytes: &'a [u8], place: usize) -> Option<(u64, Self)> {
        let at = place.checked_add(PAGE_HEADER)?;
        let covered = bytes.get(at..at.checked_add(56)?)?;
        let field = |offset: usize| number::<u32>(bytes, at + offset).ok();
        let long = |offset: usize| number::<u64>(bytes, at + offset).ok();
        let (magic, version, page_size) = (field(0)?, field(4)?, field(8)? as usize);
        let is_sound = magic == MAGIC && version == VERSION && fnv(covered) == long(56)?;
        let is_sized = page_size.is_power_of_two() && (512..=1 << 20).contains(&page_size);
        (is_sound && is_sized).then_some((long(48)?, Self { bytes, page_size, root: long(16)? }))
    }

    /// The bucket of this name among those at the root.
    pub(super) fn bucket(&self, name: &[u8]) -> Result<Option<Bucket>, Damage> {
        let mut found = None;
        self.visit(Bucket::Page(self.root), &mut |flags, key, value| {
            if key == name && flags & BUCKET != 0 {
                let place = value.as_ptr() as usize - self.bytes.as_ptr() as usize;
                found = Some(match number(value, 0)? {
                    0 => Bucket::Inline(place + 16),
                    page => Bucket::Page(page),
                });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Shows everything in a bucket, in the order of keys.
    pub(super) fn each(
        &self,
        bucket: Bucket,
        visit: &mut dyn FnMut(&'a [u8], &'a [u8]) -> Result<(), Reason>,
    ) -> Result<(), Damage> {
        self.visit(bucket, &mut |flags, key, value| if flags & BUCKET == 0 { visit(key, value) } else { Ok(()) })
    }

    fn visit(&self, bucket: Bucket, visit: Visit<'a, '_>) -> Result<(), Damage> {
        match bucket {
            Bucket::Inline(place) => self.page(place, None, DEPTH_MAX, visit),
            Bucket::Page(page) => {
                let place = self.place(page, 0)?;
                self.page(place, Some(page), 0, visit)
            }
        }
    }

    fn place(&self, page: u64, named_at: usize) -> Result<usize, Damage> {
        let place = usize::try_from(page).ok().and_then(|page| page.checked_mul(self.page_size));
        place.filter(|place| place + PAGE_HEADER <= self.bytes.len()).ok_or((named_at as u64, "a page beyond the end"))
    }

    fn page(&self, place: usize, page: Option<u64>, depth: usize, visit: Visit<'a, '_>) -> Result<(), Damage> {
        let at = |reason: Reason| (place as u64, reason);
        let id: u64 = number(self.bytes, place).map_err(at)?;
        let flags: u16 = number(self.bytes, place + 8).map_err(at)?;
        let count: u16 = number(self.bytes, place + 10).map_err(at)?;
        if page.is_some_and(|page| page != id) {
            return Err(at("a page that says it is another"));
        }
        for n in 0..usize::from(count) {
            let element = place + PAGE_HEADER + n * ELEMENT;
            let wrong = |reason: Reason| (element as u64, reason);
            match flags {
                LEAF => {
                    let field = |offset: usize| number::<u32>(self.bytes, element + offset).map_err(wrong);
                    let (flags, from, key, value) = (field(0)?, field(4)?, field(8)?, field(12)?);
                    let from = element + from as usize;
                    let middle = from + key as usize;
                    let slice =
                        |from: usize, to: usize| self.bytes.get(from..to).ok_or_else(|| wrong("beyond the end"));
                    visit(flags, slice(from, middle)?, slice(middle, middle + value as usize)?).map_err(wrong)?;
                }
                BRANCH if depth < DEPTH_MAX => {
                    let child: u64 = number(self.bytes, element + 8).map_err(wrong)?;
                    let place = self.place(child, element)?;
                    self.page(place, Some(child), depth + 1, visit)?;
                }
                BRANCH => return Err(wrong("branches without end")),
                _ => return Err(at("a page of no kind that is in a tree")),
            }
        }
        Ok(())
    }
}

type Visit<'a, 'v> = &'v mut dyn FnMut(u32, &'a [u8], &'a [u8]) -> Result<(), Reason>;

/// A number of as many bytes as it has, least significant first.
trait Little: Sized {
    fn read(bytes: &[u8], at: usize) -> Option<Self>;
}

macro_rules! little {
    ($($type:ty)*) => {
        $(impl Little for $type {
            fn read(bytes: &[u8], at: usize) -> Option<Self> {
                let end = at.checked_add(size_of::<Self>())?;
                bytes.get(at..end)?.try_into().ok().map(Self::from_le_bytes)
            }
        })*
    };
}

little!(u16 u32 u64);

fn number<N: Little>(bytes: &[u8], at: usize) -> Result<N, Reason> {
    N::read(bytes, at).ok_or("beyond the end")
}

/// FNV-1a, with which heads are checked.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const PAGE: usize = 1024;

    fn page(id: u64, flags: u16, count: usize, body: &[u8]) -> Vec<u8> {
        let mut page = id.to_le_bytes().to_vec();
        page.extend_from_slice(&flags.to_le_bytes());
        page.extend_from_slice(&(count as u16).to_le_bytes());
        page.extend_from_slice(&[0; 4]);
        page.extend_from_slice(body);
        page
    }

    fn head(id: u64, transaction: u64) -> Vec<u8> {
        let mut head = Vec::new();
        for number in [MAGIC, VERSION, PAGE as u32, 0] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        for number in [3, 0, 2, 99, transaction] {
            head.extend_from_slice(&u64::to_le_bytes(number));
        }
        let sum = fnv(&head);
        head.extend_from_slice(&sum.to_le_bytes());
        page(id, 4, 0, &head)
    }

    fn elements(of: &[(u32, Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let (mut front, mut back) = (Vec::new(), Vec::new());
        for (n, (flags, key, value)) in of.iter().enumerate() {
            let place = (of.len() - n) * ELEMENT + back.len();
            for number in [*flags, place as u32, key.len() as u32, value.len() as u32] {
                front.extend_from_slice(&number.to_le_bytes());
            }
            back.extend_from_slice(key);
            back.extend_from_slice(value);
        }
        front.extend(back);
        front
    }

    /// How many elements, and they.
    type Leaf = (usize, Vec<u8>);
    type Named<'a> = (&'a [u8], Leaf);

    /// The elements of a bucket.
    pub(in super::super) fn leaf(of: &[(Vec<u8>, Vec<u8>)]) -> Leaf {
        let of: Vec<_> = of.iter().map(|(key, value)| (0, key.clone(), value.clone())).collect();
        (of.len(), elements(&of))
    }

    /// A file with these buckets: the first has a branch and a leaf of its own, the others lie in the root.
    pub(in super::super) fn file(buckets: &[Named<'_>]) -> Vec<u8> {
        let bucket = |(n, (name, (count, body))): (usize, &Named<'_>)| {
            let root = if n == 0 { 4_u64 } else { 0 };
            let mut value = root.to_le_bytes().to_vec();
            value.extend_from_slice(&[0; 8]);
            if n > 0 {
                value.extend(page(0, LEAF, *count, body));
            }
            (BUCKET, name.to_vec(), value)
        };
        let root: Vec<_> = buckets.iter().enumerate().map(bucket).collect();
        let (count, body) = &buckets[0].1;
        let mut branch = Vec::new();
        branch.extend_from_slice(&16_u32.to_le_bytes());
        branch.extend_from_slice(&0_u32.to_le_bytes());
        branch.extend_from_slice(&5_u64.to_le_bytes());
        let pages = [
            // The head of a transaction that was not finished, and the one that counts.
            head(0, 6),
            head(1, 7),
            page(2, 16, 0, &[]),
            page(3, LEAF, root.len(), &elements(&root)),
            page(4, BRANCH, 1, &branch),
            page(5, LEAF, *count, body),
        ];
        let mut file = Vec::new();
        for mut page in pages {
            assert!(page.len() <= PAGE);
            page.resize(PAGE, 0);
            file.extend(page);
        }
        file
    }

    #[test]
    fn one_sound_head_is_enough() {
        let sound = file(&[(b"key", leaf(&[(b"a".to_vec(), b"1".to_vec())]))]);
        for torn in [0, PAGE] {
            let mut file = sound.clone();
            file[torn + PAGE_HEADER + 20] ^= 1;
            let bolt = Bolt::open(&file).expect("the other one");
            let bucket = bolt.bucket(b"key").expect("sound").expect("there");
            let mut seen = Vec::new();
            bolt.each(bucket, &mut |key, value| {
                seen.push((key, value));
                Ok(())
            })
            .expect("sound");
            assert_eq!(seen, [(&b"a"[..], &b"1"[..])]);
            assert!(bolt.bucket(b"other").expect("sound").is_none());
            file[PAGE - torn + PAGE_HEADER + 20] ^= 1;
            assert!(Bolt::open(&file).is_err());
        }
    }

    #[test]
    fn a_branch_that_leads_to_itself_ends() {
        let mut file = file(&[(b"key", leaf(&[(b"a".to_vec(), b"1".to_vec())]))]);
        file[4 * PAGE + PAGE_HEADER + 8] = 4;
        let bolt = Bolt::open(&file).expect("sound");
        let bucket = bolt.bucket(b"key").expect("sound").expect("there");
        let (offset, reason) = bolt.each(bucket, &mut |_, _| Ok(())).expect_err("without end");
        assert_eq!((offset, reason), (4 * PAGE as u64 + 16, "branches without end"));
    }
}
