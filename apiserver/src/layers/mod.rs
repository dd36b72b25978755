//! The layers around the registry: identify, limit, authorize, catch panics.
