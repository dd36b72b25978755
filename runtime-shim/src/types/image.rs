use std::{collections::BTreeMap, fmt, path::PathBuf, time::SystemTime};

/// An image as a pod names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ImageSpec {
    /// A name with tag or digest, or an [`ImageRef`].
    pub image: String,
    /// Annotations for the runtime.
    pub annotations: BTreeMap<String, String>,
    /// What the user wrote, where `image` is a resolved reference.
    pub user_specified_image: String,
    /// The runtime handler the image is for; empty is the default one.
    pub runtime_handler: String,
}

impl ImageSpec {
    /// An image by name.
    #[must_use]
    pub fn new(image: impl Into<String>) -> Self {
        Self { image: image.into(), ..Self::default() }
    }
}

/// An image as the runtime resolved it: a digest where it has one. Make containers of this rather than of a tag,
/// so that a tag moved meanwhile changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ImageRef(pub String);

impl ImageRef {
    /// The reference's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How to introduce oneself to a registry.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthConfig {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// `user:password` in base64, in place of both.
    pub auth: String,
    /// The registry.
    pub server_address: String,
    /// Exchanged for an access token.
    pub identity_token: String,
    /// A bearer token as it is.
    pub registry_token: String,
}

impl fmt::Debug for AuthConfig {
    /// Never shows a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}

/// An image that the runtime holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// Its id (a digest).
    pub id: ImageRef,
    /// Names with tags.
    pub repo_tags: Vec<String>,
    /// Names with digests.
    pub repo_digests: Vec<String>,
    /// Its size, in bytes.
    pub size: u64,
    /// The user it runs as, by number.
    pub uid: Option<i64>,
    /// The user it runs as, by name; empty when by number or not said.
    pub username: String,
    /// Never to be garbage collected.
    pub pinned: bool,
}

impl Image {
    /// An image with an id and no names.
    #[must_use]
    pub fn new(id: ImageRef) -> Self {
        Self { id, ..Self::default() }
    }
}

/// What a file system that holds images or containers uses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilesystemUsage {
    /// When this was measured.
    pub timestamp: SystemTime,
    /// The directory that the figures are about.
    pub mountpoint: PathBuf,
    /// Bytes used.
    pub used_bytes: u64,
    /// Inodes used.
    pub inodes_used: u64,
}

impl FilesystemUsage {
    /// A measurement.
    #[must_use]
    pub fn new(timestamp: SystemTime, mountpoint: impl Into<PathBuf>, used_bytes: u64, inodes_used: u64) -> Self {
        Self { timestamp, mountpoint: mountpoint.into(), used_bytes, inodes_used }
    }
}
