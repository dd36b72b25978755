//! What `/proc` tells of processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

/// A process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) parent: i32,
    /// When it started, in clock ticks since the machine did: with its pid, this names it for good.
    pub(super) start_ticks: u64,
    /// Its own CPU time, in clock ticks.
    pub(super) own_ticks: u64,
    /// The CPU time of its children that ended and were waited for, in clock ticks.
    pub(super) reaped_ticks: u64,
    pub(super) zombie: bool,
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) resident: u64,
    /// The part of it that is backed by files or shared.
    pub(super) shared: u64,
}

/// Every process by its pid.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<i32, Process>);

impl Table {
    /// Reads all of `/proc`: some tens of microseconds a process.
    pub(super) fn read() -> Self {
        Self(pids().filter_map(|pid| Some((pid, process(pid)?))).collect())
    }

    pub(super) fn get(&self, pid: i32) -> Option<&Process> {
        self.0.get(&pid)
    }

    /// All that descend from a process, without itself.
    pub(super) fn descendants(&self, root: i32) -> BTreeSet<i32> {
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for (pid, process) in &self.0 {
            children.entry(process.parent).or_default().push(*pid);
        }
        let (mut found, mut next) = (BTreeSet::new(), vec![root]);
        while let Some(parent) = next.pop() {
            for child in children.get(&parent).into_iter().flatten() {
                if found.insert(*child) {
                    next.push(*child);
                }
            }
        }
        found
    }
}

/// All pids now.
pub(super) fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// One process, unless it is gone.
pub(super) fn process(pid: i32) -> Option<Process> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(stat: &str) -> Option<Process> {
    // The name, in parentheses, may hold anything: what follows the last one is fixed.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        start_ticks: number(19)?,
        own_ticks: number(11)? + number(12)?,
        reaped_ticks: number(13)? + number(14)?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
    })
}

/// A process's memory; nothing if it is gone.
pub(super) fn memory(pid: i32, page_bytes: u64) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: Vec<u64> = text.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
    match pages.as_slice() {
        [_, resident, shared, ..] => Memory { resident: resident * page_bytes, shared: shared * page_bytes },
        _ => Memory::default(),
    }
}

/// Whether a process's environment, as it was given at its start, has this entry (`NAME=value`).
pub(super) fn has_environment(pid: i32, entry: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|candidate| candidate == entry)
}

/// Names this boot of the machine: pids of another one mean nothing.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Clock ticks as time.
pub(super) fn ticks(ticks: u64, ticks_a_second: u64) -> Duration {
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / ticks_a_second.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_line_whatever_the_name_is() {
        let line = "42 (a) S 9 (b)) S 7 42 42 0 -1 4194560 1 2 3 4 10 5 20 8 20 0 1 0 9000 2 3 4";
        let process = parse_stat(line).unwrap();
        assert_eq!((process.parent, process.start_ticks, process.zombie), (7, 9000, false));
        assert_eq!((process.own_ticks, process.reaped_ticks), (15, 28));
        assert_eq!(parse_stat("42 (a"), None);
    }

    #[test]
    fn finds_itself_below_its_parent() {
        let table = Table::read();
        let own = i32::try_from(std::process::id()).unwrap();
        let parent = table.get(own).expect("this process").parent;
        assert!(table.descendants(parent).contains(&own));
        assert!(!table.descendants(own).contains(&own));
        assert!(memory(own, 4096).resident > 0);
    }
}
