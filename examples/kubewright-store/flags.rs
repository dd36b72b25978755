//! The commands and their flags.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Debug, Parser)]
#[command(name = "kubewright-store", about = "A durable store that speaks etcd's API, version 3")]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What to log, to standard error: error, warn, info, debug, or as `target=level,…`.
    #[arg(long, global = true, default_value = "warn")]
    pub(crate) log: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a store on disk until Ctrl-C.
    Serve(Box<Serve>),
    /// Save a copy of all that a running store holds.
    Snapshot(Snapshot),
    /// Make a data directory out of a saved copy, or out of a snapshot that etcdctl saved from an etcd.
    Restore(Restore),
    /// Make of a saved copy a snapshot that etcd's own tools restore.
    Export(Export),
    /// Read a saved copy, or the data directory of a store that is down, from end to end, and say what is in it.
    Verify(Verify),
    /// Say how running members are.
    Status(Client),
    /// Measure this store and etcd, side by side on the same disk.
    Bench(Bench),
    /// Write as fast as can be and note what was acknowledged. For tests of faults.
    #[command(hide = true)]
    Load(Load),
    /// Check that nothing is missing of what `load` noted.
    #[command(hide = true)]
    Check(Check),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where the store's files are; made if it is not there.
    #[arg(long)]
    pub(crate) data_dir: PathBuf,
    /// Where to listen for clients; port 0 for any.
    #[arg(long, default_value = "127.0.0.1:2379")]
    pub(crate) listen: SocketAddr,
    /// This server's certificates, as PEM: serve over TLS.
    #[arg(long, requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The key of the certificate, as PEM.
    #[arg(long, requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Authorities, as PEM: let in clients only whose certificates they signed.
    #[arg(long, requires = "cert")]
    pub(crate) client_ca: Option<PathBuf>,
    /// Forget history older than this, in seconds; 0 keeps it until a client compacts it, as Kubernetes does.
    #[arg(long, default_value_t = 0)]
    pub(crate) keep_history: u64,
    /// A snapshot is written after so many MiB of log; bounds how long a start takes.
    #[arg(long, default_value_t = 64)]
    pub(crate) snapshot_after_mib: u64,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// How this member keeps a store together with others.
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    /// Where to listen for the other members.
    #[arg(long)]
    pub(crate) peer_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) founding: Founding,
    /// Whether the members found a cluster (new), or this one joins a cluster to which it was added (existing).
    /// Counts only while nothing is in the directory.
    #[arg(long, requires = "peer_listen", value_enum, default_value_t = InitialState::New)]
    pub(crate) initial_cluster_state: InitialState,
    /// Where clients reach this member, as URLs with commas between, for the list of members; where it listens, unless
    /// given.
    #[arg(long, value_delimiter = ',')]
    pub(crate) advertise_client_urls: Vec<String>,
    /// This member's certificate for the others, as PEM: good for server and client, with the host in it by which
    /// they reach this member. Without it whoever reaches the members' port controls the store.
    #[arg(long, requires_all = ["peer_key", "peer_ca", "peer_listen"])]
    pub(crate) peer_cert: Option<PathBuf>,
    /// The key of the certificate, as PEM.
    #[arg(long, requires = "peer_cert")]
    pub(crate) peer_key: Option<PathBuf>,
    /// The authority, as PEM, that signs members' certificates, and nobody else's.
    #[arg(long, requires = "peer_cert")]
    pub(crate) peer_ca: Option<PathBuf>,
}

/// Who founds a cluster, and which of them this is.
#[derive(Debug, Args)]
pub(crate) struct Founding {
    /// What this member is called.
    #[arg(long, default_value = "default")]
    pub(crate) name: String,
    /// All members, this one too, as name=host:port (or with a URL) with commas between; the same at each that founds
    /// the cluster.
    #[arg(long, value_delimiter = ',', value_parser = named)]
    pub(crate) initial_cluster: Vec<(String, String)>,
    /// Makes this cluster differ from another with the same members.
    #[arg(long, default_value = "")]
    pub(crate) initial_cluster_token: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InitialState {
    New,
    Existing,
}

fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => Ok((name.to_owned(), address.to_owned())),
        _ => Err("not of the form name=host:port".to_owned()),
    }
}

/// How running members are reached.
#[derive(Clone, Debug, Args)]
pub(crate) struct Client {
    /// Members, as host:port or URL; several with commas between.
    #[arg(long, default_value = "127.0.0.1:2379", value_delimiter = ',')]
    pub(crate) endpoints: Vec<String>,
    /// Authorities, as PEM: speak TLS to members whose certificates they signed.
    #[arg(long)]
    pub(crate) cacert: Option<PathBuf>,
    /// This client's certificate, as PEM.
    #[arg(long, requires_all = ["cacert", "key"])]
    pub(crate) cert: Option<PathBuf>,
    /// The key of the certificate, as PEM.
    #[arg(long, requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Snapshot {
    /// The file to write; it gets its name when all of it is there and checked.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) client: Client,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The saved copy.
    pub(crate) file: PathBuf,
    /// The directory to make; empty, or not there yet.
    #[arg(long)]
    pub(crate) data_dir: PathBuf,
    /// With --initial-cluster the directory is that of the member --name of a new cluster: restore the same copy, with
    /// the same --initial-cluster, at each of its members.
    #[command(flatten)]
    pub(crate) founding: Founding,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The saved copy.
    pub(crate) file: PathBuf,
    /// The file to write.
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Verify {
    /// A saved copy.
    pub(crate) file: Option<PathBuf>,
    /// The data directory of a store that is down.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Bench {
    /// The etcd to compare with; without it only this store is measured.
    #[arg(long)]
    pub(crate) etcd: Option<PathBuf>,
    /// Also write the results here, as JSON.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Where both keep their data: must be on the disk that is to be measured.
    #[arg(long, default_value = "target/store-bench")]
    pub(crate) dir: PathBuf,
    /// How long each measurement takes, in seconds.
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
    /// How often each measurement is made, the two servers in turn; the median counts.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// How many keys for memory and restart.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) keys: u64,
    /// Only measurements with this in their name.
    #[arg(long, default_value = "")]
    pub(crate) only: String,
    /// Over how many connections the 64 clients come.
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Members, as address:port; several with commas between.
    #[arg(long, required = true, value_delimiter = ',')]
    pub(crate) endpoints: Vec<SocketAddr>,
    /// How long to write, in seconds.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// How many writers.
    #[arg(long, default_value_t = 16)]
    pub(crate) clients: usize,
    /// Where to note what was acknowledged; appended to.
    #[arg(long)]
    pub(crate) record: PathBuf,
    /// What all keys of this run begin with.
    #[arg(long, default_value = "run")]
    pub(crate) run: String,
    /// Also watch, through whatever faults, and note all events here.
    #[arg(long)]
    pub(crate) watch: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map(|_| seconds).map_err(|error| error.to_string())
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Members, as address:port; each is asked.
    #[arg(long, required = true, value_delimiter = ',')]
    pub(crate) endpoints: Vec<SocketAddr>,
    /// What `load` noted.
    #[arg(long)]
    pub(crate) record: PathBuf,
    /// What `load --watch` noted.
    #[arg(long)]
    pub(crate) watch: Option<PathBuf>,
}
