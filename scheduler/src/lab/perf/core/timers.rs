//! What happens at even intervals while a workload goes on.

use std::time::Duration;

use super::CoreCluster;
use crate::lab::perf::{Churning, Object};
use crate::object::Name;

/// Something that happens at even intervals.
pub(super) struct Timer {
    pub(super) next: Duration,
    pub(super) interval: Duration,
    pub(super) what: Ticking,
}

pub(super) enum Ticking {
    Churn { churning: Churning, rounds: usize, alive: Vec<Vec<Option<Object>>> },
    Delete { uids: Vec<Name> },
    Update { objects: Vec<Object> },
}

impl CoreCluster<'_> {
    pub(super) fn fire(&mut self, at: usize) -> Result<(), String> {
        let mut timer = self.timers.swap_remove(at);
        timer.next += timer.interval;
        let goes_on = match &mut timer.what {
            Ticking::Delete { uids } => {
                if let Some(uid) = uids.pop() {
                    self.delete(&uid);
                }
                !uids.is_empty()
            }
            Ticking::Update { objects } => {
                if let Some(object) = objects.pop() {
                    self.create_one(&object)?;
                }
                !objects.is_empty()
            }
            Ticking::Churn { churning, rounds, alive } => {
                let place = if churning.recreate { *rounds % churning.number } else { 0 };
                for (template, alive) in churning.objects.iter().zip(alive.iter_mut()) {
                    match alive[place].take() {
                        Some(object) => self.remove_object(&object),
                        None => {
                            let mut object = template.clone();
                            self.name(&mut object);
                            self.create_one(&object)?;
                            alive[place] = churning.recreate.then_some(object);
                        }
                    }
                }
                *rounds += 1;
                churning.recreate || churning.number == 0 || *rounds < churning.number
            }
        };
        if goes_on {
            self.timers.push(timer);
        }
        Ok(())
    }
}
