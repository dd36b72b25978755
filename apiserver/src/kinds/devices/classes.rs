//! DeviceClasses.

use super::claim::{CONFIGURATIONS_MAX, configuration};
use super::selectors::selectors;
use crate::kinds::kind::Kind;
use crate::kinds::read::Field;
use crate::kinds::validate::lists::bounded;
use crate::kinds::validate::resources::is_extended;
use crate::table::{AGE, NAME};

/// DeviceClasses.
pub(crate) static DEVICE_CLASSES: Kind = Kind {
    validate: |object, errors| {
        let spec = Field::of(object).field("spec");
        selectors(&spec.field("selectors"), errors);
        bounded(&spec.field("config"), CONFIGURATIONS_MAX, errors, configuration);
        let resource = spec.field("extendedResourceName");
        if resource.is_set() && !is_extended(resource.text()) {
            resource.invalid(errors, "must be a valid extended resource name");
        }
    },
    columns: &[NAME, AGE],
    generation: true,
    ..Kind::PLAIN
};
