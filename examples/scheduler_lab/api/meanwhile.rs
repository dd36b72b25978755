//! What goes on beside the steps of a workload.

use std::time::Duration;

use kube::Client;
use kubewright_scheduler::lab::perf::{Churning, Object};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::calls::{create, delete, path};

/// Creates objects again and again until told to stop.
pub(super) async fn churn(client: Client, churning: Churning, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(churning.interval);
    ticks.tick().await;
    let places = churning.number.max(1);
    let mut alive: Vec<Vec<Option<String>>> = churning.objects.iter().map(|_| vec![None; places]).collect();
    for round in 0.. {
        if !churning.recreate && churning.number > 0 && round >= churning.number {
            return Ok(());
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        for (object, alive) in churning.objects.iter().zip(&mut alive) {
            let place = round % places;
            if let Some(own) = alive[place].take() {
                delete(client.clone(), own).await.map_err(anyhow::Error::msg)?;
                continue;
            }
            // As upstream, an object that isn't created is not missed.
            let Ok(created) = create(client.clone(), object.clone()).await else { continue };
            if churning.recreate {
                let body: Value = serde_json::from_str(&created)?;
                let (_, own) =
                    path(&Object { namespace: object.namespace.clone(), body }).map_err(anyhow::Error::msg)?;
                alive[place] = Some(own);
            }
        }
    }
    Ok(())
}

pub(super) async fn one_after_another(
    client: Client,
    paths: Vec<String>,
    interval: Duration,
    stop: CancellationToken,
) -> Result<(), String> {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    for path in paths {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        delete(client.clone(), path).await?;
    }
    Ok(())
}

pub(super) fn interval(per_second: usize) -> Duration {
    Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX).max(1)
}
