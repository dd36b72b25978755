use std::os::unix::fs::symlink;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::environment::FieldValues;
use crate::references::{Fetched, KeyedData};

fn object(kind: ObjectKind, name: &str) -> Fetched {
    match (kind, name) {
        (ObjectKind::ConfigMap, "settings") => {
            Fetched::Found(Arc::new(KeyedData::text([("color", "red"), ("size", "10")])))
        }
        (ObjectKind::Secret, "keys") => Fetched::Found(Arc::new(KeyedData::binary([("key", vec![0, 159, 146])]))),
        _ => Fetched::Missing,
    }
}

struct Made {
    dir: tempfile::TempDir,
    pod: Pod,
    volumes: BTreeMap<String, PathBuf>,
}

fn make(volume: serde_json::Value) -> Result<Made, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut volume = volume;
    volume["name"] = json!("v");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "web"}},
        "spec": {"volumes": [volume], "containers": [{"name": "c", "resources": {"limits": {"memory": "64Mi"}}}]}}))
    .unwrap();
    let tokens = needed_tokens(&pod).into_iter().map(|key| (key, Ok("t0ken".to_owned()))).collect();
    let fields = FieldValues::default();
    let sources = VolumeSources { object: &object, fields: &fields, tokens: &tokens };
    let volumes = set_up(&pod, &PodDirs::new(dir.path(), "u"), &sources, Timestamp::UNIX_EPOCH)
        .map_err(|(name, error)| format!("{name}: {error}"))?;
    Ok(Made { dir, pod, volumes })
}

impl Made {
    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.volumes["v"].join(file)).unwrap()
    }

    fn mode(&self, file: &str) -> u32 {
        fs::metadata(self.volumes["v"].join(file)).unwrap().permissions().mode() & 0o7777
    }

    fn mount(&self, mount: serde_json::Value) -> Result<(String, PathBuf, bool), String> {
        let container = serde_json::from_value(json!({"name": "c", "volumeMounts": [mount]})).unwrap();
        let variables = |name: &str| (name == "POD").then_some("p");
        let mounts = mounts(&self.pod, &container, &self.volumes, variables).map_err(|error| error.to_string())?;
        let mount = mounts.into_iter().next().unwrap();
        Ok((mount.container_path, mount.host_path, mount.readonly))
    }
}

#[test]
fn config_maps_and_secrets_become_files() {
    let made = make(json!({"configMap": {"name": "settings"}})).unwrap();
    assert_eq!(made.read("color"), b"red");
    assert_eq!(made.mode("color"), 0o644);
    let some = json!({"configMap": {"name": "settings", "defaultMode": 0o440, "items":
        [{"key": "size", "path": "deep/size"}, {"key": "color", "path": "c", "mode": 0o400}]}});
    let made = make(some).unwrap();
    assert_eq!((made.read("deep/size"), made.mode("deep/size"), made.mode("c")), (b"10".to_vec(), 0o440, 0o400));
    assert_eq!(make(json!({"secret": {"secretName": "keys"}})).unwrap().read("key"), [0, 159, 146]);
}

#[test]
fn what_is_missing_fails_unless_it_may_be() {
    let fails = |volume| make(volume).map(|_| ()).unwrap_err();
    assert_eq!(fails(json!({"configMap": {"name": "none"}})), "v: configmap \"none\" not found");
    let no_key = json!({"configMap": {"name": "settings", "items": [{"key": "k", "path": "k"}]}});
    assert_eq!(fails(no_key), "v: references non-existent config key: k");
    assert!(make(json!({"secret": {"secretName": "none", "optional": true}})).is_ok());
    let claim = json!({"persistentVolumeClaim": {"claimName": "c"}});
    assert_eq!(fails(claim), "v: persistentVolumeClaim volumes are not supported by this kubelet");
}

#[test]
fn downward_and_projected_volumes() {
    let items = json!([{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "mem", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}}]);
    let made = make(json!({"downwardAPI": {"items": items}})).unwrap();
    assert_eq!((made.read("labels"), made.read("mem")), (b"app=\"web\"".to_vec(), b"64".to_vec()));
    let made = make(json!({"projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "settings", "items": [{"key": "color", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}))
    .unwrap();
    assert_eq!(made.read("token"), b"t0ken");
    assert_eq!((made.read("ca.crt"), made.read("namespace")), (b"red".to_vec(), b"ns".to_vec()));
}

#[test]
fn empty_directories_keep_what_is_written() {
    let made = make(json!({"emptyDir": {}})).unwrap();
    assert_eq!(made.mode(""), 0o777);
    fs::write(made.volumes["v"].join("file"), "x").unwrap();
    let (tokens, fields) = (BTreeMap::new(), FieldValues::default());
    let sources = VolumeSources { object: &object, fields: &fields, tokens: &tokens };
    let dirs = PodDirs::new(made.dir.path(), "u");
    set_up(&made.pod, &dirs, &sources, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(made.read("file"), b"x");
    tear_down(&dirs).unwrap();
    assert!(!dirs.root().exists());
    tear_down(&dirs).unwrap();
}

#[test]
fn mounts_stay_inside_of_their_volume() {
    let made = make(json!({"emptyDir": {}})).unwrap();
    let root = made.volumes["v"].canonicalize().unwrap();
    assert_eq!(
        made.mount(json!({"name": "v", "mountPath": "/m"})).unwrap(),
        ("/m".into(), made.volumes["v"].clone(), false)
    );
    let sub = made.mount(json!({"name": "v", "mountPath": "/m", "subPath": "a/b", "readOnly": false})).unwrap();
    assert_eq!(sub.1, root.join("a/b"));
    assert!(sub.1.is_dir());
    let named = made.mount(json!({"name": "v", "mountPath": "/m", "subPathExpr": "$(POD)"})).unwrap();
    assert_eq!(named.1, root.join("p"));
    assert!(made.mount(json!({"name": "v", "mountPath": "/m", "subPath": "../x"})).is_err());
    symlink("/", root.join("out")).unwrap();
    assert!(made.mount(json!({"name": "v", "mountPath": "/m", "subPath": "out/tmp"})).is_err());
    assert!(made.mount(json!({"name": "v", "mountPath": "/m", "subPath": "out/no/such/path"})).is_err());
    assert!(made.mount(json!({"name": "w", "mountPath": "/m"})).is_err());
    let map = make(json!({"configMap": {"name": "settings"}})).unwrap();
    let (_, path, readonly) = map.mount(json!({"name": "v", "mountPath": "/m", "subPath": "color"})).unwrap();
    assert_eq!((fs::read_to_string(path).unwrap().as_str(), readonly), ("red", true));
}

#[test]
fn host_paths_have_the_type_they_should() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, kind: &str| {
        make(json!({"hostPath": {"path": dir.path().join(name), "type": kind}})).map(|made| made.volumes["v"].clone())
    };
    assert!(check("none", "Directory").unwrap_err().contains("is not a directory"));
    assert!(check("made/deep", "DirectoryOrCreate").unwrap().is_dir());
    assert!(check("file", "FileOrCreate").unwrap().is_file());
    assert!(check("file", "Directory").is_err());
    assert!(check("file", "Socket").is_err());
    assert!(check("none", "").is_ok(), "without a type nothing is checked");
}
