//! What services mean: Services and EndpointSlices in, a table of frontends and their endpoints out. Pure.

mod compile;
mod input;
mod table;

pub use compile::{Node, compile};
pub use input::{
    AffinityConfig, ClientIp, Conditions, Endpoint, EndpointHints, EndpointPort, EndpointSlice, Meta, NamedHint,
    PortNumber, Service, ServicePort, ServiceSpec,
};
pub use table::{Backends, Change, Frontend, Protocol, RuleTable};
