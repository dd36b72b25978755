//! `serve` as one of several members.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use kubewright_store::{PeerConfig, PeerNetwork, PeerTls, RaftConfig, RaftStore};
use tokio::net::TcpListener;

use crate::flags::{Cluster, Serve};

/// What one member must know.
pub(crate) struct Plan {
    pub(crate) id: u64,
    pub(crate) network: PeerNetwork,
    pub(crate) listener: TcpListener,
    has_tls: bool,
    /// All members by number: names and addresses.
    pub(crate) founders: BTreeMap<u64, (String, Vec<String>)>,
}

/// The plan for a cluster, if that is what the flags are for.
pub(crate) async fn plan(flags: &Cluster) -> Result<Option<Plan>> {
    let Some(listen) = flags.peer_listen else {
        return Ok(None);
    };
    let founders = founders(&flags.initial_cluster);
    let own = founders.iter().find(|(_, (name, _))| *name == flags.name);
    let Some((id, _)) = own else {
        bail!("--initial-cluster has no member of the name {}: give this member's with --name", flags.name);
    };
    let mut config = PeerConfig::new(*id);
    for (id, (_, addresses)) in &founders {
        config = addresses.iter().fold(config, |config, address| config.peer(*id, address));
    }
    config.tls = tls(flags)?;
    let has_tls = config.tls.is_some();
    if !has_tls && !listen.ip().is_loopback() {
        eprintln!("without --peer-cert whoever reaches {listen} controls the store");
    }
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    Ok(Some(Plan { id: *id, network: PeerNetwork::new(config)?, listener, has_tls, founders }))
}

/// Members by number: each counts them the same way, by their names.
fn founders(named: &[(String, String)]) -> BTreeMap<u64, (String, Vec<String>)> {
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, address) in named {
        by_name.entry(name.clone()).or_default().push(address.clone());
    }
    (1..).zip(by_name).collect()
}

fn tls(flags: &Cluster) -> Result<Option<PeerTls>> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    match (&flags.peer_cert, &flags.peer_key, &flags.peer_ca) {
        (Some(cert), Some(key), Some(ca)) => Ok(Some(PeerTls::new(read(cert)?, read(key)?, read(ca)?))),
        _ => Ok(None),
    }
}

impl Plan {
    /// Where the others reach a member.
    pub(crate) fn peer_urls(&self, id: u64) -> Vec<String> {
        let scheme = if self.has_tls { "https" } else { "http" };
        let url = |address: &String| {
            if address.contains("://") { address.clone() } else { format!("{scheme}://{address}") }
        };
        self.founders.get(&id).map(|(_, addresses)| addresses.iter().map(url).collect()).unwrap_or_default()
    }

    pub(crate) async fn open(&self, flags: &Serve) -> Result<Arc<RaftStore>> {
        let voters: Vec<u64> = self.founders.keys().copied().collect();
        let config = RaftConfig::new(self.id, voters, &flags.data_dir);
        Ok(Arc::new(RaftStore::open(config, self.network.transport()).await?))
    }
}
