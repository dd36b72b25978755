use std::path::Path;

use kubewright_api::quantity::{Format, Quantity};
use kubewright_api::requests::ResourceList;

use crate::config::KubeletConfig;

/// What the machine has, in bytes and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) total: u64,
    pub(super) available: u64,
}

/// Reads the memory of the machine; zeros where that cannot be known.
pub(super) fn memory() -> Memory {
    parse_meminfo(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn parse_meminfo(text: &str) -> Memory {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Memory { total: field("MemTotal"), available: field("MemAvailable") }
}

/// A file system's size and what is left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Bytes in all.
    pub(crate) total: u64,
    /// Bytes that may be written.
    pub(crate) available: u64,
    /// Inodes in all; 0 where they are not counted.
    pub(crate) inodes: u64,
    /// Inodes that may be used.
    pub(crate) inodes_free: u64,
}

/// Reads the size of the file system that holds a path; `None` where that cannot be known.
pub(crate) fn disk(path: &Path) -> Option<Disk> {
    let found = nix::sys::statvfs::statvfs(path).ok()?;
    let block = found.fragment_size();
    Some(Disk {
        total: found.blocks() * block,
        available: found.blocks_available() * block,
        inodes: found.files(),
        inodes_free: found.files_available(),
    })
}

/// What the node has, and what of it pods may use.
pub(super) fn capacity(config: &KubeletConfig) -> (ResourceList, ResourceList) {
    let cores = std::thread::available_parallelism().map_or(1, |cores| i64::try_from(cores.get()).unwrap_or(1));
    let bytes = |bytes: u64| Quantity::new(i64::try_from(bytes / 1024 * 1024).unwrap_or(i64::MAX), Format::BinarySi);
    let mut capacity = ResourceList::from([
        ("cpu".to_owned(), Quantity::new(cores, Format::DecimalSi)),
        ("memory".to_owned(), bytes(memory().total)),
        ("pods".to_owned(), Quantity::new(i64::from(config.pods_max), Format::DecimalSi)),
    ]);
    if let Some(disk) = disk(&config.root_dir) {
        capacity.insert("ephemeral-storage".to_owned(), bytes(disk.total));
    }
    capacity.extend(config.capacity.clone());
    let mut allocatable = capacity.clone();
    let mut take = |name: &str, amount: Quantity| {
        if let Some(left) = allocatable.get_mut(name) {
            *left = (*left - amount).max(Quantity::ZERO);
        }
    };
    for (name, amount) in &config.reserved {
        take(name, *amount);
    }
    if let Some(threshold) = config.eviction.memory_available_bytes {
        take("memory", bytes(threshold));
    }
    (capacity, allocatable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read() {
        let text = "MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:    8192 kB\n";
        assert_eq!(parse_meminfo(text), Memory { total: 16 << 20, available: 8 << 20 });
        assert_eq!(parse_meminfo(""), Memory::default());
    }

    #[test]
    fn what_is_reserved_is_not_allocatable() {
        let mut config = KubeletConfig::new("n", "192.0.2.1".parse().unwrap(), "/tmp");
        config.capacity = ResourceList::from([
            ("cpu".to_owned(), "4".parse().unwrap()),
            ("memory".to_owned(), "1Gi".parse().unwrap()),
            ("example.com/gpu".to_owned(), "2".parse().unwrap()),
        ]);
        config.reserved = ResourceList::from([("cpu".to_owned(), "500m".parse().unwrap())]);
        let (capacity, allocatable) = capacity(&config);
        assert_eq!(capacity["cpu"].to_string(), "4");
        assert_eq!(allocatable["cpu"].to_string(), "3500m");
        assert_eq!(allocatable["memory"].to_string(), "924Mi");
        assert_eq!(allocatable["pods"].to_string(), "110");
        assert_eq!(allocatable["example.com/gpu"].to_string(), "2");
    }
}
