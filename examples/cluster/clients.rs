//! How components reach the API: in process, each as its own user, or through a kubeconfig.

use anyhow::Context;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kubewright::apiserver::request::User;
use kubewright::apiserver::server::ApiServer;
use kubewright::controllers::account_client;

use crate::control_plane::ControlPlane;
use crate::flags::Flags;

/// Makes clients.
#[derive(Clone)]
pub(crate) enum Clients {
    /// Of the API server in this process, without sockets.
    InProcess(ApiServer),
    /// Of another Kubernetes; everyone but the controllers is whom the kubeconfig says.
    Remote { client: kube::Client, config: Box<kube::Config>, authority: String },
}

impl Clients {
    pub(crate) async fn new(plane: Option<&ControlPlane>, flags: &Flags) -> anyhow::Result<Self> {
        if let Some(plane) = plane {
            return Ok(Self::InProcess(plane.server.clone()));
        }
        let path = flags.server_kubeconfig.as_ref().context("--server-kubeconfig is missing")?;
        let read = Kubeconfig::read_from(path).with_context(|| format!("kubeconfig {}", path.display()))?;
        let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
        let config = config.with_context(|| format!("kubeconfig {}", path.display()))?;
        let authority = config.root_cert.iter().flatten().map(|der| pem(der)).collect();
        Ok(Self::Remote { client: kube::Client::try_from(config.clone())?, config: Box::new(config), authority })
    }

    fn of(&self, user: User) -> kube::Client {
        match self {
            Self::InProcess(server) => kube::Client::new(server.as_user(user), "default"),
            Self::Remote { client, .. } => client.clone(),
        }
    }

    /// The administrator's.
    pub(crate) fn admin(&self) -> kube::Client {
        self.of(User::admin())
    }

    /// The scheduler's.
    pub(crate) fn scheduler(&self) -> kube::Client {
        self.of(User::new("system:kube-scheduler", &["system:authenticated"]))
    }

    /// The controller manager's: it reads for all controllers.
    pub(crate) fn controller_manager(&self) -> kube::Client {
        self.of(User::new("system:kube-controller-manager", &["system:authenticated"]))
    }

    /// Makes the clients by which each controller writes as its own service account.
    ///
    /// # Errors
    /// The other Kubernetes can't be reached over TLS as the kubeconfig says.
    pub(crate) fn controllers(&self) -> anyhow::Result<impl Fn(&str) -> kube::Client + Send + Sync + 'static> {
        let clients = self.clone();
        let anonymous = match self {
            Self::InProcess(_) => None,
            Self::Remote { config, .. } => {
                let mut config = (**config).clone();
                config.auth_info = AuthInfo::default();
                Some(kube::Client::try_from(config)?)
            }
        };
        Ok(move |account: &str| match &anonymous {
            Some(transport) => account_client(clients.controller_manager(), transport.clone(), account),
            None => {
                let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
                clients.of(User::new(&format!("system:serviceaccount:kube-system:{account}"), &groups))
            }
        })
    }

    /// The service proxy's.
    pub(crate) fn proxy(&self) -> kube::Client {
        self.of(User::new("system:kube-proxy", &["system:authenticated"]))
    }

    /// A kubelet's.
    pub(crate) fn kubelet(&self, node: &str) -> kube::Client {
        self.of(User::new(&format!("system:node:{node}"), &["system:nodes", "system:authenticated"]))
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
