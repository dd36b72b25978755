//! Projected volumes and the files of the downward API.

use std::collections::BTreeSet;

use kubewright_api::field::FieldErrors;

use super::env::{field_ref_in_volume, resource_field_ref};
use super::volumes::key_to_path;
use crate::kinds::read::Field;
use crate::kinds::validate::labels::{annotations, label_selector};
use crate::kinds::validate::paths::{descending_not_reserved, file_mode};
use crate::kinds::validate::signers::signer_name;

/// A file made of a field or an amount. Upstream reports its faults on the volume's source.
pub(crate) fn downward_file(file: &Field<'_>, reported_at: &Field<'_>, errors: &mut FieldErrors) {
    let mut faults = FieldErrors::new();
    file.field("path").require(&mut faults);
    descending_not_reserved(&file.field("path"), &mut faults);
    let (field, resource) = (file.field("fieldRef"), file.field("resourceFieldRef"));
    match (field.is_set(), resource.is_set()) {
        (true, both) => {
            field_ref_in_volume(&field, &mut faults);
            if both {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                file.invalid_value(&mut faults, "resource", why);
            }
        }
        (false, true) => resource_field_ref(&resource, true, &mut faults),
        (false, false) => file.required(&mut faults, "one of fieldRef and resourceFieldRef is required"),
    }
    file_mode(&file.field("mode"), &mut faults);
    let (from, to) = (file.path().to_string(), reported_at.path());
    errors.extend(faults.into_iter().map(|mut fault| {
        let text = fault.path.to_string();
        let below = text.strip_prefix(&from).unwrap_or_default().trim_start_matches('.').to_owned();
        fault.path = if below.is_empty() { to.clone() } else { to.child(&below) };
        fault
    }));
}

/// A projected volume.
pub(crate) fn validate(volume: &Field<'_>, errors: &mut FieldErrors) {
    file_mode(&volume.field("defaultMode"), errors);
    let mut paths = BTreeSet::new();
    for source in volume.field("sources").items() {
        let mut sources = 0;
        for kind in
            ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"]
        {
            let field = source.field(kind);
            if !field.is_set() {
                continue;
            }
            sources += 1;
            match kind {
                "secret" | "configMap" => {
                    let name = field.field("name");
                    name.require(errors);
                    for item in field.field("items").items() {
                        key_to_path(&item, errors);
                        claim(volume, &mut paths, &item.field("path"), name.text(), errors);
                    }
                }
                "downwardAPI" => {
                    for file in field.field("items").items() {
                        downward_file(&file, &field, errors);
                        claim(volume, &mut paths, &file.field("path"), file.field("path").text(), errors);
                    }
                }
                "serviceAccountToken" => token(volume, &field, errors),
                "clusterTrustBundle" => {
                    trust_bundle(&field, errors);
                    claim(volume, &mut paths, &field.field("path"), field.field("path").text(), errors);
                }
                _ => certificate(volume, &field, &mut paths, errors),
            }
        }
        if sources > 1 {
            source.forbidden(errors, "may not specify more than 1 volume type per source");
        }
    }
}

fn claim<'a>(
    volume: &Field<'_>,
    paths: &mut BTreeSet<&'a str>,
    path: &Field<'a>,
    reported: &str,
    errors: &mut FieldErrors,
) {
    if !path.is_empty() && !paths.insert(path.text()) {
        volume.invalid_value(errors, reported, "conflicting duplicate paths");
    }
}

fn token(volume: &Field<'_>, token: &Field<'_>, errors: &mut FieldErrors) {
    let seconds = token.field("expirationSeconds");
    if seconds.int() < 600 {
        seconds.invalid_value(errors, seconds.int(), "may not specify a duration less than 10 minutes");
    }
    if seconds.int() > 1 << 32 {
        seconds.invalid(errors, "may not specify a duration larger than 2^32 seconds");
    }
    let path = token.field("path");
    if path.is_empty() {
        volume.field("path").required(errors, "");
    } else {
        descending_not_reserved(&path, errors);
    }
}

fn trust_bundle(bundle: &Field<'_>, errors: &mut FieldErrors) {
    let (name, signer) = (bundle.field("name"), bundle.field("signerName"));
    match (name.is_set(), signer.is_set()) {
        (true, true) => bundle.invalid(errors, "only one of name and signerName may be used"),
        (true, false) => {
            if name.is_empty() {
                name.required(errors, "must be a valid object name");
            }
            if bundle.field("labelSelector").is_set() {
                bundle.field("labelSelector").invalid(errors, "labelSelector must be unset if name is specified");
            }
        }
        (false, true) => {
            if signer.is_empty() {
                signer.required(errors, "must be a valid signer name");
            }
            signer_name(&signer, errors);
            label_selector(&bundle.field("labelSelector"), errors);
        }
        (false, false) => bundle.required(errors, "either name or signerName must be specified"),
    }
    bundle.field("path").require(errors);
    descending_not_reserved(&bundle.field("path"), errors);
}

fn certificate<'a>(
    volume: &Field<'_>,
    certificate: &Field<'a>,
    paths: &mut BTreeSet<&'a str>,
    errors: &mut FieldErrors,
) {
    let signer = certificate.field("signerName");
    signer_name(&signer, errors);
    annotations(&certificate.field("userAnnotations"), errors);
    let key_type = certificate.field("keyType");
    let key_types = ["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"];
    if !key_types.contains(&key_type.text()) {
        key_type.unsupported(errors, &key_types);
    }
    let seconds = certificate.field("maxExpirationSeconds");
    if seconds.is_set() {
        if seconds.int() < 3600 {
            seconds.invalid(errors, "if provided, maxExpirationSeconds must be >= 3600");
        }
        let longest = if signer.text().starts_with("kubernetes.io/") { 86_400 } else { 7_862_400 };
        if seconds.int() > longest {
            seconds.invalid(errors, format!("if provided, maxExpirationSeconds must be <= {longest}"));
        }
    }
    let mut files = 0;
    for name in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let path = certificate.field(name);
        if !path.is_empty() {
            files += 1;
            descending_not_reserved(&path, errors);
            claim(volume, paths, &path, path.text(), errors);
        }
    }
    if files == 0 {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        certificate.required(errors, why);
    }
}
