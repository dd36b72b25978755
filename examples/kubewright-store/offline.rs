//! Backup, restore and inspection.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt;
use kubewright_store::{
    BackupInfo, DiskStore, EtcdConfig, EtcdStore, EtcdTls, Health, RaftConfig, RaftStore, Store, export_to_etcd,
    verify_backup,
};

use crate::cluster::Named;
use crate::flags::{Client, Export, Founding, Restore, Snapshot, Verify};
use crate::progress::Progress;

impl Client {
    /// A client of each member by itself.
    fn each(&self) -> Result<Vec<(String, EtcdStore)>> {
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let mut tls = self.cacert.as_deref().map(read).transpose()?.map(EtcdTls::new);
        if let (Some(with), Some(cert), Some(key)) = (tls.take(), &self.cert, &self.key) {
            tls = Some(with.identity(read(cert)?, read(key)?));
        } else if let Some(ca) = &self.cacert {
            tls = Some(EtcdTls::new(read(ca)?));
        }
        let scheme = if tls.is_some() { "https" } else { "http" };
        let connect = |endpoint: &String| {
            let url = if endpoint.contains("://") { endpoint.clone() } else { format!("{scheme}://{endpoint}") };
            let mut config = EtcdConfig::new([url.clone()]);
            config.tls.clone_from(&tls);
            Ok((url, EtcdStore::connect(config)?))
        };
        self.endpoints.iter().map(connect).collect()
    }
}

pub(crate) async fn snapshot(flags: Snapshot) -> Result<()> {
    let clients = flags.client.each()?;
    let [(url, store)] = &clients[..] else { bail!("a snapshot is taken of one member: give one endpoint") };
    let part = with_suffix(&flags.file, ".part");
    let saved = save(url, store, &part).await;
    if let Err(error) = saved {
        // Half a copy is of no use.
        drop(std::fs::remove_file(&part));
        return Err(error);
    }
    let mut progress = Progress::new("checking");
    let (file, name) = (flags.file.clone(), part.clone());
    let info = tokio::task::spawn_blocking(move || verify_backup(&name, &mut |d, t| progress.bytes(d, t))).await?;
    match info {
        Ok(info) => {
            std::fs::rename(&part, &file).with_context(|| format!("cannot name {}", file.display()))?;
            println!("saved {} to {}", describe(&info), file.display());
        }
        Err(error) => {
            // Another server's snapshots have another format; the bytes are what it sent.
            std::fs::rename(&part, &file).with_context(|| format!("cannot name {}", file.display()))?;
            bail!("saved what {url} sent to {}, but it is no backup of this store: {error}", file.display());
        }
    }
    Ok(())
}

async fn save(url: &str, store: &EtcdStore, to: &Path) -> Result<()> {
    let mut progress = Progress::new(format!("saving from {url}"));
    let mut file = std::fs::File::create(to).with_context(|| format!("cannot create {}", to.display()))?;
    let mut pieces = store.snapshot().await.with_context(|| format!("{url} gives no snapshot"))?;
    let mut done = 0;
    while let Some(piece) = pieces.next().await {
        let (bytes, left) = piece.with_context(|| format!("{url} broke off"))?;
        file.write_all(&bytes).with_context(|| format!("cannot write {}", to.display()))?;
        done += bytes.len() as u64;
        progress.bytes(done, done + left);
    }
    file.sync_all().with_context(|| format!("cannot write {}", to.display()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(crate) async fn restore(flags: Restore) -> Result<()> {
    let mut progress = Progress::new("restoring");
    let Restore { file, data_dir, founding } = flags;
    let told = format!("{} into {}", file.display(), data_dir.display());
    let member = member(&founding, &data_dir)?;
    let work = move || match member {
        None => DiskStore::restore(&data_dir, &file, &mut |done, total| progress.bytes(done, total)),
        Some(config) => RaftStore::restore(&config, &file, &mut |done, total| progress.bytes(done, total)),
    };
    let info = tokio::task::spawn_blocking(work).await?.with_context(|| format!("cannot restore {told}"))?;
    println!("restored {told}: {}", describe(&info));
    Ok(())
}

pub(crate) async fn export(flags: Export) -> Result<()> {
    let mut progress = Progress::new("exporting");
    let Export { file, to } = flags;
    let told = format!("{} to {}", file.display(), to.display());
    let work = move || export_to_etcd(&file, &to, &mut |done, total| progress.bytes(done, total));
    let info = tokio::task::spawn_blocking(work).await?.with_context(|| format!("cannot export {told}"))?;
    println!("exported {told}, without older versions: {}", describe(&info));
    Ok(())
}

/// The member whose directory it is to be, if it is a member's.
fn member(founding: &Founding, data_dir: &Path) -> Result<Option<RaftConfig>> {
    if founding.initial_cluster.is_empty() {
        return Ok(None);
    }
    let named = Named::new(&founding.initial_cluster, false);
    let Some(id) = named.id(&founding.name) else {
        bail!("--initial-cluster has no member of the name {}: give this member's with --name", founding.name);
    };
    let mut config = RaftConfig::founding(id, named.founders(), data_dir);
    config.cluster_token.clone_from(&founding.initial_cluster_token);
    Ok(Some(config))
}

pub(crate) async fn verify(flags: Verify) -> Result<()> {
    let mut progress = Progress::new("reading");
    let work = move || {
        let mut tell = |done, total| progress.bytes(done, total);
        match (&flags.file, &flags.data_dir) {
            (Some(file), _) => verify_backup(file, &mut tell),
            (None, Some(directory)) if RaftStore::member_of(directory)?.is_some() => {
                RaftStore::verify(directory, &mut tell)
            }
            (None, Some(directory)) => DiskStore::verify(directory, &mut tell),
            (None, None) => Err(kubewright_store::Error::invalid("neither a file nor a directory")),
        }
    };
    let info = tokio::task::spawn_blocking(work).await??;
    println!("sound: {}", describe(&info));
    Ok(())
}

fn describe(info: &BackupInfo) -> String {
    let compacted = match info.compacted.get() {
        0 => "all history".to_owned(),
        revision => format!("history since {revision}"),
    };
    format!(
        "revision {}, {} keys, {:.1} MB, {} leases, {compacted}, checksum {:08x}, {:.1} MB read",
        info.revision,
        info.keys,
        info.bytes as f64 / 1e6,
        info.leases,
        info.digest,
        info.file_bytes as f64 / 1e6
    )
}

pub(crate) async fn status(flags: Client) -> Result<()> {
    let mut down = 0;
    for (url, store) in flags.each()? {
        match store.status().await {
            Ok(found) => {
                let health = match &found.health {
                    Health::Serving => "serving".to_owned(),
                    Health::ReadOnly(why) => format!("read only: {why}"),
                    Health::Failed(why) => format!("failed: {why}"),
                    other => format!("{other:?}"),
                };
                let mb = |bytes: u64| bytes as f64 / 1e6;
                println!("{url}: {health}");
                println!(
                    "  revision {}, {:.1} MB in memory, {:.1} MB on disk",
                    found.revision,
                    mb(found.bytes),
                    mb(found.disk_bytes)
                );
                if let Some(replication) = &found.replication {
                    let leader = replication.leader.map_or_else(|| "none".to_owned(), |leader| format!("{leader:x}"));
                    println!(
                        "  member {:x}, leader {leader}, term {}, committed {}, applied {}",
                        replication.id, replication.term, replication.committed_index, replication.applied_index
                    );
                    println!("  {}", replication.explain());
                }
            }
            Err(error) => {
                down += 1;
                println!("{url}: {error}");
            }
        }
    }
    if down > 0 {
        bail!("{down} of {} did not answer", flags.endpoints.len());
    }
    Ok(())
}
