//! How a kubelet is reached.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::NodeAddress;
use crate::remote::trusting;
use crate::serve::{TlsError, certificates};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A connection to a kubelet.
pub trait NodeStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> NodeStream for T {}

/// Opens connections to kubelets, over which HTTP/1.1 is then spoken.
#[async_trait]
pub trait DialNode: Send + Sync + 'static {
    /// Connects to the kubelet of a node.
    async fn dial(&self, node: &NodeAddress) -> io::Result<Box<dyn NodeStream>>;
}

/// TLS with the API server's client certificate: the way to kubelets over the network.
#[derive(Clone)]
pub struct KubeletTls {
    connector: TlsConnector,
}

impl KubeletTls {
    /// A client certificate to show and the authorities that sign kubelets, all as PEM.
    ///
    /// # Errors
    /// One of them is not what it should be.
    pub fn from_pem(certificate: &str, key: &str, authorities: &str) -> Result<Self, TlsError> {
        let chain = certificates("kubelet client certificate", certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| TlsError::new("kubelet client key", e))?;
        let authorities = certificates("kubelet authorities", authorities)?;
        let config = trusting(authorities)
            .map_err(|error| TlsError::new("kubelet authorities", error))?
            .with_client_auth_cert(chain, key)
            .map_err(|error| TlsError::new("kubelet client certificate", error))?;
        Ok(Self::new(Arc::new(config)))
    }

    /// Connections with this configuration: it presents the client certificate and says which authority signs kubelets.
    #[must_use]
    pub fn new(config: Arc<ClientConfig>) -> Self {
        Self { connector: TlsConnector::from(config) }
    }
}

#[async_trait]
impl DialNode for KubeletTls {
    async fn dial(&self, node: &NodeAddress) -> io::Result<Box<dyn NodeStream>> {
        let name = ServerName::try_from(node.host.clone()).map_err(io::Error::other)?;
        let connect = async {
            let stream = TcpStream::connect((node.host.as_str(), node.port)).await?;
            stream.set_nodelay(true)?;
            self.connector.connect(name, stream).await
        };
        let stream = timeout(CONNECT_LIMIT, connect).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Box::new(stream))
    }
}
