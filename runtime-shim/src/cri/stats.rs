//! The trait for figures and events.

use async_trait::async_trait;

use super::{CriRuntime, convert, events, messages as api, read};
use crate::{
    ContainerFilter, ContainerId, ContainerStats, CpuUsage, Error, EventStream, MemoryUsage, NetworkUsage,
    PodSandboxFilter, PodSandboxStats, PodSandboxes as _, SandboxId, Stats,
};

fn cpu(cpu: api::CpuUsage) -> CpuUsage {
    let used = read::number(&cpu.usage_core_nano_seconds).unwrap_or(0);
    let mut read = CpuUsage::new(read::time(cpu.timestamp), used);
    read.usage_nano_cores = read::number(&cpu.usage_nano_cores);
    read
}

fn memory(memory: api::MemoryUsage) -> MemoryUsage {
    let used = read::number(&memory.working_set_bytes).unwrap_or(0);
    let mut read = MemoryUsage::new(read::time(memory.timestamp), used);
    // Without a limit, containerd says that nothing is left.
    read.available_bytes = read::number(&memory.available_bytes).filter(|left| *left > 0);
    read.usage_bytes = read::number(&memory.usage_bytes);
    read.rss_bytes = read::number(&memory.rss_bytes);
    read.page_faults = read::number(&memory.page_faults);
    read.major_page_faults = read::number(&memory.major_page_faults);
    read
}

fn network(usage: api::NetworkUsage) -> Option<NetworkUsage> {
    let interface = usage.default_interface?;
    let mut read = NetworkUsage::new(read::time(usage.timestamp), interface.name);
    read.rx_bytes = read::number(&interface.rx_bytes).unwrap_or(0);
    read.rx_errors = read::number(&interface.rx_errors).unwrap_or(0);
    read.tx_bytes = read::number(&interface.tx_bytes).unwrap_or(0);
    read.tx_errors = read::number(&interface.tx_errors).unwrap_or(0);
    Some(read)
}

fn container(stats: api::ContainerStats) -> ContainerStats {
    let attributes = stats.attributes.unwrap_or_default();
    let mut read = ContainerStats::new(attributes.id.into(), read::container_metadata(attributes.metadata));
    read.labels = attributes.labels;
    read.cpu = stats.cpu.map(cpu);
    read.memory = stats.memory.map(memory);
    read.writable_layer = stats.writable_layer.map(read::filesystem);
    read
}

fn sandbox(stats: api::PodSandboxStats) -> PodSandboxStats {
    let attributes = stats.attributes.unwrap_or_default();
    let mut read = PodSandboxStats::new(attributes.id.into(), read::sandbox_metadata(attributes.metadata));
    read.labels = attributes.labels;
    let linux = stats.linux.unwrap_or_default();
    read.cpu = linux.cpu.map(cpu);
    read.memory = linux.memory.map(memory);
    read.network = linux.network.and_then(network);
    read.process_count = linux.process.and_then(|process| read::number(&process.process_count));
    read.containers = linux.containers.into_iter().map(container).collect();
    read
}

/// Whether a runtime has no figures of pods: some do not know the call, and some fail at pods without a cgroup of
/// their own.
const fn cannot(error: &Error) -> bool {
    matches!(error, Error::Unsupported { .. } | Error::Internal { .. })
}

impl CriRuntime {
    /// A pod's figures as the sum of its containers', for runtimes that give none of pods.
    async fn summed(&self, id: &SandboxId) -> Result<PodSandboxStats, Error> {
        let status = self.pod_sandbox_status(id).await?.sandbox;
        let containers = self.list_container_stats(&ContainerFilter::sandbox(id.clone())).await?;
        let mut stats = PodSandboxStats::new(id.clone(), status.metadata);
        stats.labels = status.labels;
        let cpus = containers.iter().filter_map(|container| container.cpu.as_ref());
        stats.cpu = cpus
            .clone()
            .map(|cpu| cpu.timestamp)
            .max()
            .map(|at| CpuUsage::new(at, cpus.map(|cpu| cpu.usage_core_nano_seconds).sum()));
        let memories = containers.iter().filter_map(|container| container.memory.as_ref());
        stats.memory = memories
            .clone()
            .map(|memory| memory.timestamp)
            .max()
            .map(|at| MemoryUsage::new(at, memories.map(|memory| memory.working_set_bytes).sum()));
        stats.containers = containers;
        Ok(stats)
    }
}

#[async_trait]
impl Stats for CriRuntime {
    async fn container_stats(&self, id: &ContainerId) -> Result<ContainerStats, Error> {
        let question = api::ContainerStatsRequest { container_id: id.to_string() };
        let answer: api::ContainerStatsResponse = self.call("ContainerStats", question).await?;
        answer.stats.map(container).ok_or_else(|| Error::container_not_found(id))
    }

    async fn list_container_stats(&self, filter: &ContainerFilter) -> Result<Vec<ContainerStats>, Error> {
        let filter = convert::container_filter(filter);
        let question = api::ListContainerStatsRequest {
            filter: Some(api::ContainerStatsFilter {
                id: filter.id,
                pod_sandbox_id: filter.pod_sandbox_id,
                label_selector: filter.label_selector,
            }),
        };
        let answer: api::ListContainerStatsResponse = self.call("ListContainerStats", question).await?;
        Ok(answer.stats.into_iter().map(container).collect())
    }

    async fn pod_sandbox_stats(&self, id: &SandboxId) -> Result<PodSandboxStats, Error> {
        let question = api::PodSandboxStatsRequest { pod_sandbox_id: id.to_string() };
        match self.call::<_, api::PodSandboxStatsResponse>("PodSandboxStats", question).await {
            Ok(answer) => answer.stats.map(sandbox).ok_or_else(|| Error::sandbox_not_found(id)),
            Err(error) if cannot(&error) => self.summed(id).await,
            Err(error) => Err(error),
        }
    }

    async fn list_pod_sandbox_stats(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandboxStats>, Error> {
        let wanted = convert::sandbox_filter(filter);
        let question = api::ListPodSandboxStatsRequest {
            filter: Some(api::PodSandboxStatsFilter { id: wanted.id, label_selector: wanted.label_selector }),
        };
        match self.call::<_, api::ListPodSandboxStatsResponse>("ListPodSandboxStats", question).await {
            Ok(answer) => Ok(answer.stats.into_iter().map(sandbox).collect()),
            Err(error) if cannot(&error) => {
                let mut ready = filter.clone();
                ready.state = Some(crate::PodSandboxState::Ready);
                let ready = self.list_pod_sandboxes(&ready).await?;
                futures::future::try_join_all(ready.iter().map(|sandbox| self.summed(&sandbox.id))).await
            }
            Err(error) => Err(error),
        }
    }

    async fn events(&self) -> Result<EventStream, Error> {
        events::events(self.clone()).await
    }
}
