use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;

use super::{FileContent, Payload, TokenKey, VolumeError};
use crate::environment::{FieldValues, container_resource, pod_field};
use crate::objects::{Pod, Volume};
use crate::references::{Fetched, KeyedData, ObjectKind};

/// Everything besides the pod that its volumes show.
pub struct VolumeSources<'a> {
    /// ConfigMaps and Secrets of the pod's namespace.
    pub object: &'a dyn Fn(ObjectKind, &str) -> Fetched,
    /// Addresses and so on.
    pub fields: &'a FieldValues,
    /// Tokens of the pod's service account, or why there is none.
    pub tokens: &'a BTreeMap<TokenKey, Result<String, String>>,
}

impl std::fmt::Debug for VolumeSources<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VolumeSources").finish_non_exhaustive()
    }
}

impl VolumeSources<'_> {
    fn fetch(&self, kind: ObjectKind, name: &str, optional: bool) -> Result<Option<Arc<KeyedData>>, VolumeError> {
        match (self.object)(kind, name) {
            Fetched::Found(data) => Ok(Some(data)),
            Fetched::Missing if optional => Ok(None),
            Fetched::Missing => Err(VolumeError::NotFound { kind, name: name.to_owned() }),
            Fetched::Unknown => Err(VolumeError::NotSynced { kind }),
        }
    }

    fn object_files(
        &self,
        kind: ObjectKind,
        name: &str,
        items: &[core::KeyToPath],
        optional: bool,
        default_mode: u32,
        out: &mut Payload,
    ) -> Result<(), VolumeError> {
        let Some(data) = self.fetch(kind, name, optional)? else {
            return Ok(());
        };
        if items.is_empty() {
            for (key, value) in data.files() {
                out.insert(key.to_owned(), FileContent { data: value.to_vec(), mode: default_mode });
            }
            return Ok(());
        }
        for item in items {
            match data.file(&item.key) {
                Some(value) => {
                    let mode = item.mode.map_or(default_mode, mode_bits);
                    out.insert(item.path.clone(), FileContent { data: value.to_vec(), mode });
                }
                None if optional => {}
                None => {
                    let what = if kind == ObjectKind::Secret { "secret" } else { "config" };
                    return Err(VolumeError::NoSuchKey { what, key: item.key.clone() });
                }
            }
        }
        Ok(())
    }
}

fn mode_bits(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or(0o644) & 0o7777
}

/// The files of a volume that shows objects, and the name of its kind in paths. `None` for other volumes.
///
/// # Errors
/// What is missing.
pub fn payload(
    pod: &Pod,
    volume: &Volume,
    sources: &VolumeSources<'_>,
) -> Result<Option<(&'static str, Payload)>, VolumeError> {
    let mut out = Payload::new();
    let default = |mode: Option<i32>| mode.map_or(0o644, mode_bits);
    let plugin = if let Some(map) = &volume.config_map {
        let (items, mode) = (map.items.as_deref().unwrap_or_default(), default(map.default_mode));
        let optional = map.optional.unwrap_or(false);
        sources.object_files(ObjectKind::ConfigMap, &map.name, items, optional, mode, &mut out)?;
        "configmap"
    } else if let Some(secret) = &volume.secret {
        let (mode, optional) = (default(secret.default_mode), secret.optional.unwrap_or(false));
        sources.object_files(ObjectKind::Secret, &secret.secret_name, &secret.items, optional, mode, &mut out)?;
        "secret"
    } else if let Some(downward) = &volume.downward_api {
        let files = downward.items.as_deref().unwrap_or_default();
        downward_files(pod, files, default(downward.default_mode), sources, &mut out)?;
        "downward-api"
    } else if let Some(projected) = &volume.projected {
        let mode = default(projected.default_mode);
        for source in projected.sources.iter().flatten() {
            projection(pod, source, mode, sources, &mut out)?;
        }
        "projected"
    } else {
        return Ok(None);
    };
    Ok(Some((plugin, out)))
}

fn projection(
    pod: &Pod,
    source: &core::VolumeProjection,
    mode: u32,
    sources: &VolumeSources<'_>,
    out: &mut Payload,
) -> Result<(), VolumeError> {
    if let Some(map) = &source.config_map {
        let (items, optional) = (map.items.as_deref().unwrap_or_default(), map.optional.unwrap_or(false));
        sources.object_files(ObjectKind::ConfigMap, &map.name, items, optional, mode, out)?;
    }
    if let Some(secret) = &source.secret {
        let (items, optional) = (secret.items.as_deref().unwrap_or_default(), secret.optional.unwrap_or(false));
        sources.object_files(ObjectKind::Secret, &secret.name, items, optional, mode, out)?;
    }
    if let Some(downward) = &source.downward_api {
        downward_files(pod, downward.items.as_deref().unwrap_or_default(), mode, sources, out)?;
    }
    if let Some(token) = &source.service_account_token {
        let data = match sources.tokens.get(&TokenKey::of(token)) {
            Some(Ok(token)) => token.clone().into_bytes(),
            Some(Err(why)) => return Err(VolumeError::Token(why.clone())),
            None => return Err(VolumeError::Token("not asked for yet".to_owned())),
        };
        // With a group of the pod's own nobody else needs to read it.
        let context = pod.spec.security_context.as_deref();
        let grouped = context.is_some_and(|context| context.fs_group.is_some());
        out.insert(token.path.clone(), FileContent { data, mode: if grouped { 0o640 } else { mode } });
    }
    if source.cluster_trust_bundle.is_some() {
        return Err(VolumeError::Unsupported("clusterTrustBundle"));
    }
    if source.pod_certificate.is_some() {
        return Err(VolumeError::Unsupported("podCertificate"));
    }
    Ok(())
}

fn downward_files(
    pod: &Pod,
    files: &[core::DownwardAPIVolumeFile],
    default_mode: u32,
    sources: &VolumeSources<'_>,
    out: &mut Payload,
) -> Result<(), VolumeError> {
    for file in files {
        let value = if let Some(field) = &file.field_ref {
            pod_field(pod, &field.field_path, sources.fields)?
        } else if let Some(resource) = &file.resource_field_ref {
            let name = resource.container_name.as_deref().unwrap_or_default();
            let Some(container) = pod.spec.container(name) else {
                return Err(crate::environment::FieldError::Resource(resource.resource.clone()).into());
            };
            container_resource(container, resource, sources.fields)?
        } else {
            continue;
        };
        let mode = file.mode.map_or(default_mode, mode_bits);
        out.insert(file.path.clone(), FileContent { data: value.into_bytes(), mode });
    }
    Ok(())
}
