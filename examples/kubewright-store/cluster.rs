//! `serve` as one of several members.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use kubewright_store::{Member, Members, PeerConfig, PeerNetwork, PeerTls, RaftConfig, RaftStore};
use tokio::net::TcpListener;

use crate::flags::{Cluster, InitialState, Serve};

/// What one member must know.
pub(crate) struct Plan {
    config: RaftConfig,
    /// The cluster that it joins, when it knows nothing of it but that.
    pub(crate) joins: Option<u64>,
    pub(crate) network: PeerNetwork,
    pub(crate) listener: TcpListener,
}

/// The plan for a cluster, if that is what the flags are for.
pub(crate) async fn plan(flags: &Serve) -> Result<Option<Plan>> {
    let (cluster, directory) = (&flags.cluster, &flags.data_dir);
    let was = RaftStore::member_of(directory)?;
    let Some(listen) = cluster.peer_listen else {
        if let Some(id) = was {
            bail!("{} is the directory of member {id:x}: serve it with --peer-listen", directory.display());
        }
        return Ok(None);
    };
    let mut peers = PeerConfig::new(0);
    peers.tls = tls(cluster)?;
    if peers.tls.is_none() && !listen.ip().is_loopback() {
        eprintln!("without --peer-cert whoever reaches {listen} controls the store");
    }
    let named = Named::new(&cluster.founding.initial_cluster, peers.tls.is_some());
    let is_new = cluster.initial_cluster_state == InitialState::New;
    let (mut config, joins, others) = match was {
        // From now on what is in the directory counts; this is for one that was stopped before there was anything.
        Some(id) if is_new && named.id(&cluster.founding.name) == Some(id) => named.founds(id, directory),
        Some(id) if is_new => (RaftConfig::joining(id, directory), None, Vec::new()),
        Some(id) => {
            let found = named.ask_others(&cluster.founding.name, &peers).await.into_iter().flatten().next();
            (RaftConfig::joining(id, directory), None, found.map(|found| found.members).unwrap_or_default())
        }
        None if is_new => {
            let id = named.id(&cluster.founding.name).ok_or_else(|| not_named(&cluster.founding.name))?;
            named.refuse_second_start(&cluster.founding.name, &peers).await?;
            named.founds(id, directory)
        }
        None => {
            let (id, found) = named.joins(&cluster.founding.name, &peers).await?;
            (RaftConfig::joining(id, directory), Some(found.cluster_id), found.members)
        }
    };
    config.cluster_token.clone_from(&cluster.founding.initial_cluster_token);
    peers.id = config.id;
    for member in others {
        peers = member.peer_urls.into_iter().fold(peers, |peers, url| peers.peer(member.id, url));
    }
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    Ok(Some(Plan { config, joins, network: PeerNetwork::new(peers)?, listener }))
}

impl Plan {
    pub(crate) async fn open(&self) -> Result<Arc<RaftStore>> {
        Ok(Arc::new(RaftStore::open(self.config.clone(), self.network.transport()).await?))
    }
}

fn tls(flags: &Cluster) -> Result<Option<PeerTls>> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    match (&flags.peer_cert, &flags.peer_key, &flags.peer_ca) {
        (Some(cert), Some(key), Some(ca)) => Ok(Some(PeerTls::new(read(cert)?, read(key)?, read(ca)?))),
        _ => Ok(None),
    }
}

/// The members by name, with where the others reach them.
pub(crate) struct Named(BTreeMap<String, Vec<String>>);

impl Named {
    /// As the flag gives them; an address without a scheme gets one.
    pub(crate) fn new(named: &[(String, String)], has_tls: bool) -> Self {
        let scheme = if has_tls { "https" } else { "http" };
        let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, address) in named {
            let address = address.trim_end_matches('/');
            let url = if address.contains("://") { address.to_owned() } else { format!("{scheme}://{address}") };
            by_name.entry(name.clone()).or_default().push(url);
        }
        Self(by_name)
    }

    /// Those that found a cluster, by number: each counts them the same way, by their names.
    pub(crate) fn founders(&self) -> Vec<Member> {
        let member = |(id, (name, urls)): (u64, (&String, &Vec<String>))| {
            urls.iter().fold(Member::voter(id).named(name), |member, url| member.peer_url(url))
        };
        (1..).zip(&self.0).map(member).collect()
    }

    /// The number of a founder.
    pub(crate) fn id(&self, name: &str) -> Option<u64> {
        (1..).zip(self.0.keys()).find(|(_, known)| *known == name).map(|(id, _)| id)
    }

    fn founds(&self, id: u64, directory: &Path) -> (RaftConfig, Option<u64>, Vec<Member>) {
        (RaftConfig::founding(id, self.founders(), directory), None, self.founders())
    }

    /// Asks all others at once who the members are.
    async fn ask_others(&self, name: &str, peers: &PeerConfig) -> Vec<Result<Members>> {
        let others = self.0.iter().filter(|(other, _)| *other != name).flat_map(|(_, urls)| urls);
        let ask = others.map(async |url| Ok(PeerNetwork::members_at(peers, url).await?));
        futures::future::join_all(ask).await
    }

    /// This member, as others that answered know it.
    fn own<'a>(&self, name: &str, members: &'a Members) -> Option<&'a Member> {
        let bare = |url: &String| url.rsplit("://").next().unwrap_or_default().trim_end_matches('/').to_owned();
        let own: Vec<String> = self.0.get(name)?.iter().map(bare).collect();
        members.members.iter().find(|member| member.peer_urls.iter().any(|url| own.contains(&bare(url))))
    }

    /// A founder that lost its directory must not begin anew: it has forgotten what it promised the others.
    async fn refuse_second_start(&self, name: &str, peers: &PeerConfig) -> Result<()> {
        for members in self.ask_others(name, peers).await.into_iter().flatten() {
            self.refuse_started(name, self.own(name, &members))?;
        }
        Ok(())
    }

    fn refuse_started(&self, name: &str, own: Option<&Member>) -> Result<()> {
        match own.filter(|own| !own.client_urls.is_empty()) {
            None => Ok(()),
            Some(own) => bail!(
                "member {name} ({:x}) was started before, but nothing is in its directory: remove it from the cluster \
                 (etcdctl member remove {:x}), add it again (etcdctl member add), and start it with \
                 --initial-cluster-state existing",
                own.id,
                own.id
            ),
        }
    }

    /// The number under which this member was added, and the cluster.
    async fn joins(&self, name: &str, peers: &PeerConfig) -> Result<(u64, Members)> {
        if !self.0.contains_key(name) {
            return Err(not_named(name));
        }
        let (mut answered, mut last) = (0, None);
        for asked in self.ask_others(name, peers).await {
            match asked {
                Ok(members) => {
                    answered += 1;
                    if let Some(own) = self.own(name, &members) {
                        self.refuse_started(name, Some(own))?;
                        return Ok((own.id, members));
                    }
                }
                Err(error) => last = Some(error),
            }
        }
        let urls = self.0.get(name).map(|urls| urls.join(",")).unwrap_or_default();
        if answered > 0 {
            bail!(
                "no member of the cluster is reached at {urls}: add this one first (etcdctl member add {name} --peer-urls={urls})"
            );
        }
        Err(last.unwrap_or_else(|| anyhow!("--initial-cluster names no other member")))
            .context("no other member answers")
    }
}

fn not_named(name: &str) -> anyhow::Error {
    anyhow!("--initial-cluster has no member of the name {name}: give this member's with --name")
}
