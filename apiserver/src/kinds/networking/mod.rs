//! Ingresses, network policies, and who has which address.

mod ingresses;
mod policies;

use kubewright_api::field::FieldErrors;
use kubewright_api::names;
use serde_json::{Value, json};

pub(crate) use ingresses::{INGRESS_CLASSES, INGRESSES};
pub(crate) use policies::NETWORK_POLICIES;

use super::kind::{Kind, Part, empty_status};
use super::read::Field;
use super::validate::addresses::{canonical_cidr, canonical_ip};
use crate::registry::Column;
use crate::table::{AGE, NAME, text, text_of};

/// IPAddresses: each is named by the address that its parent has.
pub(crate) static IP_ADDRESSES: Kind = Kind {
    validate: ip_address,
    validate_update: Some(|object, old, errors| {
        ip_address(object, errors);
        Field::of(object).at("spec.parentRef").unchanged(errors, &Field::of(old).at("spec.parentRef"));
    }),
    name: |name| {
        let object = json!({ "name": name });
        let mut errors = FieldErrors::new();
        canonical_ip(&Field::of(&object).field("name"), &mut errors);
        errors.into_iter().map(|error| error.detail).collect()
    },
    columns: &ADDRESS_COLUMNS,
    ..Kind::PLAIN
};

fn ip_address(object: &Value, errors: &mut FieldErrors) {
    let parent = Field::of(object).at("spec.parentRef");
    if !parent.is_set() {
        parent.required(errors, "");
        return;
    }
    parent.field("group").check_if_set(errors, names::dns1123_subdomain);
    parent.field("resource").require_and_check(errors, names::path_segment);
    parent.field("name").require_and_check(errors, names::path_segment);
    parent.field("namespace").check_if_set(errors, names::path_segment);
}

static ADDRESS_COLUMNS: [Column; 2] = [
    NAME,
    text("ParentRef", "What has the address.", |object, _| {
        let parent = &object["spec"]["parentRef"];
        if parent.is_null() {
            return json!("<none>");
        }
        let part = |name: &str| text_of(&parent[name]);
        let mut shown = part("resource").to_lowercase();
        if !part("group").is_empty() {
            shown = format!("{shown}.{}", part("group").to_lowercase());
        }
        if !part("namespace").is_empty() {
            shown = format!("{shown}/{}", part("namespace"));
        }
        json!(format!("{shown}/{}", part("name")))
    }),
];

/// ServiceCIDRs.
pub(crate) static SERVICE_CIDRS: Kind = Kind {
    status: Some(empty_status),
    validate: |object, errors| blocks(&Field::of(object).at("spec.cidrs"), errors),
    validate_update: Some(|object, old, errors| {
        let (list, before) = (Field::of(object).at("spec.cidrs"), Field::of(old).at("spec.cidrs"));
        let (now, then) = (list.texts(), before.texts());
        let grows = then.len() == 1 && now.len() == 2;
        if now.len() != then.len() && !grows {
            list.invalid(errors, "field is immutable");
            return;
        }
        for (at, block) in list.items().enumerate().take(then.len()) {
            if now[at] != then[at] {
                block.invalid(errors, "field is immutable");
            }
        }
        if grows {
            blocks(&list, errors);
        }
    }),
    subresources: &[("status", &Part::STATUS_ONLY)],
    columns: &[
        NAME,
        text("CIDRs", "Blocks that Services get addresses of.", |object, _| {
            let blocks = object["spec"]["cidrs"].as_array().into_iter().flatten();
            json!(blocks.map(text_of).collect::<Vec<_>>().join(","))
        }),
        AGE,
    ],
    ..Kind::PLAIN
};

fn blocks(list: &Field<'_>, errors: &mut FieldErrors) {
    if list.is_empty() {
        list.required(errors, "at least one CIDR required");
        return;
    }
    if list.len() > 2 {
        list.invalid(errors, "may only hold up to 2 values");
        return;
    }
    list.items().for_each(|block| canonical_cidr(&block, errors));
    let families: Vec<bool> = list.texts().iter().map(|block| block.contains(':')).collect();
    if families.len() == 2 && families[0] == families[1] {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        list.invalid(errors, why);
    }
}

/// A reference to something of a kind in a group.
fn reference(field: &Field<'_>, errors: &mut FieldErrors) {
    if field.field("apiGroup").is_set() {
        field.field("apiGroup").check(errors, names::dns1123_subdomain);
    }
    field.field("kind").require_and_check(errors, names::path_segment);
    field.field("name").require_and_check(errors, names::path_segment);
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::registry::Strategy;

    #[test]
    fn addresses_name_themselves() {
        assert!((IP_ADDRESSES.name_rule())("10.0.0.1").is_empty());
        assert!(!(IP_ADDRESSES.name_rule())("10.0.0.01").is_empty());
        assert!(!(IP_ADDRESSES.name_rule())("web").is_empty());
    }

    #[test]
    fn blocks_may_only_be_added() {
        let object = |blocks: Value| json!({"spec": {"cidrs": blocks}});
        let check = |now: Value, before: Value, good: bool| {
            assert_eq!(SERVICE_CIDRS.validate_update(&object(now), &object(before)).is_empty(), good);
        };
        check(json!(["10.0.0.0/24"]), json!(["10.0.0.0/24"]), true);
        check(json!(["10.0.0.0/24", "2001:db8::/64"]), json!(["10.0.0.0/24"]), true);
        check(json!(["10.0.1.0/24"]), json!(["10.0.0.0/24"]), false);
        check(json!([]), json!(["10.0.0.0/24"]), false);
    }
}
