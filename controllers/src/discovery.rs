//! What the API server serves: every resource, its kind and verbs.

use serde::Deserialize;

use crate::Error;
use crate::api::Api;
use crate::objects::null_default;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
const JSON: &str = "application/json";

/// A resource that the server serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Served {
    /// API group; empty for the core group.
    pub(crate) group: String,
    /// API version.
    pub(crate) version: String,
    /// Name in paths.
    pub(crate) plural: String,
    /// Kind.
    pub(crate) kind: String,
    /// Whether its objects live in namespaces.
    pub(crate) namespaced: bool,
    /// What can be done with it.
    pub(crate) verbs: Vec<String>,
    /// Whether this is the version of the group that the server prefers.
    pub(crate) preferred: bool,
}

impl Served {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|held| held == verb)
    }

    /// The path of its objects, in that namespace or (if empty) in all.
    pub(crate) fn path(&self, namespace: &str) -> String {
        crate::objects::collection_path(&self.group, &self.version, &self.plural, namespace)
    }
}

/// What the server serves, and the groups that it could not tell about.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    pub(crate) resources: Vec<Served>,
    pub(crate) failed: Vec<String>,
}

/// Asks the server what it serves, in two requests if it can answer so, else in one for each group and version.
pub(crate) async fn discover(api: &Api) -> Result<Discovery, Error> {
    let mut discovery = Discovery::default();
    for root in ["/api", "/apis"] {
        let answer: Answer = api.get(root, AGGREGATED).await?;
        if answer.kind == "APIGroupDiscoveryList" {
            answer.items.into_iter().for_each(|group| discovery.add(group));
        } else {
            discovery.ask_each(api, answer).await;
        }
    }
    // A kind that the preferred version lacks is reached by the first version that has it.
    discovery.resources.sort_by(|a, b| (&a.group, &a.plural, !a.preferred).cmp(&(&b.group, &b.plural, !b.preferred)));
    Ok(discovery)
}

impl Discovery {
    /// Each resource once: at the preferred version, or else at the first that has it.
    pub(crate) fn once(&self) -> Vec<Served> {
        let mut all = self.resources.clone();
        all.dedup_by(|b, a| a.group == b.group && a.plural == b.plural);
        all
    }

    fn add(&mut self, group: Group) {
        let name = group.metadata.name;
        for (at, version) in group.versions.into_iter().enumerate() {
            if version.freshness == "Stale" {
                self.failed.push(format!("{name}/{}", version.version));
                continue;
            }
            for resource in version.resources {
                self.resources.push(Served {
                    group: name.clone(),
                    version: version.version.clone(),
                    plural: resource.resource,
                    kind: resource.response_kind.kind,
                    namespaced: resource.scope == "Namespaced",
                    verbs: resource.verbs,
                    preferred: at == 0,
                });
            }
        }
    }

    async fn ask_each(&mut self, api: &Api, answer: Answer) {
        let core = answer.versions.iter().enumerate().map(|(at, version)| (String::new(), version.clone(), at == 0));
        let named = answer.groups.iter().flat_map(|group| {
            let preferred = |version: &LegacyVersion| version.version == group.preferred_version.version;
            group.versions.iter().map(move |version| (group.name.clone(), version.version.clone(), preferred(version)))
        });
        for (group, version, preferred) in core.chain(named).collect::<Vec<_>>() {
            let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
            match api.get::<LegacyResources>(&path, JSON).await {
                Ok(list) => {
                    let whole = list.resources.into_iter().filter(|resource| !resource.name.contains('/'));
                    self.resources.extend(whole.map(|resource| Served {
                        group: group.clone(),
                        version: version.clone(),
                        plural: resource.name,
                        kind: resource.kind,
                        namespaced: resource.namespaced,
                        verbs: resource.verbs,
                        preferred,
                    }));
                }
                Err(error) => {
                    tracing::debug!(path, %error, "cannot discover");
                    self.failed.push(if group.is_empty() { version } else { format!("{group}/{version}") });
                }
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Answer {
    kind: String,
    #[serde(deserialize_with = "null_default")]
    items: Vec<Group>,
    #[serde(deserialize_with = "null_default")]
    versions: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    groups: Vec<LegacyGroup>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Group {
    metadata: Name,
    #[serde(deserialize_with = "null_default")]
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Name {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Version {
    version: String,
    freshness: String,
    #[serde(deserialize_with = "null_default")]
    resources: Vec<Resource>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Resource {
    resource: String,
    response_kind: ResponseKind,
    scope: String,
    #[serde(deserialize_with = "null_default")]
    verbs: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseKind {
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LegacyGroup {
    name: String,
    versions: Vec<LegacyVersion>,
    preferred_version: LegacyVersion,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LegacyVersion {
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LegacyResources {
    #[serde(deserialize_with = "null_default")]
    resources: Vec<LegacyResource>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LegacyResource {
    name: String,
    kind: String,
    namespaced: bool,
    #[serde(deserialize_with = "null_default")]
    verbs: Vec<String>,
}
