//! What containers use, from `/proc`.

use std::time::SystemTime;

use async_trait::async_trait;
use futures::StreamExt as _;
use nix::unistd::{SysconfVar, sysconf};
use tokio::sync::broadcast::error::RecvError;

use super::{
    ProcessRuntime,
    container::Entry,
    disk::SandboxRecord,
    procfs::{self, Memory, Table},
    services::sandbox_item,
};
use crate::{
    ContainerFilter, ContainerId, ContainerState, ContainerStats, CpuUsage, Error, EventStream, MemoryUsage,
    PodSandboxFilter, PodSandboxStats, RuntimeEvent, SandboxId, Stats,
};

/// The processes of the machine at one moment.
struct Snapshot {
    table: Table,
    now: SystemTime,
    page_bytes: u64,
    ticks_a_second: u64,
}

impl Snapshot {
    async fn take() -> Result<Self, Error> {
        let take = || {
            let known = |name, usual| sysconf(name).ok().flatten().and_then(|n| u64::try_from(n).ok()).unwrap_or(usual);
            Self {
                table: Table::read(),
                now: SystemTime::now(),
                page_bytes: known(SysconfVar::PAGE_SIZE, 4096),
                ticks_a_second: known(SysconfVar::CLK_TCK, 100),
            }
        };
        // Reads a file for each process of the machine.
        tokio::task::spawn_blocking(take).await.map_err(|error| Error::internal("measuring was cut short", error))
    }

    /// A container's figures and the number of its processes.
    fn container(&self, entry: &Entry) -> (ContainerStats, u64) {
        let config = &entry.record.config;
        let mut stats = ContainerStats::new(entry.record.id.clone(), config.metadata.clone());
        stats.labels.clone_from(&config.labels);
        let supervisor = {
            let status = entry.status();
            status.supervisor.clone().filter(|_| status.state == ContainerState::Running)
        };
        let (mut ticks, mut memory, mut processes) = (0, Memory::default(), 0);
        if let Some(supervisor) = supervisor {
            // Whatever ended was waited for by its parent or, in the end, by the supervisor.
            ticks += self.table.get(supervisor.pid).map_or(0, |process| process.reaped_ticks);
            for pid in self.table.descendants(supervisor.pid) {
                ticks += self.table.get(pid).map_or(0, |process| process.own_ticks + process.reaped_ticks);
                let used = procfs::memory(pid, self.page_bytes);
                memory.resident += used.resident;
                memory.shared += used.shared;
                processes += 1;
            }
        }
        let nanos = procfs::ticks(ticks, self.ticks_a_second).as_nanos();
        stats.cpu = Some(CpuUsage::new(self.now, u64::try_from(nanos).unwrap_or(u64::MAX)));
        // Program text is shared by all who run it, and can be read again: it is not held against anyone.
        let own = memory.resident.saturating_sub(memory.shared);
        let mut usage = MemoryUsage::new(self.now, own);
        usage.usage_bytes = Some(memory.resident);
        usage.rss_bytes = Some(own);
        stats.memory = Some(usage);
        (stats, processes)
    }

    fn sandbox(&self, record: &SandboxRecord, inside: &[std::sync::Arc<Entry>]) -> PodSandboxStats {
        let mut stats = PodSandboxStats::new(record.id.clone(), record.config.metadata.clone());
        stats.labels.clone_from(&record.config.labels);
        let (mut cpu, mut memory) = (CpuUsage::new(self.now, 0), MemoryUsage::new(self.now, 0));
        let mut processes = 0;
        for entry in inside.iter().filter(|entry| entry.record.sandbox_id == record.id) {
            let (container, count) = self.container(entry);
            processes += count;
            cpu.usage_core_nano_seconds += container.cpu.as_ref().map_or(0, |cpu| cpu.usage_core_nano_seconds);
            memory.working_set_bytes += container.memory.as_ref().map_or(0, |memory| memory.working_set_bytes);
            stats.containers.push(container);
        }
        memory.rss_bytes = Some(memory.working_set_bytes);
        (stats.cpu, stats.memory, stats.process_count) = (Some(cpu), Some(memory), Some(processes));
        stats
    }
}

fn is_running(entry: &Entry) -> bool {
    entry.state() == ContainerState::Running
}

#[async_trait]
impl Stats for ProcessRuntime {
    async fn container_stats(&self, id: &ContainerId) -> Result<ContainerStats, Error> {
        let entry = self.inner.container(id)?;
        Ok(Snapshot::take().await?.container(&entry).0)
    }

    async fn list_container_stats(&self, filter: &ContainerFilter) -> Result<Vec<ContainerStats>, Error> {
        let snapshot = Snapshot::take().await?;
        let running = self.inner.containers(is_running);
        let wanted = running.iter().filter(|entry| filter.matches(&entry.list_item()));
        Ok(wanted.map(|entry| snapshot.container(entry).0).collect())
    }

    async fn pod_sandbox_stats(&self, id: &SandboxId) -> Result<PodSandboxStats, Error> {
        let record = self.inner.sandbox(id)?;
        Ok(Snapshot::take().await?.sandbox(&record, &self.inner.containers(is_running)))
    }

    async fn list_pod_sandbox_stats(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandboxStats>, Error> {
        let (snapshot, running) = (Snapshot::take().await?, self.inner.containers(is_running));
        let ready = self.inner.sandboxes().into_iter().filter(|record| record.ready);
        let wanted = ready.filter(|record| filter.matches(&sandbox_item(record)));
        Ok(wanted.map(|record| snapshot.sandbox(&record, &running)).collect())
    }

    async fn events(&self) -> Result<EventStream, Error> {
        let receiver = self.inner.events.subscribe();
        let stream = futures::stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(event) => Some((RuntimeEvent::Container(event), receiver)),
                // What is still buffered is older than the list that the reader makes now.
                Err(RecvError::Lagged(_)) => Some((RuntimeEvent::Resync, receiver.resubscribe())),
                Err(RecvError::Closed) => None,
            }
        });
        Ok(stream.boxed())
    }
}
