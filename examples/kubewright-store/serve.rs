//! `serve`: a store on disk behind the face of etcd.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kubewright_store::{Compactor, DiskConfig, DiskStore, Face, FaceConfig, FaceTls, Store, StoreStatus, TokioClock};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

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
    let cancelled = CancellationToken::new();

    let mut opening = Progress::new(format!("opening {}", flags.data_dir.display()));
    let store = tokio::select! {
        store = opening.while_it_takes(open(&flags)) => store?,
        // Opening is no different from a crash to the files: it can be left at any point.
        () = asked_to_stop(&mut interrupt, &mut terminate) => return Ok(()),
    };
    drop(opening);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let face = Face::new(store.clone(), config(format!("{scheme}://{address}"))).backup(store.clone());
    let served = tokio::spawn({
        let cancelled = cancelled.clone();
        async move { face.serve(listener, tls, cancelled).await }
    });
    let compactor = (flags.keep_history > 0).then(|| {
        let mut compactor = Compactor::default();
        compactor.keep = Duration::from_secs(flags.keep_history);
        tokio::spawn(compactor.run(store.clone(), Arc::new(TokioClock::new()), cancelled.clone()))
    });
    let found = store.status().await?;
    println!("serving {} on {scheme}://{address}: {}", flags.data_dir.display(), describe(&found));

    asked_to_stop(&mut interrupt, &mut terminate).await;
    eprintln!("stopping");
    cancelled.cancel();
    served.await?;
    if let Some(compactor) = compactor {
        compactor.await?;
    }
    store.close().await;
    Ok(())
}

async fn asked_to_stop(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn open(flags: &Serve) -> Result<Arc<DiskStore>> {
    let mut config = DiskConfig::new(&flags.data_dir);
    config.snapshot_after_bytes = flags.snapshot_after_mib << 20;
    Ok(Arc::new(DiskStore::open(config).await?))
}

fn config(client_url: String) -> FaceConfig {
    let mut config = FaceConfig::default();
    config.client_urls = vec![client_url];
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
    format!("revision {}, {} keys, {:.1} MB", found.revision, found.keys, found.bytes as f64 / 1e6)
}
