//! What a node asks of its network: addresses for pods, and services that reach them.
//!
//! The two capabilities are separate traits, for they are often had from different places: a CRI runtime attaches pods
//! through CNI itself, so that only services are left to do; on a machine without privileges both are ours.

use std::net::IpAddr;

use async_trait::async_trait;

use crate::Error;
use crate::rules::RuleTable;

/// Which pod is to be attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachRequest {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID: its identity here.
    pub uid: String,
    /// The path of the pod's network namespace, if its sandbox has one.
    pub network_namespace: Option<String>,
    /// Addresses that the pod already has, because its sandbox outlived a restart of the node agent.
    pub held: Vec<IpAddr>,
}

impl AttachRequest {
    /// A request for a pod that has no addresses yet.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, uid: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into(), uid: uid.into(), ..Self::default() }
    }

    /// Sets the network namespace.
    #[must_use]
    pub fn network_namespace(mut self, path: impl Into<String>) -> Self {
        self.network_namespace = Some(path.into());
        self
    }

    /// Sets the addresses that the pod already has.
    #[must_use]
    pub fn held(mut self, addresses: Vec<IpAddr>) -> Self {
        self.held = addresses;
        self
    }
}

/// What a pod was given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachment {
    /// The pod's UID.
    pub uid: String,
    /// Its addresses, the primary one first; never empty.
    pub addresses: Vec<IpAddr>,
}

/// Gives pods a place in the network.
///
/// # Contract
/// - `attach` is idempotent by UID: a second call gives the same addresses. Addresses of a `held` list are given again
///   unless another pod has them, which is [`Error::AddressInUse`]. No two attached pods share an address.
/// - `detach` is idempotent: detaching what isn't attached succeeds. After it returns the addresses may be given anew.
/// - Pods on the host's network are never attached; they use the node's address.
/// - Nothing is left in the system once every pod is detached.
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Attaches a pod.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when no address is left, [`Error::AddressInUse`], or [`Error::Unavailable`].
    async fn attach(&self, request: &AttachRequest) -> Result<Attachment, Error>;

    /// Detaches the pod of that UID.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; try again.
    async fn detach(&self, uid: &str) -> Result<(), Error>;

    /// What is attached, in the order of UIDs.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn attachments(&self) -> Result<Vec<Attachment>, Error>;
}

/// Carries the node's services.
///
/// # Contract
/// - `apply` makes the data plane equal to the table, whatever it was before, and returns once new connections follow
///   it. Applying the same table twice changes nothing.
/// - A frontend that the system refuses (a port in use, a port that needs privileges) doesn't stop the others: it is
///   named in the returned [`Applied::refused`] and tried again at the next `apply`.
/// - Connections that are open stay open when their endpoint leaves the table, as with kube-proxy, except UDP flows,
///   which move on to a remaining endpoint.
/// - `clear` removes everything this data plane has put into the system and ends every task it has started.
#[async_trait]
pub trait ServiceNetwork: Send + Sync + 'static {
    /// Makes the data plane equal to the table.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when nothing could be applied.
    async fn apply(&self, table: &RuleTable) -> Result<Applied, Error>;

    /// Removes everything.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when something could not be removed.
    async fn clear(&self) -> Result<(), Error>;
}

/// What came of an [`apply`](ServiceNetwork::apply).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// How many frontends changed.
    pub changed: usize,
    /// Frontends that the system refused, with the reason and what to do about it.
    pub refused: Vec<Refused>,
}

/// A frontend that the system refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Which.
    pub frontend: crate::rules::Frontend,
    /// Why, and what to do about it.
    pub reason: String,
}

macro_rules! forward {
    ($($pointer:ident),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: PodNetwork + ?Sized> PodNetwork for $pointer<T> {
            async fn attach(&self, request: &AttachRequest) -> Result<Attachment, Error> {
                self.as_ref().attach(request).await
            }

            async fn detach(&self, uid: &str) -> Result<(), Error> {
                self.as_ref().detach(uid).await
            }

            async fn attachments(&self) -> Result<Vec<Attachment>, Error> {
                self.as_ref().attachments().await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: ServiceNetwork + ?Sized> ServiceNetwork for $pointer<T> {
            async fn apply(&self, table: &RuleTable) -> Result<Applied, Error> {
                self.as_ref().apply(table).await
            }

            async fn clear(&self) -> Result<(), Error> {
                self.as_ref().clear().await
            }
        }
    )*};
}

use std::boxed::Box;
use std::sync::Arc;
forward!(Arc, Box);

#[cfg(test)]
fn _object_safe(_: &dyn PodNetwork, _: &dyn ServiceNetwork) {}
