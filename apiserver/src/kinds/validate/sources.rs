//! Volume sources that pods and persistent volumes share.

use kubewright_api::field::FieldErrors;
use kubewright_api::names;

use super::paths::{descending, no_backsteps};
use crate::kinds::read::Field;

/// The rules for a source of that kind, in a pod's volume or in a persistent volume's spec.
pub(crate) fn validate(volume: &Field<'_>, source: &Field<'_>, kind: &str, errors: &mut FieldErrors) {
    let required: &[&str] = match kind {
        "rbd" => &["monitors", "image"],
        "cephfs" => &["monitors"],
        "glusterfs" => &["endpoints", "path"],
        "azureFile" => &["secretName", "shareName"],
        "azureDisk" => &["diskName", "diskURI"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "cinder" | "portworxVolume" | "awsElasticBlockStore" => &["volumeID"],
        "gcePersistentDisk" => &["pdName"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        "flexVolume" => &["driver"],
        "nfs" => &["server", "path"],
        "gitRepo" => &["repository"],
        "quobyte" => &["volume"],
        _ => &[],
    };
    required.iter().for_each(|name| {
        source.field(name).require(errors);
    });
    match kind {
        "hostPath" => host_path(source, errors),
        "local" if source.field("path").require(errors) => no_backsteps(&source.field("path"), errors),
        "gitRepo" => descending(&source.field("directory"), errors),
        "nfs" if !source.field("path").text().starts_with('/') => {
            let path = source.field("path");
            path.invalid_value(errors, path.text(), "must be an absolute path");
        }
        "gcePersistentDisk" | "awsElasticBlockStore" => partition(volume, source, kind, errors),
        "iscsi" => iscsi(source, errors),
        "fc" => fibre_channel(source, errors),
        "flocker" => flocker(source, errors),
        "quobyte" => quobyte(source, errors),
        "flexVolume" => flex(source, errors),
        "azureDisk" => azure_disk(source, errors),
        "storageos" => {
            source.field("volumeName").require_and_check(errors, names::dns1123_label);
            source.field("volumeNamespace").check_if_set(errors, names::dns1123_label);
        }
        "csi" => {
            csi_driver_name(&source.field("driver"), errors);
            let secret = source.field("nodePublishSecretRef");
            if secret.is_set() && !secret.field("namespace").is_set() {
                secret.field("name").require_and_check(errors, names::dns1123_subdomain);
            }
        }
        _ => {}
    }
    if matches!(kind, "cinder" | "storageos" | "iscsi") && source.field("secretRef").is_set() {
        source.at("secretRef.name").require(errors);
    }
}

/// The name of a CSI driver.
pub(crate) fn csi_driver_name(name: &Field<'_>, errors: &mut FieldErrors) {
    if name.require(errors) {
        if name.text().len() > 63 {
            name.too_long(errors, 63);
        }
        name.check(errors, |text| names::dns1123_subdomain(&text.to_lowercase()));
    }
}

fn host_path(source: &Field<'_>, errors: &mut FieldErrors) {
    if source.field("path").require(errors) {
        no_backsteps(&source.field("path"), errors);
        let kinds =
            ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
        source.field("type").one_of_if_set(errors, &kinds);
    }
}

fn partition(volume: &Field<'_>, source: &Field<'_>, kind: &str, errors: &mut FieldErrors) {
    let partition = source.field("partition");
    if !(0..=255).contains(&partition.int()) {
        let shown = if kind == "gcePersistentDisk" {
            volume.field("persistentDisk").field("partition")
        } else {
            partition.clone()
        };
        shown.invalid_value(errors, partition.int(), "must be between 0 and 255, both inclusive");
    }
}

fn iscsi(source: &Field<'_>, errors: &mut FieldErrors) {
    source.field("targetPortal").require(errors);
    let name = source.field("iqn");
    if name.require(errors) {
        qualified_iscsi_name(&name, &name, errors);
    }
    let lun = source.field("lun");
    lun.within(errors, 0, 255);
    let authenticated = source.field("chapAuthDiscovery").flag() || source.field("chapAuthSession").flag();
    if authenticated && !source.field("secretRef").is_set() {
        source.field("secretRef").required(errors, "");
    }
    let initiator = source.field("initiatorName");
    if initiator.is_set() {
        qualified_iscsi_name(&initiator, &source.field("initiatorname"), errors);
    }
}

fn qualified_iscsi_name(name: &Field<'_>, reported_at: &Field<'_>, errors: &mut FieldErrors) {
    let text = name.text();
    let hex = |digits: &str, lengths: &[usize]| {
        lengths.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let good = match (text.get(..3), text.get(3..)) {
        (Some("iqn"), Some(rest)) => iqn(rest),
        (Some("eui"), Some(rest)) => rest.strip_prefix('.').is_some_and(|digits| hex(digits, &[16])),
        (Some("naa"), Some(rest)) => rest.strip_prefix('.').is_some_and(|digits| hex(digits, &[16, 32])),
        _ => {
            reported_at.invalid_value(errors, text, "must be valid format starting with iqn, eui, or naa");
            return;
        }
    };
    if !good {
        reported_at.invalid_value(errors, text, "must be valid format");
    }
}

/// `.2001-04.com.example:storage` after `iqn`.
fn iqn(rest: &str) -> bool {
    let Some((date, rest)) = rest.strip_prefix('.').and_then(|rest| rest.split_once('.')) else { return false };
    let (authority, unique) =
        rest.split_once(':').map_or((rest, None), |(authority, unique)| (authority, Some(unique)));
    let date_good = date.len() == 7
        && date.bytes().enumerate().all(|(at, byte)| if at == 4 { byte == b'-' } else { byte.is_ascii_digit() });
    let authority_good =
        !authority.is_empty() && authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    date_good && authority_good && unique.is_none_or(|unique| !unique.contains(char::is_whitespace))
}

fn fibre_channel(source: &Field<'_>, errors: &mut FieldErrors) {
    let (targets, lun) = (source.field("targetWWNs"), source.field("lun"));
    match (targets.is_empty(), source.field("wwids").is_empty()) {
        (true, true) => targets.required(errors, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => targets.invalid(errors, "targetWWNs and wwids can not be specified simultaneously"),
        _ => {}
    }
    if !targets.is_empty() {
        if !lun.is_set() {
            lun.required(errors, "lun is required if targetWWNs is specified");
        }
        lun.within(errors, 0, 255);
    }
}

fn flocker(source: &Field<'_>, errors: &mut FieldErrors) {
    let (name, uuid) = (source.field("datasetName"), source.field("datasetUUID"));
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => source.required(errors, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            let why = "datasetName and datasetUUID can not be specified simultaneously";
            source.invalid_value(errors, "resource", why);
        }
        _ => {}
    }
    if name.text().contains('/') {
        name.invalid(errors, "must not contain '/'");
    }
}

fn quobyte(source: &Field<'_>, errors: &mut FieldErrors) {
    let registry = source.field("registry");
    let why = "must be a host:port pair or multiple pairs separated by commas";
    if registry.is_empty() {
        registry.required(errors, why);
    } else if source.field("tenant").text().len() >= 65 {
        source.field("tenant").required(errors, "must be a UUID and may not exceed a length of 64 characters");
    } else if registry.text().split(',').any(|pair| pair.rsplit_once(':').is_none()) {
        registry.invalid(errors, why);
    }
}

fn flex(source: &Field<'_>, errors: &mut FieldErrors) {
    for (key, option) in source.field("options").entries() {
        let namespace = format!(".{}", key.split('/').next().unwrap_or_default().to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            option.invalid_value(errors, key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn azure_disk(source: &Field<'_>, errors: &mut FieldErrors) {
    source.field("cachingMode").one_of_if_set(errors, &["None", "ReadOnly", "ReadWrite"]);
    let kind = source.field("kind");
    kind.one_of_if_set(errors, &["Dedicated", "Managed", "Shared"]);
    let uri = source.field("diskURI");
    if kind.text() == "Managed" && !uri.text().starts_with("/subscriptions/") {
        let shape = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
        uri.unsupported(errors, &[shape]);
    }
    if kind.is_set() && kind.text() != "Managed" && !uri.text().starts_with("https://") {
        uri.unsupported(errors, &["https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"]);
    }
}
