//! Volumes and the claims to them, with decisions that the API server doesn't know yet counted in.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::object::{
    Attachment, Claim, ClaimReference, CsiDriver, CsiNode, Name, StorageCapacity, StorageClass, Volume,
};

/// Claims, volumes, and all that tells which volumes a pod can have where.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    claims: BTreeMap<(Name, Name), Arc<Claim>>,
    volumes: BTreeMap<Name, Arc<Volume>>,
    by_class: BTreeMap<(Name, Name), Arc<Volume>>,
    classes: BTreeMap<Name, Arc<StorageClass>>,
    csi_nodes: BTreeMap<Name, Arc<CsiNode>>,
    csi_drivers: BTreeMap<Name, CsiDriver>,
    capacities: BTreeMap<(Name, Name), StorageCapacity>,
    attachments: BTreeMap<(Name, Name), Attachment>,
    attached_to: BTreeMap<Name, Name>,
    selected: BTreeMap<(Name, Name), (Name, Name)>,
    kept: BTreeMap<Name, ClaimReference>,
}

impl Storage {
    /// Puts a claim in, in place of an earlier version. Tells what it was before.
    pub fn put_claim(&mut self, claim: Claim) -> (Option<Arc<Claim>>, Arc<Claim>) {
        let key = (claim.namespace.clone(), claim.name.clone());
        if self.selected.get(&key).is_some_and(|(_, version)| *version != claim.resource_version) {
            self.selected.remove(&key);
        }
        let claim = Arc::new(claim);
        (self.claims.insert(key, claim.clone()), claim)
    }

    /// Takes a claim out.
    pub fn remove_claim(&mut self, namespace: &Name, name: &Name) -> Option<Arc<Claim>> {
        let key = (namespace.clone(), name.clone());
        self.selected.remove(&key);
        self.claims.remove(&key)
    }

    /// A claim by name.
    #[must_use]
    pub fn claim(&self, namespace: &Name, name: &Name) -> Option<&Arc<Claim>> {
        self.claims.get(&(namespace.clone(), name.clone()))
    }

    /// The node for which a claim's volume is to be provisioned, if that was decided.
    #[must_use]
    pub fn selected_node<'a>(&'a self, claim: &'a Claim) -> Option<&'a Name> {
        let ours = self.selected.get(&(claim.namespace.clone(), claim.name.clone())).map(|(node, _)| node);
        ours.or_else(|| (!claim.selected_node.is_empty()).then_some(&claim.selected_node))
    }

    /// Believes that a claim's volume is to be provisioned for that node.
    pub fn select_node(&mut self, claim: &Claim, node: &Name) {
        let key = (claim.namespace.clone(), claim.name.clone());
        self.selected.insert(key, (node.clone(), claim.resource_version.clone()));
    }

    /// Stops believing that.
    pub fn unselect_node(&mut self, claim: &Claim) {
        self.selected.remove(&(claim.namespace.clone(), claim.name.clone()));
    }

    /// Puts a volume in, in place of an earlier version. Tells what it was before.
    pub fn put_volume(&mut self, volume: Volume) -> (Option<Arc<Volume>>, Arc<Volume>) {
        let volume = Arc::new(volume);
        if volume.claim.is_some() {
            self.kept.remove(&volume.name);
        }
        let old = self.volumes.insert(volume.name.clone(), volume.clone());
        if let Some(old) = &old {
            self.by_class.remove(&(old.class.clone(), old.name.clone()));
        }
        self.by_class.insert((volume.class.clone(), volume.name.clone()), volume.clone());
        (old, volume)
    }

    /// Takes a volume out.
    pub fn remove_volume(&mut self, name: &Name) -> Option<Arc<Volume>> {
        self.kept.remove(name);
        let old = self.volumes.remove(name)?;
        self.by_class.remove(&(old.class.clone(), old.name.clone()));
        Some(old)
    }

    /// A volume by name.
    #[must_use]
    pub fn volume(&self, name: &Name) -> Option<&Arc<Volume>> {
        self.volumes.get(name)
    }

    /// The volumes of a class.
    pub fn volumes_of<'a>(&'a self, class: &'a Name) -> impl Iterator<Item = &'a Arc<Volume>> + 'a {
        let from = (class.clone(), Name::default());
        self.by_class.range(from..).take_while(move |((own, _), _)| own == class).map(|(_, volume)| volume)
    }

    /// Believes that a volume is kept for a claim.
    pub fn keep_for(&mut self, volume: &Name, claim: &Claim) {
        let Claim { namespace, name, uid, .. } = claim.clone();
        self.kept.insert(volume.clone(), ClaimReference { namespace, name, uid });
    }

    /// Stops believing that.
    pub fn release(&mut self, volume: &Name) {
        self.kept.remove(volume);
    }

    /// Whether a volume is believed to be kept for another claim.
    #[must_use]
    pub fn is_kept_from(&self, volume: &Name, claim: &Claim) -> bool {
        self.kept.get(volume).is_some_and(|own| own.uid != claim.uid)
    }

    /// Whether a volume is believed to be kept for that claim.
    #[must_use]
    pub fn is_kept_for(&self, volume: &Name, claim: &Claim) -> bool {
        self.kept.get(volume).is_some_and(|own| own.uid == claim.uid)
    }

    /// Puts a class in. Tells what it was before.
    pub fn put_class(&mut self, class: StorageClass) -> (Option<Arc<StorageClass>>, Arc<StorageClass>) {
        let class = Arc::new(class);
        (self.classes.insert(class.name.clone(), class.clone()), class)
    }

    /// Takes a class out.
    pub fn remove_class(&mut self, name: &Name) {
        self.classes.remove(name);
    }

    /// A class by name.
    #[must_use]
    pub fn class(&self, name: &Name) -> Option<&Arc<StorageClass>> {
        self.classes.get(name)
    }

    /// Puts a node's drivers in. Tells what they were before.
    pub fn put_csi_node(&mut self, node: CsiNode) -> (Option<Arc<CsiNode>>, Arc<CsiNode>) {
        let node = Arc::new(node);
        (self.csi_nodes.insert(node.name.clone(), node.clone()), node)
    }

    /// Takes a node's drivers out.
    pub fn remove_csi_node(&mut self, name: &Name) {
        self.csi_nodes.remove(name);
    }

    /// A node's drivers.
    #[must_use]
    pub fn csi_node(&self, name: &Name) -> Option<&CsiNode> {
        self.csi_nodes.get(name).map(|node| &**node)
    }

    /// Puts a driver in. Tells what it was before.
    pub fn put_csi_driver(&mut self, driver: CsiDriver) -> Option<CsiDriver> {
        self.csi_drivers.insert(driver.name.clone(), driver)
    }

    /// Takes a driver out.
    pub fn remove_csi_driver(&mut self, name: &Name) {
        self.csi_drivers.remove(name);
    }

    /// A driver by name.
    #[must_use]
    pub fn csi_driver(&self, name: &Name) -> Option<&CsiDriver> {
        self.csi_drivers.get(name)
    }

    /// Puts in how much room there is somewhere. Tells what it was before.
    pub fn put_capacity(&mut self, capacity: StorageCapacity) -> Option<StorageCapacity> {
        self.capacities.insert((capacity.namespace.clone(), capacity.name.clone()), capacity)
    }

    /// Takes that out.
    pub fn remove_capacity(&mut self, namespace: &Name, name: &Name) {
        self.capacities.remove(&(namespace.clone(), name.clone()));
    }

    /// How much room there is, everywhere.
    pub fn capacities(&self) -> impl Iterator<Item = &StorageCapacity> {
        self.capacities.values()
    }

    /// Puts an attachment in.
    pub fn put_attachment(&mut self, attachment: Attachment) {
        self.remove_attachment(&attachment.name);
        self.attached_to.insert(attachment.name.clone(), attachment.node.clone());
        self.attachments.insert((attachment.node.clone(), attachment.name.clone()), attachment);
    }

    /// Takes an attachment out.
    pub fn remove_attachment(&mut self, name: &Name) -> Option<Attachment> {
        let node = self.attached_to.remove(name)?;
        self.attachments.remove(&(node, name.clone()))
    }

    /// What is attached to a node.
    pub fn attachments_of<'a>(&'a self, node: &'a Name) -> impl Iterator<Item = &'a Attachment> + 'a {
        let from = (node.clone(), Name::default());
        self.attachments.range(from..).take_while(move |((own, _), _)| own == node).map(|(_, attachment)| attachment)
    }
}
