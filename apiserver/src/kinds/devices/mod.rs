//! Claims on devices, classes of devices, and what nodes have of them.

mod capacity;
mod claim;
mod claims;
mod classes;
mod device;
mod names;
mod selectors;
mod slices;
mod status;
mod taints;
mod templates;
#[cfg(test)]
mod tests;

pub(crate) use claims::RESOURCE_CLAIMS;
pub(crate) use classes::DEVICE_CLASSES;
pub(crate) use slices::RESOURCE_SLICES;
pub(crate) use templates::RESOURCE_CLAIM_TEMPLATES;
