//! A pod's volumes, and how its containers mount them.

use std::collections::{BTreeMap, BTreeSet};

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use kubewright_api::quantity::Quantity;

use super::projected;
use crate::kinds::read::Field;
use crate::kinds::validate::paths::{descending, descending_not_reserved, file_mode, has_backsteps};
use crate::kinds::validate::{claims, sources};

/// The good volumes of a pod by name.
pub(crate) type Volumes<'a> = BTreeMap<&'a str, Field<'a>>;

/// Checks the volumes of a pod's spec; gives the good ones. A template has no pod name.
pub(crate) fn volumes<'a>(spec: &Field<'a>, pod_name: &str, errors: &mut FieldErrors) -> Volumes<'a> {
    let list = spec.field("volumes");
    let ephemeral = |volume: &Field<'_>| volume.field("ephemeral").is_set();
    let created: BTreeSet<String> = list
        .items()
        .filter(|volume| !pod_name.is_empty() && ephemeral(volume))
        .map(|volume| format!("{pod_name}-{}", volume.field("name").text()))
        .collect();
    let mut good = Volumes::new();
    for volume in list.items() {
        let before = errors.len();
        source(&volume, pod_name, errors);
        let name = volume.field("name");
        name.require_and_check(errors, names::dns1123_label);
        if good.contains_key(name.text()) {
            name.duplicate(errors);
        }
        if errors.len() == before {
            good.insert(name.text(), volume.clone());
        }
        let claim = volume.at("persistentVolumeClaim.claimName");
        if created.contains(claim.text()) {
            claim.invalid(errors, "must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    good
}

const IN_PODS: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

fn source(volume: &Field<'_>, pod_name: &str, errors: &mut FieldErrors) {
    let mut found = false;
    for kind in IN_PODS {
        let field = volume.field(kind);
        if !field.is_set() {
            continue;
        }
        if found {
            field.forbidden(errors, "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        match *kind {
            "emptyDir" => {
                let limit = field.field("sizeLimit");
                if limit.quantity().is_some_and(|limit| limit < Quantity::ZERO) {
                    limit.forbidden(errors, "SizeLimit field must be a valid resource quantity");
                }
            }
            "secret" => files_of(&field, "secretName", errors),
            "configMap" => files_of(&field, "name", errors),
            "downwardAPI" => {
                file_mode(&field.field("defaultMode"), errors);
                field.field("items").items().for_each(|file| projected::downward_file(&file, &field, errors));
            }
            "projected" => projected::validate(&field, errors),
            "persistentVolumeClaim" => {
                field.field("claimName").require(errors);
            }
            "ephemeral" => ephemeral(volume, &field, pod_name, errors),
            "image" => {
                field.field("reference").require(errors);
                field.field("pullPolicy").one_of(errors, &["Always", "IfNotPresent", "Never"]);
            }
            _ => sources::validate(volume, &field, kind, errors),
        }
    }
    if !found {
        volume.required(errors, "must specify a volume type");
    }
}

fn files_of(source: &Field<'_>, name: &'static str, errors: &mut FieldErrors) {
    source.field(name).require(errors);
    file_mode(&source.field("defaultMode"), errors);
    for item in source.field("items").items() {
        key_to_path(&item, errors);
    }
}

/// A key and the file it becomes.
pub(crate) fn key_to_path(item: &Field<'_>, errors: &mut FieldErrors) {
    item.field("key").require(errors);
    item.field("path").require(errors);
    descending_not_reserved(&item.field("path"), errors);
    file_mode(&item.field("mode"), errors);
}

fn ephemeral(volume: &Field<'_>, source: &Field<'_>, pod_name: &str, errors: &mut FieldErrors) {
    let template = source.field("volumeClaimTemplate");
    if !template.is_set() {
        template.required(errors, "");
    } else {
        claims::template(&template, errors);
    }
    let name = volume.field("name");
    if !pod_name.is_empty() && !name.is_empty() {
        let claim = format!("{pod_name}-{}", name.text());
        for fault in names::dns1123_subdomain(&claim) {
            name.invalid(errors, format!("PVC name {claim:?}: {fault}"));
        }
    }
}

/// A container's mounts.
pub(crate) fn mounts(container: &Field<'_>, volumes: &Volumes<'_>, errors: &mut FieldErrors) {
    let list = container.field("volumeMounts");
    let devices: Vec<Field<'_>> = container.field("volumeDevices").items().collect();
    let mut paths = BTreeSet::new();
    for mount in list.items() {
        let (name, path) = (mount.field("name"), mount.field("mountPath"));
        name.require(errors);
        if !volumes.contains_key(name.text()) {
            errors.push(FieldError::not_found(&name.path(), name.text()));
        }
        path.require(errors);
        if !paths.insert(path.text()) {
            path.invalid(errors, "must be unique");
        }
        if devices.iter().any(|device| device.field("name").text() == name.text()) {
            name.invalid(errors, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| device.field("devicePath").text() == path.text()) {
            path.invalid(errors, "must not already exist as a path in volumeDevices");
        }
        let (sub_path, expression) = (mount.field("subPath"), mount.field("subPathExpr"));
        below(&list, &sub_path, "subPath", errors);
        if !expression.is_empty() && !sub_path.is_empty() {
            expression.invalid(errors, "subPathExpr and subPath are mutually exclusive");
        }
        below(&list, &expression, "subPathExpr", errors);
        propagation(container, &list, &mount, errors);
    }
}

/// Upstream reports faults of these fields on the list, not on the mount.
fn below(list: &Field<'_>, field: &Field<'_>, name: &'static str, errors: &mut FieldErrors) {
    let mut faults = FieldErrors::new();
    if !field.is_empty() {
        descending(field, &mut faults);
    }
    let path = list.field(name).path();
    errors.extend(faults.into_iter().map(|fault| FieldError { path: path.clone(), ..fault }));
}

fn propagation(container: &Field<'_>, list: &Field<'_>, mount: &Field<'_>, errors: &mut FieldErrors) {
    let mode = mount.field("mountPropagation");
    let path = list.field("mountPropagation");
    let modes = ["Bidirectional", "HostToContainer", "None"];
    if mode.is_set() && !modes.contains(&mode.text()) {
        errors.push(FieldError::not_supported_in_order(&path.path(), mode.text(), &modes));
    }
    if mode.text() == "Bidirectional" && !container.at("securityContext.privileged").flag() {
        path.forbidden(errors, "Bidirectional mount propagation is available only to privileged containers");
    }
    let path = list.field("recursiveReadOnly");
    match mount.field("recursiveReadOnly").opt_text() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.field("readOnly").flag() {
                path.forbidden(errors, "may only be specified when readOnly is true");
            }
            if mode.is_set() && mode.text() != "None" {
                path.forbidden(errors, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => {
            let allowed = ["Disabled", "Enabled", "IfPossible"];
            errors.push(FieldError::not_supported_in_order(&path.path(), other, &allowed));
        }
    }
}

/// A container's block devices.
pub(crate) fn devices(container: &Field<'_>, volumes: &Volumes<'_>, errors: &mut FieldErrors) {
    let mounts: Vec<Field<'_>> = container.field("volumeMounts").items().collect();
    let (mut paths, mut names_seen) = (BTreeSet::new(), BTreeSet::new());
    for device in container.field("volumeDevices").items() {
        let (name, path) = (device.field("name"), device.field("devicePath"));
        name.require(errors);
        if !name.is_empty() && !names_seen.insert(name.text()) {
            name.invalid(errors, "must be unique");
        }
        match volumes.get(name.text()) {
            None => errors.push(FieldError::not_found(&name.path(), name.text())),
            Some(volume) if volume.field("persistentVolumeClaim").is_set() || volume.field("ephemeral").is_set() => {}
            Some(_) => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                name.invalid(errors, why);
            }
        }
        path.require(errors);
        if paths.contains(path.text()) {
            path.invalid(errors, "must be unique");
        }
        if has_backsteps(path.text()) {
            path.invalid(errors, "can not contain backsteps ('..')");
        } else {
            paths.insert(path.text());
        }
        if mounts.iter().any(|mount| mount.field("name").text() == name.text()) {
            name.invalid(errors, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| mount.field("mountPath").text() == path.text()) {
            path.invalid(errors, "must not already exist as a path in volumeMounts");
        }
    }
}
