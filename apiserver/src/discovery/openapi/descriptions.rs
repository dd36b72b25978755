//! What types and fields are for, in the words of the API's own documentation: `kubectl explain` shows them.
//!
//! They are the `k8s-openapi` crate's (feature `descriptions`), read when the first document is made and kept: about
//! a megabyte of text. Without the feature, types are served without descriptions.

/// What a type and its fields are for.
#[cfg_attr(not(feature = "descriptions"), allow(dead_code, reason = "nothing is described then"))]
#[derive(Debug, Default)]
pub(super) struct Description {
    /// Of the type.
    pub(super) text: String,
    /// Of its fields, by name.
    pub(super) fields: std::collections::HashMap<String, String>,
}

/// What the type of that name is for, if that is known.
pub(super) fn of(name: &str) -> Option<&'static Description> {
    #[cfg(feature = "descriptions")]
    return known::ALL.get(name);
    #[cfg(not(feature = "descriptions"))]
    {
        let _ = name;
        None
    }
}

/// What a field of the type of that name is for.
pub(super) fn of_field(name: &str, field: &str) -> Option<&'static str> {
    of(name)?.fields.get(field).map(String::as_str)
}

#[cfg(feature = "descriptions")]
mod known {
    use std::collections::HashMap;
    use std::sync::LazyLock;

    use k8s_openapi::schemars::SchemaGenerator;
    use serde_json::Value;

    use super::Description;

    pub(super) static ALL: LazyLock<HashMap<String, Description>> = LazyLock::new(read);

    /// Adds these kinds, and with them all types that they are made of.
    macro_rules! add {
        ($generator:ident, $($($module:ident)::+: $($kind:ident),+;)+) => {
            $({
                use k8s_openapi::$($module)::+ as kinds;
                $($generator.subschema_for::<kinds::$kind>();)+
            })+
        };
    }

    fn read() -> HashMap<String, Description> {
        let mut generator = SchemaGenerator::default();
        add_kinds(&mut generator);
        let definitions = generator.take_definitions(false).into_iter();
        definitions.map(|(name, schema)| (name, description(&schema))).collect()
    }

    fn description(schema: &Value) -> Description {
        let text = |schema: &Value| schema["description"].as_str().unwrap_or_default().to_owned();
        let fields = schema["properties"].as_object().into_iter().flatten();
        Description { text: text(schema), fields: fields.map(|(name, schema)| (name.clone(), text(schema))).collect() }
    }

    #[rustfmt::skip]
    fn add_kinds(generator: &mut SchemaGenerator) {
        add! { generator,
        api::admissionregistration::v1: MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding,
            MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
            ValidatingWebhookConfiguration;
        api::admissionregistration::v1beta1: MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding;
        api::apps::v1: ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet;
        api::authentication::v1: SelfSubjectReview, TokenRequest, TokenReview;
        api::authorization::v1: LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview,
            SubjectAccessReview;
        api::autoscaling::v1: HorizontalPodAutoscaler, Scale;
        api::autoscaling::v2: HorizontalPodAutoscaler;
        api::batch::v1: CronJob, Job;
        api::certificates::v1: CertificateSigningRequest;
        api::certificates::v1beta1: ClusterTrustBundle, PodCertificateRequest;
        api::coordination::v1: Lease;
        api::coordination::v1beta1: LeaseCandidate;
        api::core::v1: Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node,
            PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate, ReplicationController, ResourceQuota, Secret,
            Service, ServiceAccount;
        api::discovery::v1: EndpointSlice;
        api::events::v1: Event;
        api::flowcontrol::v1: FlowSchema, PriorityLevelConfiguration;
        api::networking::v1: IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR;
        api::networking::v1beta1: IPAddress, ServiceCIDR;
        api::node::v1: RuntimeClass;
        api::policy::v1: Eviction, PodDisruptionBudget;
        api::rbac::v1: ClusterRole, ClusterRoleBinding, Role, RoleBinding;
        api::resource::v1: DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice;
        api::resource::v1beta1: DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice;
        api::resource::v1beta2: DeviceClass, DeviceTaintRule, ResourceClaim, ResourceClaimTemplate, ResourceSlice;
        api::scheduling::v1: PriorityClass;
        api::storage::v1: CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass;
        api::storage::v1beta1: VolumeAttributesClass;
        api::storagemigration::v1beta1: StorageVersionMigration;
        apiextensions_apiserver::pkg::apis::apiextensions::v1: CustomResourceDefinition;
        apimachinery::pkg::apis::meta::v1: APIGroup, APIGroupList, APIResourceList, APIVersions, DeleteOptions,
            ListMeta, Status;
        kube_aggregator::pkg::apis::apiregistration::v1: APIService;
        }
    }
}

#[cfg(all(test, feature = "descriptions"))]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_served_is_described() {
        let nameless = |name: &str| !name.ends_with("Options") && !name.ends_with("List");
        let mut missing = Vec::new();
        for row in kubewright_api::resources::built_in() {
            let Some(ty) = kubewright_api::schema::of_kind(row.group, row.version, row.kind) else { continue };
            if of(ty.name).is_none_or(|found| found.text.is_empty()) && nameless(ty.name) {
                missing.push(ty.name);
            }
            // One kind's metadata has no description upstream either.
            for field in ty.fields.iter().filter(|field| field.name != "metadata") {
                if of_field(ty.name, field.name).is_none_or(str::is_empty) && nameless(ty.name) {
                    missing.push(field.name);
                }
            }
        }
        assert!(missing.is_empty(), "{missing:?}");
        assert!(of_field("io.k8s.api.core.v1.PodSpec", "nodeName").is_some_and(|text| text.len() > 20));
    }
}
