//! The table follows the objects.

use std::sync::{Arc, PoisonError};

use serde_json::Value;

use super::Levels;
use super::spec::LevelSpec;
use crate::fairness::schema::Schema;
use crate::objects::Observer;

/// Keeps the table as the flow schemas say.
pub(in crate::fairness) struct SchemaObserver(pub(in crate::fairness) Arc<Levels>);
/// Keeps the table as the priority levels say.
pub(in crate::fairness) struct LevelObserver(pub(in crate::fairness) Arc<Levels>);

impl Observer for SchemaObserver {
    fn changed(&self, _: &str, name: &str, object: Option<&Value>) {
        let mut objects = self.0.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match object {
            Some(object) => objects.schemas.insert(name.to_owned(), Arc::new(Schema::read(object))),
            None => objects.schemas.remove(name),
        };
        if before.as_ref() != objects.schemas.get(name) {
            self.0.rebuild(&objects);
        }
        self.0.changed.notify_one();
    }
}

impl Observer for LevelObserver {
    fn changed(&self, _: &str, name: &str, object: Option<&Value>) {
        let mut objects = self.0.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match object {
            Some(object) => objects.levels.insert(name.to_owned(), LevelSpec::read(object)),
            None => objects.levels.remove(name),
        };
        if before.as_ref() != objects.levels.get(name) {
            self.0.rebuild(&objects);
        }
        self.0.changed.notify_one();
    }
}
