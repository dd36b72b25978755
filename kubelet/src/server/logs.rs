use std::sync::Arc;

use http::Response;
use kubewright_runtime_shim::{ContainerState, ContainerStatus};
use tokio::sync::mpsc;

use super::respond::{Body, streamed};
use super::route::{Refusal, Streams, bad_request, find_pod, not_found, runs_of};
use crate::logs::{LogOptions, StillRunning, stream};
use crate::node::Context;
use crate::objects::Pod;

/// How many pieces of a log wait for a slow reader.
const PIECES_MAX: usize = 8;

pub(super) async fn logs(
    node: &Arc<Context>,
    streams: &Streams,
    namespace: &str,
    pod: &str,
    container: &str,
    query: &[(String, String)],
) -> Result<Response<Body>, Refusal> {
    let query = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let options = LogOptions::parse(query, node.clock.now());
    let options = options.map_err(|why| (http::StatusCode::UNPROCESSABLE_ENTITY, why))?;
    let pod = find_pod(node, namespace, pod).map_err(|_| not_found(format!("pod {pod:?} does not exist")))?;
    if pod.spec.container(container).is_none() {
        return Err(not_found(format!("container {container:?} not found in pod {:?}", pod.name())));
    }
    let runs = runs_of(node, &pod, container).await?;
    let run = choose(&pod, container, &options, runs)?;
    let Some(path) = run.log_path else {
        return Err(bad_request(format!("container {container:?} in pod {:?} has no log", pod.name())));
    };
    let (runtime, id) = (node.runtime.clone(), run.container.id);
    let running: StillRunning = Box::new(move || {
        let (runtime, id) = (runtime.clone(), id.clone());
        Box::pin(async move {
            let status = runtime.container_status(&id).await;
            status.is_ok_and(|s| matches!(s.container.state, ContainerState::Running | ContainerState::Created))
        })
    });
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let cancel = streams.cancel.clone();
    streams.tasks.spawn(async move {
        let sent = cancel.run_until_cancelled(stream(path, options, running, sender)).await;
        if let Some(Err(error)) = sent {
            tracing::debug!(%error, "cannot read a log");
        }
    });
    Ok(streamed(receiver))
}

/// Which run's log is wanted, or why there is none.
fn choose(
    pod: &Pod,
    container: &str,
    options: &LogOptions,
    runs: Vec<ContainerStatus>,
) -> Result<ContainerStatus, Refusal> {
    let name = pod.name();
    let mut begun = runs.into_iter().filter(|run| run.container.state != ContainerState::Created);
    let waiting = pod.status.container(container).and_then(|status| status.state.waiting.as_ref());
    if options.previous {
        // In a back-off the run before the coming one is the newest that there is.
        let skip = usize::from(waiting.is_none_or(|waiting| waiting.reason != "CrashLoopBackOff"));
        let found = begun.nth(skip).filter(|run| run.container.state == ContainerState::Exited);
        let missing = || bad_request(format!("previous terminated container {container:?} in pod {name:?} not found"));
        return found.ok_or_else(missing);
    }
    begun.next().ok_or_else(|| {
        let why = match waiting.map(|waiting| waiting.reason.as_str()) {
            Some("ImagePullBackOff") => "waiting to start: trying and failing to pull image".to_owned(),
            Some("ErrImagePull") => "waiting to start: image can't be pulled".to_owned(),
            Some(reason) if !reason.is_empty() => format!("waiting to start: {reason}"),
            _ => "waiting to start - no logs yet".to_owned(),
        };
        bad_request(format!("container {container:?} in pod {name:?} is {why}"))
    })
}
