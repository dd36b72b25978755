//! Amounts of resources as plain integers.

use std::collections::BTreeMap;

use kubewright_api::names;
use kubewright_api::quantity::Quantity;

use super::Name;

/// Amounts of resources: the common ones in fields, all others in a sorted list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// Thousandths of a CPU.
    pub cpu: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of local storage.
    pub ephemeral_storage: i64,
    /// How many pods.
    pub pods: i64,
    /// Extended resources, huge pages and attachable volumes, by name.
    pub scalars: Vec<(Name, i64)>,
}

impl Resources {
    /// Reads a resource list; names that no node can offer are left out, as upstream does.
    pub fn from_list<'a, K: AsRef<str> + 'a>(list: impl IntoIterator<Item = (&'a K, &'a Quantity)>) -> Self {
        let mut resources = Self::default();
        for (name, amount) in list {
            match name.as_ref() {
                "cpu" => resources.cpu = amount.millis(),
                "memory" => resources.memory = amount.value(),
                "ephemeral-storage" => resources.ephemeral_storage = amount.value(),
                "pods" => resources.pods = amount.value(),
                name if is_scalar(name) => resources.scalars.push((name.into(), amount.value())),
                _ => {}
            }
        }
        resources.scalars.sort();
        resources
    }

    /// The same from an ordinary map.
    #[must_use]
    pub fn from_map(map: &BTreeMap<String, Quantity>) -> Self {
        Self::from_list(map.iter())
    }

    /// The amount of an extended resource.
    #[must_use]
    pub fn scalar(&self, name: &str) -> i64 {
        self.find(name).unwrap_or(0)
    }

    /// The amount of an extended resource, if it is listed at all.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<i64> {
        self.scalars.iter().find(|(own, _)| **own == *name).map(|(_, amount)| *amount)
    }

    /// The amount of any resource: millicores for `cpu`.
    #[must_use]
    pub fn amount(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            "pods" => self.pods,
            name => self.scalar(name),
        }
    }

    /// Adds, or with `sign` -1 takes away; the number of pods stays.
    pub fn shift(&mut self, other: &Self, sign: i64) {
        self.cpu += sign * other.cpu;
        self.memory += sign * other.memory;
        self.ephemeral_storage += sign * other.ephemeral_storage;
        for (name, amount) in &other.scalars {
            match self.scalars.iter_mut().find(|(own, _)| own == name) {
                Some((_, own)) => *own += sign * amount,
                None => {
                    let at = self.scalars.partition_point(|(own, _)| own < name);
                    self.scalars.insert(at, (name.clone(), sign * amount));
                }
            }
        }
    }

    /// Whether nothing is asked for that is counted in amounts.
    #[must_use]
    pub fn asks_nothing(&self) -> bool {
        self.cpu == 0 && self.memory == 0 && self.ephemeral_storage == 0 && self.scalars.is_empty()
    }
}

/// Whether a name is counted among the scalars: an extended resource, huge pages, a prefixed native resource or an
/// attachable volume.
#[must_use]
pub fn is_scalar(name: &str) -> bool {
    is_extended(name)
        || name.starts_with("hugepages-")
        || name.contains("kubernetes.io/")
        || name.starts_with("attachable-volumes-")
}

/// Whether a name is an extended resource: prefixed by a domain that isn't Kubernetes' own.
pub(crate) fn is_extended(name: &str) -> bool {
    name.contains('/')
        && !name.contains("kubernetes.io/")
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}
