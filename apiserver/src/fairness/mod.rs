//! API priority and fairness: under load, the requests that keep a cluster alive go first, and nobody's flood drowns
//! anybody else.
//!
//! Flow schemas sort requests into priority levels, each of which has a share of the server's seats. A request that
//! finds no seat waits in one of its flow's queues, or is told when to come again; levels lend what they don't need.
//! Behaviour, default objects, headers and metrics are upstream's. [`Fairness`] is the step between identification and
//! authorization; [`FairnessKeeper`] keeps the objects and lends seats.

mod demand;
mod keeper;
mod levels;
mod metrics;
mod queues;
mod retry;
mod schema;
mod shuffle;
mod step;
#[cfg(test)]
mod tests;
mod width;

pub use keeper::FairnessKeeper;
pub use metrics::FairnessMetrics;
pub use step::{Extents, Fairness, FairnessConfig};
pub use width::Extent;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
