//! The core as a cluster to carry workloads out on.

use std::time::Duration;

use super::timers::{Ticking, Timer};
use super::{Collecting, CoreCluster, PATIENCE, Tracked, Waiting};
use crate::lab::perf::{Churning, Cluster, Deleting, Object, Updating, Which};
use crate::object::Name;

impl Cluster for CoreCluster<'_> {
    fn create(&mut self, objects: Vec<Object>) -> Result<(), String> {
        let begun = (self.clock)();
        for mut object in objects {
            self.name(&mut object);
            self.create_one(&object)?;
        }
        let taken = (self.clock)().saturating_sub(begun);
        if let Some(collecting) = &mut self.collecting {
            collecting.start += taken;
        }
        Ok(())
    }

    /// The core takes objects as they come, whatever subresource they would have to go through.
    fn update(&mut self, updating: Updating) -> Result<(), String> {
        let Updating { mut objects, per_second, .. } = updating;
        if per_second == 0 {
            return objects.iter().try_for_each(|object| self.create_one(object));
        }
        objects.reverse();
        let (interval, rounds) = (interval(per_second), objects.len());
        let next = self.elapsed() + interval;
        let end = next + interval * u32::try_from(rounds).unwrap_or(u32::MAX);
        self.timers.push(Timer { next, interval, what: Ticking::Update { objects } });
        let is_update = |timer: &Timer| matches!(timer.what, Ticking::Update { .. });
        self.until("updates", |cluster| !cluster.timers.iter().any(is_update) || cluster.elapsed() > end + PATIENCE)
    }

    fn delete_pods(&mut self, deleting: Deleting) -> Result<(), String> {
        let found = self.pods.iter().rev().filter(|(_, pod)| deleting.which.has(pod));
        let uids: Vec<Name> = found.map(|(uid, _)| uid.clone()).collect();
        if deleting.per_second == 0 {
            uids.iter().for_each(|uid| self.delete(uid));
            return Ok(());
        }
        let interval = interval(deleting.per_second);
        let next = self.elapsed() + interval;
        self.timers.push(Timer { next, interval, what: Ticking::Delete { uids } });
        if deleting.in_background {
            return Ok(());
        }
        let is_delete = |timer: &Timer| matches!(timer.what, Ticking::Delete { .. });
        self.until("deletions", |cluster| !cluster.timers.iter().any(is_delete))
    }

    fn churn(&mut self, churning: Churning) -> Result<(), String> {
        let (interval, places) = (churning.interval, churning.number.max(1));
        let alive = churning.objects.iter().map(|_| vec![None; if churning.recreate { places } else { 1 }]).collect();
        let what = Ticking::Churn { churning, rounds: 0, alive };
        self.timers.push(Timer { next: self.elapsed() + interval, interval, what });
        Ok(())
    }

    fn wait(&mut self, which: &Which, count: usize, attempted: bool) -> Result<(), String> {
        let is_done = |pod: &&Tracked| which.has(pod) && (pod.scheduled || (attempted && pod.attempted));
        let done = self.pods.values().filter(is_done).count();
        self.waiting = Some(Waiting { which: which.clone(), attempted, done });
        let what = format!("{count} pods of namespace {} to be scheduled", which.namespace);
        let result = self.until(&what, |cluster| cluster.waiting.as_ref().is_none_or(|waiting| waiting.done >= count));
        let done = self.waiting.take().map_or(0, |waiting| waiting.done);
        result.map_err(|problem| format!("{problem}; {done} were"))
    }

    fn sleep(&mut self, duration: Duration) -> Result<(), String> {
        let end = self.elapsed() + duration;
        self.timers.push(Timer { next: end, interval: duration, what: Ticking::Delete { uids: Vec::new() } });
        self.until("sleep", |cluster| cluster.elapsed() >= end)
    }

    fn elapsed(&self) -> Duration {
        (self.clock)() + self.skipped
    }

    fn allocate_claims(&mut self, _: &str) -> Result<(), String> {
        Err("the core alone knows no ResourceClaim; use the API".to_owned())
    }

    fn start_collecting(&mut self, which: Vec<Which>) {
        self.collecting = Some(Collecting { which, start: (self.clock)(), scheduled: Vec::new() });
    }

    fn stop_collecting(&mut self) -> Vec<Duration> {
        self.collecting.take().map(|collecting| collecting.scheduled).unwrap_or_default()
    }
}

fn interval(per_second: usize) -> Duration {
    Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX).max(1)
}
