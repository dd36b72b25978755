//! Kinds and where they are served.

use std::fmt;

/// A kind of object and the path it is served under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind, such as `Pod`.
    pub kind: &'static str,
    /// Name in paths, such as `pods`.
    pub plural: &'static str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl Kind {
    /// `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether that `apiVersion` and kind name this kind, whatever the version.
    #[must_use]
    pub fn is(self, api_version: &str, kind: &str) -> bool {
        self.kind == kind && api_version.split_once('/').map_or("", |(group, _)| group) == self.group
    }

    /// The path of its objects, in that namespace or (if empty) in all.
    #[must_use]
    pub fn path(self, namespace: &str) -> String {
        collection_path(self.group, self.version, self.plural, namespace)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)
    }
}

/// The path of a collection, in that namespace or (if empty) in all.
pub(crate) fn collection_path(group: &str, version: &str, plural: &str, namespace: &str) -> String {
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    if namespace.is_empty() { format!("{root}/{plural}") } else { format!("{root}/namespaces/{namespace}/{plural}") }
}

/// The kinds that controllers read or write.
pub mod kinds {
    use super::Kind;

    macro_rules! kinds {
        ($($(#[$doc:meta])* $name:ident = $group:literal $version:literal $kind:literal $plural:literal $namespaced:literal;)*) => {$(
            $(#[$doc])*
            pub const $name: Kind = Kind { group: $group, version: $version, kind: $kind, plural: $plural, namespaced: $namespaced };
        )*};
    }

    kinds! {
        /// `ConfigMap`
        CONFIG_MAP = "" "v1" "ConfigMap" "configmaps" true;
        /// `Endpoints`
        ENDPOINTS = "" "v1" "Endpoints" "endpoints" true;
        /// `Event`
        EVENT = "" "v1" "Event" "events" true;
        /// `Namespace`
        NAMESPACE = "" "v1" "Namespace" "namespaces" false;
        /// `Node`
        NODE = "" "v1" "Node" "nodes" false;
        /// `PersistentVolume`
        PERSISTENT_VOLUME = "" "v1" "PersistentVolume" "persistentvolumes" false;
        /// `PersistentVolumeClaim`
        PERSISTENT_VOLUME_CLAIM = "" "v1" "PersistentVolumeClaim" "persistentvolumeclaims" true;
        /// `Pod`
        POD = "" "v1" "Pod" "pods" true;
        /// `ReplicationController`
        REPLICATION_CONTROLLER = "" "v1" "ReplicationController" "replicationcontrollers" true;
        /// `ResourceQuota`
        RESOURCE_QUOTA = "" "v1" "ResourceQuota" "resourcequotas" true;
        /// `Secret`
        SECRET = "" "v1" "Secret" "secrets" true;
        /// `Service`
        SERVICE = "" "v1" "Service" "services" true;
        /// `ServiceAccount`
        SERVICE_ACCOUNT = "" "v1" "ServiceAccount" "serviceaccounts" true;
        /// `ControllerRevision`
        CONTROLLER_REVISION = "apps" "v1" "ControllerRevision" "controllerrevisions" true;
        /// `DaemonSet`
        DAEMON_SET = "apps" "v1" "DaemonSet" "daemonsets" true;
        /// `Deployment`
        DEPLOYMENT = "apps" "v1" "Deployment" "deployments" true;
        /// `ReplicaSet`
        REPLICA_SET = "apps" "v1" "ReplicaSet" "replicasets" true;
        /// `StatefulSet`
        STATEFUL_SET = "apps" "v1" "StatefulSet" "statefulsets" true;
        /// `SubjectAccessReview`
        SUBJECT_ACCESS_REVIEW = "authorization.k8s.io" "v1" "SubjectAccessReview" "subjectaccessreviews" false;
        /// `CronJob`
        CRON_JOB = "batch" "v1" "CronJob" "cronjobs" true;
        /// `Job`
        JOB = "batch" "v1" "Job" "jobs" true;
        /// `CertificateSigningRequest`
        CERTIFICATE_SIGNING_REQUEST = "certificates.k8s.io" "v1" "CertificateSigningRequest" "certificatesigningrequests" false;
        /// `Lease`
        LEASE = "coordination.k8s.io" "v1" "Lease" "leases" true;
        /// `EndpointSlice`
        ENDPOINT_SLICE = "discovery.k8s.io" "v1" "EndpointSlice" "endpointslices" true;
        /// `PodDisruptionBudget`
        POD_DISRUPTION_BUDGET = "policy" "v1" "PodDisruptionBudget" "poddisruptionbudgets" true;
        /// `ClusterRole`
        CLUSTER_ROLE = "rbac.authorization.k8s.io" "v1" "ClusterRole" "clusterroles" false;
    }
}
