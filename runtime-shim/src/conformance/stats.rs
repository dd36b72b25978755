#![expect(missing_docs, reason = "the names of the cases say it")]

use std::time::Duration;

use futures::StreamExt as _;

use super::{PATIENCE, Subject, pod::Pod};
use crate::{ContainerEventType, ContainerFilter, PodSandboxFilter, RuntimeCondition, RuntimeEvent};

pub async fn stats_are_about_the_right_things(subject: Subject) {
    let runtime = &subject.runtime;
    let pod = Pod::run(&subject, "measured").await;
    let config = pod.container("main", "sleep 1000");
    let id = pod.start(&config).await;
    let stats = super::pod::until("there are figures", async || {
        let stats = runtime.container_stats(&id).await.ok()?;
        stats.memory.as_ref().is_some_and(|memory| memory.working_set_bytes > 0).then_some(stats)
    })
    .await;
    assert_eq!((&stats.id, &stats.metadata), (&id, &config.metadata));
    assert_eq!(stats.labels, config.labels);
    assert!(stats.cpu.is_some());
    let listed = runtime.list_container_stats(&ContainerFilter::sandbox(pod.id.clone())).await.expect("figures");
    assert_eq!(listed.len(), 1);
    let of_pod = runtime.pod_sandbox_stats(&pod.id).await.expect("figures");
    assert_eq!((&of_pod.id, &of_pod.metadata), (&pod.id, &pod.config.metadata));
    assert_eq!(of_pod.containers.len(), 1);
    let filter = PodSandboxFilter::pod_uid(&pod.config.metadata.uid);
    assert_eq!(runtime.list_pod_sandbox_stats(&filter).await.expect("figures").len(), 1);
    assert!(runtime.container_stats(&"no-such".into()).await.is_err());
    assert!(runtime.pod_sandbox_stats(&"no-such".into()).await.is_err());
    pod.remove().await;
}

pub async fn events_tell_a_life_in_order(subject: Subject) {
    use ContainerEventType::{Created, Deleted, Started, Stopped};
    let mut events = subject.runtime.events().await.expect("events");
    let pod = Pod::run(&subject, "told").await;
    let id = pod.start_script("main", "sleep 1000").await;
    let mut told = Vec::new();
    let mut hear = async |awaited: ContainerEventType| {
        while told.last() != Some(&awaited) {
            let event = tokio::time::timeout(PATIENCE, events.next()).await.expect("in time").expect("an event");
            match event {
                RuntimeEvent::Container(event) if event.container_id == id => {
                    assert_eq!(event.sandbox_id, pod.id);
                    told.push(event.event_type);
                }
                _ => {}
            }
        }
    };
    hear(Started).await;
    subject.runtime.stop_container(&id, Duration::ZERO).await.expect("a stopped container");
    hear(Stopped).await;
    subject.runtime.remove_container(&id).await.expect("a removed container");
    hear(Deleted).await;
    assert_eq!(told, [Created, Started, Stopped, Deleted]);
    pod.remove().await;
}

pub async fn a_runtime_says_what_it_is(subject: Subject) {
    let version = subject.runtime.version().await.expect("a version");
    assert!(!version.runtime_name.is_empty() && !version.runtime_version.is_empty());
    assert_eq!(version.runtime_api_version, "v1");
    let status = subject.runtime.status().await.expect("a status");
    for kind in [RuntimeCondition::RUNTIME_READY, RuntimeCondition::NETWORK_READY] {
        assert!(status.is_ready(kind), "{status:?}");
    }
}
