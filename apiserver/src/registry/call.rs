//! A write on its way through the registry, and what came of it.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use kubewright_api::status::Status;
use kubewright_store::Entry;
use serde_json::Value;

use super::Registry;
use super::storage::{Served, Storage};
use super::strategy::{Strategy, StrategyContext};
use crate::admission::{self, Admission, AdmissionAttributes, Operation};
use crate::authz::Attributes;
use crate::custom::{self, ConversionWebhook, Converter};
use crate::object::codec;
use crate::object::decode::{self, Expected, FieldValidation};
use crate::object::typed::Schema;
use crate::request::{User, Warnings};

/// Everything about a write but the object.
pub(crate) struct Call<'a> {
    pub(crate) served: &'a Served,
    pub(crate) user: &'a User,
    /// As authorizers know it: `update` or `patch` of what is there.
    pub(crate) verb: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) namespace: &'a str,
    /// Empty while a name is yet to be generated.
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
    /// Kind of the object in the request.
    pub(crate) kind: &'a str,
    pub(crate) admission: &'a [Arc<dyn Admission>],
    /// The request's options as JSON.
    pub(crate) options: &'a Value,
    pub(crate) dry_run: bool,
    pub(crate) warnings: &'a Warnings,
    /// Who is noted in `managedFields`.
    pub(crate) manager: &'a str,
    /// Asks the webhooks of definitions; without it objects stay in the version in which they are stored.
    pub(crate) converter: Option<&'a Converter>,
}

impl<'a> Call<'a> {
    pub(crate) const fn storage(&self) -> &'a Arc<Storage> {
        &self.served.storage
    }

    /// What converts between the version in which the write happens and the stored one, if anything does.
    fn conversion(&self) -> Option<(&'a Converter, &'a ConversionWebhook)> {
        self.converter.zip(self.served.webhook.as_deref())
    }

    /// The version in which the write happens: the stored one, or the request's where a webhook converts.
    pub(crate) fn api_version(&self) -> &'a str {
        if self.conversion().is_some() { &self.served.api_version } else { &self.storage().api_version }
    }

    /// The schema of that version.
    pub(crate) fn schema(&self) -> &'a Schema {
        if self.conversion().is_some() { &self.served.schema } else { &self.storage().schema }
    }

    /// A stored object in the version in which the write happens, with its defaults.
    pub(crate) async fn for_write(&self, object: Value) -> Result<Value, Status> {
        let Some(conversion) = self.conversion() else { return Ok(Registry::defaulted(self.storage(), object)) };
        let converted = convert(conversion, object, &self.served.api_version).await?;
        Ok(self.served.to_served(converted))
    }

    /// An object of the version in which the write happens as it is stored.
    pub(super) async fn for_store(&self, object: Value) -> Result<Value, Status> {
        let Some(conversion) = self.conversion() else { return Ok(object) };
        let storage = self.storage();
        let mut converted = convert(conversion, object, &storage.api_version).await?;
        if let Some(schema) = storage.schema.custom() {
            custom::renew(&mut converted, schema);
        }
        Ok(converted)
    }

    pub(crate) fn context(&self) -> StrategyContext<'a> {
        let mut context = StrategyContext::new(self.now, self.user, self.namespace);
        context.version = &self.served.info.version;
        context
    }

    /// The strategy of the subresource, or of the resource.
    pub(crate) fn strategy(&self) -> Result<&'a dyn Strategy, Status> {
        match self.subresource {
            "" => Ok(self.served.strategy()),
            name => self.served.strategy().subresource(name).ok_or_else(Status::no_such_path),
        }
    }

    /// What the request asked authorizers for.
    pub(super) fn request(&self) -> Attributes {
        Attributes {
            user: self.user.clone(),
            verb: self.verb.to_owned(),
            group: self.served.info.group.to_string(),
            version: self.served.info.version.to_string(),
            namespace: self.namespace.to_owned(),
            resource: self.served.info.plural.to_string(),
            subresource: self.subresource.to_owned(),
            name: self.name.to_owned(),
            is_resource_request: true,
            ..Attributes::default()
        }
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(&self.served.info.group, &self.served.info.plural, self.name)
    }

    pub(crate) fn already_exists(&self, name: &str) -> Status {
        Status::already_exists(&self.served.info.group, &self.served.info.plural, name)
    }

    pub(crate) fn conflict(&self, name: &str, why: &str) -> Status {
        Status::conflict(&self.served.info.group, &self.served.info.plural, name, why)
    }

    /// Lets the mutating admission plugins change the object. They see the request's version.
    pub(crate) async fn admit(
        &self,
        operation: Operation,
        object: Value,
        old: Option<&Value>,
    ) -> Result<Value, Status> {
        if self.admission.is_empty() {
            return Ok(object);
        }
        let complete = |object: &mut Value| self.complete(object);
        let mut attributes = self.attributes(operation, object, old);
        attributes.completion = Some(&complete);
        admission::admit(self.admission, &mut attributes).await?;
        Ok(attributes.object)
    }

    /// Asks the validating admission plugins.
    pub(crate) async fn validate(
        &self,
        operation: Operation,
        object: Value,
        old: Option<&Value>,
    ) -> Result<Value, Status> {
        if self.admission.is_empty() {
            return Ok(object);
        }
        let attributes = self.attributes(operation, object, old);
        admission::validate(self.admission, &attributes).await?;
        Ok(attributes.object)
    }

    fn attributes<'b>(
        &'b self,
        operation: Operation,
        object: Value,
        old: Option<&'b Value>,
    ) -> AdmissionAttributes<'b> {
        AdmissionAttributes {
            operation,
            group: &self.served.info.group,
            version: &self.served.info.version,
            resource: &self.served.info.plural,
            subresource: self.subresource,
            kind: self.kind,
            namespace: self.namespace,
            name: self.name,
            object,
            old,
            options: self.options,
            dry_run: self.dry_run,
            user: self.user,
            now: self.now,
            warnings: self.warnings,
            completion: None,
            reinvocation: admission::Reinvocation::default(),
        }
    }

    /// Holds an object that was changed on its way against its type, and fills in its defaults.
    fn complete(&self, object: &mut Value) -> Result<(), Status> {
        let info = &self.served.info;
        let version = info.api_version();
        let expected = match self.subresource {
            "" | "status" => Expected::of(&version, self.kind, &self.served.schema),
            _ => Expected::new(&version, self.kind),
        };
        let shaped = decode::shape(object, &[], &expected, FieldValidation::Ignore, self.warnings);
        shaped.map_err(|unfit| unfit.refused(&expected))?;
        if self.subresource.is_empty() {
            self.served.strategy().default(object);
        }
        Ok(())
    }
}

async fn convert(
    (converter, webhook): (&Converter, &ConversionWebhook),
    object: Value,
    api_version: &str,
) -> Result<Value, Status> {
    let converted = converter.convert(webhook, vec![object], api_version).await?;
    converted.into_iter().next().ok_or_else(|| Status::internal("a conversion gave no object"))
}

/// An object as the store has it, or would have it after a dry run.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// In its stored version, with its resource version.
    pub(crate) object: Value,
    /// The same as JSON.
    pub(crate) bytes: Bytes,
}

impl Written {
    pub(crate) fn of_entry(storage: &Storage, entry: &Entry) -> Result<Self, Status> {
        let revision = entry.mod_revision.get();
        Ok(Self { object: storage.decode(entry)?, bytes: storage.splice(&entry.value, revision)? })
    }

    pub(crate) fn stored(storage: &Storage, mut object: Value, stored: &[u8], revision: u64) -> Self {
        crate::object::metadata_mut(&mut object).insert("resourceVersion".into(), revision.to_string().into());
        Self { object, bytes: codec::splice(stored, storage.offset_in(stored), revision) }
    }

    /// What a dry run answers: the object without a new resource version.
    pub(crate) fn imagined(object: Value) -> Self {
        let bytes = serde_json::to_vec(&object).unwrap_or_default().into();
        Self { object, bytes }
    }
}
