//! The server: routing, and the service that ties registry and layers together.

mod endpoint;

pub use endpoint::Endpoint;
