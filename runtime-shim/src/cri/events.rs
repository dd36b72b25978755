//! Events, from the runtime where it has them, and else from lists.

use std::{
    collections::{BTreeMap, VecDeque},
    time::SystemTime,
};

use futures::StreamExt as _;
use tonic::Streaming;

use super::{
    CriRuntime,
    messages::{ContainerEventResponse, Empty},
    read,
};
use crate::{
    Container, ContainerEvent, ContainerEventType, ContainerFilter, ContainerId, ContainerState, Containers as _,
    Error, EventStream, RuntimeEvent, SandboxId,
};

const METHOD: &str = "GetContainerEvents";

/// Where events come from.
enum Source {
    Runtime(Box<Streaming<ContainerEventResponse>>),
    Lists(Known),
    /// The runtime went away.
    Broken,
}

/// The containers of the last list.
type Known = BTreeMap<ContainerId, (SandboxId, ContainerState)>;

struct Reader {
    runtime: CriRuntime,
    source: Source,
    waiting: VecDeque<RuntimeEvent>,
}

pub(super) async fn events(runtime: CriRuntime) -> Result<EventStream, Error> {
    let source = runtime.event_source().await?;
    let reader = Reader { runtime, source, waiting: VecDeque::new() };
    let stream = futures::stream::unfold(reader, |mut reader| async move {
        loop {
            if let Some(event) = reader.waiting.pop_front() {
                return Some((event, reader));
            }
            reader.read().await;
        }
    });
    Ok(stream.boxed())
}

impl CriRuntime {
    async fn event_source(&self) -> Result<Source, Error> {
        match self.call_stream(METHOD, Empty {}).await {
            Ok(stream) => Ok(Source::Runtime(Box::new(stream))),
            Err(Error::Unsupported { .. }) => {
                Ok(Source::Lists(known(&self.list_containers(&ContainerFilter::all()).await?)))
            }
            Err(error) => Err(error),
        }
    }
}

impl Reader {
    /// Waits for something to happen.
    async fn read(&mut self) {
        let period = self.runtime.config.relist_period;
        match &mut self.source {
            Source::Runtime(stream) => match stream.message().await {
                Ok(Some(message)) => self.waiting.extend(event(message)),
                // containerd says only here that it does not know the method.
                Err(status) if status.code() == tonic::Code::Unimplemented => self.start_lists().await,
                _ => self.source = Source::Broken,
            },
            Source::Lists(known_before) => {
                tokio::time::sleep(period).await;
                match self.runtime.list_containers(&ContainerFilter::all()).await {
                    Ok(list) => {
                        let now = known(&list);
                        self.waiting.extend(differences(known_before, &now, SystemTime::now()));
                        *known_before = now;
                    }
                    Err(_) => self.source = Source::Broken,
                }
            }
            Source::Broken => {
                tokio::time::sleep(period).await;
                if let Ok(source) = self.runtime.event_source().await {
                    self.source = source;
                    self.waiting.push_back(RuntimeEvent::Resync);
                }
            }
        }
    }

    async fn start_lists(&mut self) {
        self.source = match self.runtime.list_containers(&ContainerFilter::all()).await {
            Ok(list) => Source::Lists(known(&list)),
            Err(_) => Source::Broken,
        };
        // What happened until now was in nobody's list.
        self.waiting.push_back(RuntimeEvent::Resync);
    }
}

fn event(message: ContainerEventResponse) -> Option<RuntimeEvent> {
    let sandbox = message.pod_sandbox_status.map(|status| status.id).unwrap_or_default();
    let event_type = match message.container_event_type {
        0 => ContainerEventType::Created,
        1 => ContainerEventType::Started,
        2 => ContainerEventType::Stopped,
        3 => ContainerEventType::Deleted,
        _ => return None,
    };
    // Runtimes that make a sandbox of a container tell of that as well.
    if message.container_id == sandbox {
        return None;
    }
    let (id, at) = (ContainerId::new(message.container_id), read::time(message.created_at));
    Some(RuntimeEvent::Container(ContainerEvent::new(id, SandboxId::new(sandbox), event_type, at)))
}

fn known(list: &[Container]) -> Known {
    list.iter().map(|container| (container.id.clone(), (container.sandbox_id.clone(), container.state))).collect()
}

/// What must have happened between two lists.
fn differences(before: &Known, now: &Known, at: SystemTime) -> Vec<RuntimeEvent> {
    let mut events = Vec::new();
    let mut tell = |id: &ContainerId, sandbox: &SandboxId, event_type| {
        events.push(RuntimeEvent::Container(ContainerEvent::new(id.clone(), sandbox.clone(), event_type, at)));
    };
    for (id, (sandbox, state)) in now {
        let old = before.get(id).map(|(_, state)| *state);
        if old.is_none() {
            tell(id, sandbox, ContainerEventType::Created);
        }
        let was = old.unwrap_or(ContainerState::Created);
        if was < ContainerState::Running && *state >= ContainerState::Running {
            tell(id, sandbox, ContainerEventType::Started);
        }
        if was < ContainerState::Exited && *state >= ContainerState::Exited {
            tell(id, sandbox, ContainerEventType::Stopped);
        }
    }
    for (id, (sandbox, state)) in before.iter().filter(|(id, _)| !now.contains_key(*id)) {
        if *state == ContainerState::Running {
            tell(id, sandbox, ContainerEventType::Stopped);
        }
        tell(id, sandbox, ContainerEventType::Deleted);
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(containers: &[(&str, ContainerState)]) -> Known {
        containers.iter().map(|(id, state)| ((*id).into(), ("s".into(), *state))).collect()
    }

    #[test]
    fn lists_tell_what_must_have_happened() {
        use ContainerEventType::{Created, Deleted, Started, Stopped};
        use ContainerState::{Exited, Running};
        let before = list(&[("a", Running), ("b", ContainerState::Created), ("c", Running)]);
        let now = list(&[("a", Running), ("b", Exited), ("d", Running)]);
        let told: Vec<_> = differences(&before, &now, SystemTime::UNIX_EPOCH)
            .into_iter()
            .map(|event| match event {
                RuntimeEvent::Container(event) => (event.container_id.to_string(), event.event_type),
                RuntimeEvent::Resync => unreachable!("lists are never lost"),
            })
            .collect();
        let expected = [("b", Started), ("b", Stopped), ("d", Created), ("d", Started), ("c", Stopped), ("c", Deleted)];
        assert_eq!(told, expected.map(|(id, kind)| (id.to_owned(), kind)));
        assert!(differences(&now, &now, SystemTime::UNIX_EPOCH).is_empty());
    }
}
