//! What workloads are carried out on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Object;

/// Pods of a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Which {
    /// Where.
    pub namespace: String,
    /// The labels that they must have.
    pub labels: BTreeMap<String, String>,
}

/// Objects that are created again and again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Churning {
    /// One of each.
    pub objects: Vec<Object>,
    /// Whether they are deleted again, so many rounds after they were created.
    pub recreate: bool,
    /// How many rounds; 0 for no limit.
    pub number: usize,
    /// How far rounds are apart.
    pub interval: Duration,
}

/// Pods to be deleted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deleting {
    /// Which.
    pub which: Which,
    /// How many in a second; all at once if 0.
    pub per_second: usize,
    /// Whether to go on meanwhile.
    pub in_background: bool,
}

/// Objects to be replaced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Updating {
    /// What they become.
    pub objects: Vec<Object>,
    /// How many in a second; as fast as can be if 0.
    pub per_second: usize,
    /// Through which subresources; none for the objects themselves.
    pub subresources: Vec<String>,
}

/// What a workload is carried out on. Errors say what went wrong.
pub trait Cluster {
    /// Creates objects, many at a time if that is faster.
    ///
    /// # Errors
    /// An object wasn't created.
    fn create(&mut self, objects: Vec<Object>) -> Result<(), String>;

    /// Replaces objects and their statuses.
    ///
    /// # Errors
    /// An object wasn't updated.
    fn update(&mut self, updating: Updating) -> Result<(), String>;

    /// Deletes pods.
    ///
    /// # Errors
    /// A pod wasn't deleted.
    fn delete_pods(&mut self, deleting: Deleting) -> Result<(), String>;

    /// Creates objects for the rest of the workload.
    ///
    /// # Errors
    /// That can't be begun.
    fn churn(&mut self, churning: Churning) -> Result<(), String>;

    /// Waits until so many of those pods have nodes, or were at least tried.
    ///
    /// # Errors
    /// It takes more than ten minutes.
    fn wait(&mut self, which: &Which, count: usize, attempted: bool) -> Result<(), String>;

    /// Lets time pass.
    ///
    /// # Errors
    /// Something that goes on meanwhile went wrong.
    fn sleep(&mut self, duration: Duration) -> Result<(), String>;

    /// How much time has passed since some moment.
    fn elapsed(&self) -> Duration;

    /// Allocates claims without pods.
    ///
    /// # Errors
    /// It isn't able to.
    fn allocate_claims(&mut self, namespace: &str) -> Result<(), String>;

    /// Begins to note when pods are scheduled, in any of those places.
    fn start_collecting(&mut self, which: Vec<Which>);

    /// When each pod was scheduled, since collecting began.
    fn stop_collecting(&mut self) -> Vec<Duration>;
}
