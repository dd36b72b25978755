//! Subresources with a will of their own: binding, eviction, scale, finalize.
