//! Rules that several kinds share.

pub(crate) mod addresses;
pub(crate) mod claims;
pub(crate) mod conditions;
pub(crate) mod labels;
pub(crate) mod lists;
pub mod meta;
pub(crate) mod paths;
pub(crate) mod resources;
pub(crate) mod scheduling;
pub(crate) mod signers;
pub(crate) mod sources;
