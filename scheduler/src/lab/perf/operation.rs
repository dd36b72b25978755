//! What a workload of upstream's scheduler benchmark is made of.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_yaml_ng::{Mapping, Value};

/// A step of a workload, as its file has it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is described at its type, or by its name")]
pub enum Operation {
    AllocResourceClaims(AllocResourceClaims),
    Barrier(Barrier),
    Churn(Churn),
    CreateAny(CreateAny),
    CreateNamespaces(CreateNamespaces),
    CreateNodes(CreateNodes),
    CreatePods(CreatePods),
    CreatePodSets(CreatePodSets),
    CreateResourceClaims(CreateResourceClaims),
    CreateResourceDriver(CreateResourceDriver),
    DeletePods(DeletePods),
    Sleep(Sleep),
    StartCollectingMetrics(StartCollectingMetrics),
    StopCollectingMetrics(StopCollectingMetrics),
    UpdateAny(UpdateAny),
}

const OPCODES: [&str; 15] = [
    "allocResourceClaims",
    "barrier",
    "churn",
    "createAny",
    "createNamespaces",
    "createNodes",
    "createPodSets",
    "createPods",
    "createResourceClaims",
    "createResourceDriver",
    "deletePods",
    "sleep",
    "startCollectingMetrics",
    "stopCollectingMetrics",
    "updateAny",
];

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        #[non_exhaustive]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    )*};
}

operations! {
    /// Allocates the claims of a namespace without pods.
    AllocResourceClaims {
        /// Where; everywhere if empty.
        namespace: String,
    }
    /// Waits for pods.
    Barrier {
        /// Where; everywhere if empty.
        namespaces: Vec<String>,
        /// Which pods; all if empty.
        label_selector: BTreeMap<String, String>,
        /// `Scheduled` (the default) or `Attempted`.
        stage_requirement: String,
    }
    /// Creates objects, and perhaps deletes them again, for the rest of the workload.
    Churn {
        /// `create` or `recreate`.
        mode: String,
        /// How many at most; 0 for no limit.
        number: i64,
        /// How often; 500 if 0.
        interval_milliseconds: i64,
        /// Where; `namespace-<operation>` by default.
        namespace: Option<String>,
        /// What.
        template_paths: Vec<String>,
    }
    /// Creates objects of any kind.
    CreateAny {
        /// Where; empty for objects without a namespace.
        namespace: String,
        /// What.
        template_path: String,
        /// How many; 1 by default.
        count: Option<i64>,
        /// The parameter that says how many.
        count_param: String,
    }
    /// Creates namespaces.
    CreateNamespaces {
        /// How their names begin.
        prefix: String,
        /// How many.
        count: Option<i64>,
        /// The parameter that says how many.
        count_param: String,
        /// What they are like.
        namespace_template_path: Option<String>,
    }
    /// Creates nodes.
    CreateNodes {
        /// How many.
        count: Option<i64>,
        /// The parameter that says how many.
        count_param: String,
        /// What they are like.
        node_template_path: Option<String>,
        /// What is allocatable, beyond the template.
        node_allocatable_strategy: Option<NodeAllocatable>,
        /// A label with several values in turn.
        label_node_prepare_strategy: Option<NodeLabel>,
        /// A label with a value of its own for each node.
        unique_node_label_strategy: Option<UniqueLabel>,
    }
    /// What nodes offer, beyond their template.
    NodeAllocatable {
        /// Resources.
        node_allocatable: BTreeMap<String, String>,
        /// Volumes by driver.
        csi_node_allocatable: BTreeMap<String, VolumeLimit>,
        /// Plugins whose volumes drivers serve.
        migrated_plugins: Vec<String>,
    }
    /// How many volumes of a driver a node can have.
    VolumeLimit {
        /// So many.
        count: Option<i64>,
    }
    /// A label with several values in turn.
    NodeLabel {
        /// The label.
        label_key: String,
        /// Its values.
        label_values: Vec<String>,
    }
    /// A label with a value of its own for each node.
    UniqueLabel {
        /// The label.
        label_key: String,
    }
    /// Creates pods, and waits until they have nodes.
    CreatePods {
        /// How many.
        count: Option<i64>,
        /// The parameter that says how many.
        count_param: String,
        /// Whether pods are deleted and created again for some time.
        steady_state: bool,
        /// The parameter that says whether.
        steady_state_param: String,
        /// For how long.
        duration: String,
        /// The parameter that says for how long.
        duration_param: String,
        /// Whether this is what is measured.
        collect_metrics: bool,
        /// Where; `namespace-<operation>` by default.
        namespace: Option<String>,
        /// What they are like; the case's default if not given.
        pod_template_path: Option<String>,
        /// Whether not to wait.
        skip_wait_to_completion: bool,
        /// The volume that each pod gets.
        persistent_volume_template_path: Option<String>,
        /// The claim by which it gets it.
        persistent_volume_claim_template_path: Option<String>,
    }
    /// Creates pods in several namespaces.
    CreatePodSets {
        /// In how many.
        count: Option<i64>,
        /// The parameter that says in how many.
        count_param: String,
        /// How their names begin.
        namespace_prefix: String,
        /// The pods.
        create_pods_op: Nested,
    }
    /// Creates claims.
    CreateResourceClaims {
        /// How many.
        count: Option<i64>,
        /// The parameter that says how many.
        count_param: String,
        /// Where.
        namespace: String,
        /// What they are like.
        template_path: String,
    }
    /// Offers devices on nodes.
    CreateResourceDriver {
        /// The driver's name.
        driver_name: String,
        /// How many devices a node has.
        max_claims_per_node: Option<i64>,
        /// The parameter that says how many.
        max_claims_per_node_param: String,
        /// Which nodes, as a pattern.
        nodes: String,
    }
    /// Deletes pods.
    DeletePods {
        /// Where.
        namespace: String,
        /// Which; all if empty.
        label_selector: BTreeMap<String, String>,
        /// Whether not to wait.
        skip_wait_to_completion: bool,
        /// How fast; all at once if 0.
        delete_pods_per_second: i64,
    }
    /// Does nothing for a while.
    Sleep {
        /// For how long.
        duration: String,
        /// The parameter that says for how long.
        duration_param: String,
    }
    /// Begins to measure.
    StartCollectingMetrics {
        /// What the measurement is called.
        name: String,
        /// Where pods count.
        namespaces: Vec<String>,
        /// Which pods count; all if empty.
        label_selector: BTreeMap<String, String>,
    }
    /// Ends measuring.
    StopCollectingMetrics {
    }
    /// Updates objects of any kind.
    UpdateAny {
        /// Where; empty for objects without a namespace.
        namespace: String,
        /// What they become.
        template_path: String,
        /// How many; 1 by default.
        count: Option<i64>,
        /// The parameter that says how many.
        count_param: String,
        /// How fast; all at once if 0.
        update_per_second: i64,
        /// Through which subresources.
        subresources: Vec<String>,
    }
}

/// Pods to create, in a set of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nested(pub CreatePods);

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Operation::deserialize(deserializer)? {
            Operation::CreatePods(pods) => Ok(Self(pods)),
            _ => Err(D::Error::custom("a set of pods is made of createPods")),
        }
    }
}

struct Opcode(&'static str);

impl<'de> Deserialize<'de> for Opcode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Known;
        impl Visitor<'_> for Known {
            type Value = Opcode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an opcode")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Opcode, E> {
                let known = OPCODES.iter().find(|known| **known == name);
                known
                    .map(|name| Opcode(name))
                    .ok_or_else(|| E::custom(format_args!("unknown opcode {name:?}; there are {}", OPCODES.join(", "))))
            }
        }
        deserializer.deserialize_str(Known)
    }
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Operation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an operation with an opcode")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Operation, A::Error> {
                let (mut opcode, mut fields) = (None, Mapping::new());
                while let Some(key) = map.next_key::<String>()? {
                    if key == "opcode" {
                        opcode = Some(map.next_value::<Opcode>()?);
                    } else {
                        fields.insert(key.into(), map.next_value::<Value>()?);
                    }
                }
                let Opcode(name) = opcode.ok_or_else(|| A::Error::missing_field("opcode"))?;
                let operation = Operation::from_fields(name, fields).map_err(A::Error::custom)?;
                operation.check().map_err(|problem| A::Error::custom(format_args!("{name}: {problem}")))?;
                Ok(operation)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

fn typed<T: DeserializeOwned>(name: &str, fields: Mapping) -> Result<T, String> {
    serde_yaml_ng::from_value(Value::Mapping(fields)).map_err(|error| format!("{name}: {error}"))
}

impl Operation {
    fn from_fields(name: &str, fields: Mapping) -> Result<Self, String> {
        Ok(match name {
            "allocResourceClaims" => Self::AllocResourceClaims(typed(name, fields)?),
            "barrier" => Self::Barrier(typed(name, fields)?),
            "churn" => Self::Churn(typed(name, fields)?),
            "createAny" => Self::CreateAny(typed(name, fields)?),
            "createNamespaces" => Self::CreateNamespaces(typed(name, fields)?),
            "createNodes" => Self::CreateNodes(typed(name, fields)?),
            "createPodSets" => Self::CreatePodSets(typed(name, fields)?),
            "createPods" => Self::CreatePods(typed(name, fields)?),
            "createResourceClaims" => Self::CreateResourceClaims(typed(name, fields)?),
            "createResourceDriver" => Self::CreateResourceDriver(typed(name, fields)?),
            "deletePods" => Self::DeletePods(typed(name, fields)?),
            "sleep" => Self::Sleep(typed(name, fields)?),
            "startCollectingMetrics" => Self::StartCollectingMetrics(typed(name, fields)?),
            "stopCollectingMetrics" => Self::StopCollectingMetrics(typed(name, fields)?),
            _ => Self::UpdateAny(typed(name, fields)?),
        })
    }
}
