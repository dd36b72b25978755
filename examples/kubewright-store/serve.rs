//! `serve`: a store on disk behind the face of etcd.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kubewright_store::{
    Compactor, DiskConfig, DiskStore, Face, FaceConfig, FaceTls, Health, RaftStore, Store, StoreStatus, TokioClock,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster::{self, Plan};
use crate::flags::Serve;
use crate::progress::Progress;

pub(crate) async fn run(flags: Serve) -> Result<()> {
    let tls = tls(&flags)?.map(|tls| tls.server_config()).transpose()?;
    // Taken before the store is opened: who is not let in here need not wait for it.
    let listener = TcpListener::bind(flags.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", flags.listen))?;
    let address = listener.local_addr()?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (cancelled, tasks) = (CancellationToken::new(), TaskTracker::new());

    let plan = cluster::plan(&flags).await?;
    let mut opening = Progress::new(format!("opening {}", flags.data_dir.display()));
    let opened = tokio::select! {
        opened = opening.while_it_takes(open(&flags, plan.as_ref())) => opened?,
        // Opening is no different from a crash to the files: it can be left at any point.
        () = asked_to_stop(&mut interrupt, &mut terminate) => return Ok(()),
    };
    drop(opening);
    let store = opened.store();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut config = config(&flags, format!("{scheme}://{address}"));
    let (urls, joins) = (config.client_urls.clone(), plan.as_ref().and_then(|plan| plan.joins));
    if let Some(replication) = store.status().await?.replication {
        // A member that joins is told of its cluster by and by.
        config.cluster_id = joins.unwrap_or(replication.cluster_id);
        config.member_id = replication.id;
    }
    let face = opened.face(config);
    tasks.spawn({
        let cancelled = cancelled.clone();
        async move { face.serve(listener, tls, cancelled).await }
    });
    if let (Some(Plan { network, listener, .. }), Opened::Replica(store)) = (plan, &opened) {
        let (inbox, until) = (store.inbox(), cancelled.clone());
        tasks.spawn(async move { network.serve(listener, inbox, until).await });
        let (store, name, until) = (store.clone(), flags.cluster.founding.name.clone(), cancelled.clone());
        tasks.spawn(async move {
            if let Some(Err(error)) = until.run_until_cancelled(store.announce(&name, &urls)).await {
                eprintln!("the others are not told where clients reach this member: {error}");
            }
        });
    }
    if flags.keep_history > 0 {
        let mut compactor = Compactor::default();
        compactor.keep = Duration::from_secs(flags.keep_history);
        tasks.spawn(compactor.run(store.clone(), Arc::new(TokioClock::new()), cancelled.clone()));
    }
    let found = store.status().await?;
    println!("serving {} on {scheme}://{address}: {}", flags.data_dir.display(), describe(&found));

    let failed = tokio::select! {
        () = asked_to_stop(&mut interrupt, &mut terminate) => None,
        why = failed(&*store) => Some(why),
    };
    eprintln!("stopping");
    cancelled.cancel();
    tasks.close();
    tasks.wait().await;
    opened.close().await;
    match failed {
        Some(why) => bail!("the store failed: {why}"),
        None => Ok(()),
    }
}

async fn asked_to_stop(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Returns why the store does not work any more, when that is so.
async fn failed(store: &dyn Store) -> String {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Ok(StoreStatus { health: Health::Failed(why), .. }) = store.status().await {
            return why;
        }
    }
}

/// The store that is served.
enum Opened {
    Alone(Arc<DiskStore>),
    Replica(Arc<RaftStore>),
}

async fn open(flags: &Serve, plan: Option<&Plan>) -> Result<Opened> {
    if let Some(plan) = plan {
        return Ok(Opened::Replica(plan.open().await?));
    }
    let mut config = DiskConfig::new(&flags.data_dir);
    config.snapshot_after_bytes = flags.snapshot_after_mib << 20;
    // What waits meanwhile are a few connections: see `Opened::face`.
    config.commit_in_place = true;
    Ok(Opened::Alone(Arc::new(DiskStore::open(config).await?)))
}

impl Opened {
    fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Alone(store) => store.clone(),
            Self::Replica(store) => store.clone(),
        }
    }

    fn face(&self, mut config: FaceConfig) -> Face {
        if let Self::Alone(_) = self {
            config.threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        }
        let face = Face::new(self.store(), config);
        match self {
            Self::Alone(store) => face.backup(store.clone()),
            Self::Replica(store) => face.backup(store.clone()).members(store.clone()),
        }
    }

    async fn close(&self) {
        match self {
            Self::Alone(store) => store.close().await,
            Self::Replica(store) => store.close().await,
        }
    }
}

fn config(flags: &Serve, client_url: String) -> FaceConfig {
    let mut config = FaceConfig::default();
    config.name.clone_from(&flags.cluster.founding.name);
    config.client_urls.clone_from(&flags.cluster.advertise_client_urls);
    if config.client_urls.is_empty() {
        config.client_urls = vec![client_url];
    }
    config
}

fn tls(flags: &Serve) -> Result<Option<FaceTls>> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let (Some(cert), Some(key)) = (&flags.cert, &flags.key) else { return Ok(None) };
    let tls = FaceTls::new(read(cert)?, read(key)?);
    Ok(Some(match &flags.client_ca {
        Some(ca) => tls.client_ca(read(ca)?),
        None => tls,
    }))
}

fn describe(found: &StoreStatus) -> String {
    let mut text = format!("revision {}, {} keys, {:.1} MB", found.revision, found.keys, found.bytes as f64 / 1e6);
    // A replica that has only just begun does not know the others yet.
    if let Some(replication) = found.replication.as_ref().filter(|replication| !replication.voters.is_empty()) {
        text.push_str(&format!("; member {:x}; {}", replication.id, replication.explain()));
    }
    text
}
