//! What goes wrong, who mends it, and members that come and go meanwhile.

use super::cluster::{Cluster, Node};
use crate::raft::replica::{Answer, Proposal};
use crate::{Error, Member, MemberChange, Replication};

/// Steps after which the operator asks again.
const PATIENCE: u64 = 200;

/// Who changes the members.
#[derive(Default)]
pub(super) struct Operator {
    /// Where and under which number a change was asked for, and when.
    waiting: Option<(usize, u64, u64)>,
}

impl Operator {
    /// Whether this was the operator's proposal.
    pub(super) fn done(&mut self, n: usize, number: u64, _: &Result<Answer, Error>) -> bool {
        self.waiting.take_if(|waiting| (waiting.0, waiting.1) == (n, number)).is_some()
    }

    const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }
}

impl Cluster {
    pub(super) fn faults(&mut self) -> Result<(), String> {
        let n = self.random.below(self.nodes.len() as u64) as usize;
        if self.random.one_in(60) && self.nodes[n].replica.is_some() {
            self.crash(n);
            if self.random.one_in(3) {
                self.rot(n);
            } else if self.random.one_in(6) {
                self.lose(n);
            }
        }
        if self.random.one_in(20) && self.nodes[n].replica.is_none() && !self.nodes[n].gone {
            self.start(n)?;
        }
        if self.random.one_in(80) {
            let steps = self.random.below(60);
            self.pause(n, steps);
        }
        if self.random.one_in(100) {
            // By up to five seconds: forth, or back so far that whoever was paused sees it too.
            let by = self.random.below(4_000_000) as i64 + 1_000_000;
            self.nodes[n].clock_ahead += if self.random.one_in(2) { by } else { -by };
        }
        if self.random.one_in(150) {
            let room = self.nodes[n].disk.used() + self.random.below(8 << 10);
            self.nodes[n].disk.set_capacity(Some(room));
        }
        if self.random.one_in(150) && self.nodes[n].replica.is_some() {
            let sync = self.random.below(8) + 1;
            self.nodes[n].disk.cut_power(Some(sync));
        }
        if self.random.one_in(60) {
            self.part();
        }
        if self.random.one_in(50) {
            self.cut.clear();
        }
        Ok(())
    }

    /// Parts the replicas in two, both ways or one way only.
    fn part(&mut self) {
        let one_way = self.random.one_in(3);
        let sides: Vec<(u64, u64)> =
            self.nodes.iter().map(|node| node.id).map(|id| (id, self.random.below(2))).collect();
        for (from, from_side) in &sides {
            for (to, to_side) in &sides {
                if from_side < to_side || (from_side > to_side && !one_way) {
                    self.cut.insert((*from, *to));
                }
            }
        }
    }

    /// Flips a bit in a segment of the log that is not the newest, if the members can spare this one.
    fn rot(&mut self, n: usize) {
        if !self.can_spare(n) {
            return;
        }
        let segments: Vec<String> =
            self.nodes[n].disk.names().into_iter().filter(|name| name.starts_with("log-")).collect();
        let Some((_, old)) = segments.split_last().filter(|(_, old)| !old.is_empty()) else { return };
        let name = &old[self.random.below(old.len() as u64) as usize];
        let place = self.random.below(1 << 20) as usize;
        self.nodes[n].disk.tamper(name, |bytes| {
            let place = place % bytes.len();
            bytes[place] ^= 1;
        });
        self.nodes[n].rotten = true;
    }

    /// Somebody starts a founder on an empty disk, if the members can spare what was on it.
    fn lose(&mut self, n: usize) {
        let node = &self.nodes[n];
        // One that founded alone knows nobody to ask.
        let is_founder = self.options.replicas > 1 && node.id <= self.options.replicas;
        // Who has nothing yet does not know what there is to lose.
        let has_something = |(m, node): (usize, &Node)| {
            m == n || node.is_lost() || node.replica.as_ref().is_some_and(|replica| replica.applied() > 1)
        };
        let others_know = self.nodes.iter().enumerate().all(has_something);
        if is_founder && others_know && !node.is_lost() && self.can_spare(n) {
            self.nodes[n].disk = self.nodes[n].disk.emptied();
            self.report.lost += 1;
        }
    }

    /// Whether a majority of the members is left without this one, whoever of the others is asked who they are, and
    /// nobody is about to change that: nothing brings back what a majority lost.
    fn can_spare(&self, n: usize) -> bool {
        let lost = |id: &u64| *id == self.nodes[n].id || self.nodes.iter().any(|node| node.id == *id && node.is_lost());
        // One that has just joined knows of nobody.
        let is_enough = |voters: &[u64]| {
            !voters.is_empty() && voters.iter().filter(|id| !lost(id)).count() >= Replication::quorum_of(voters.len())
        };
        let mut others = self.nodes.iter().enumerate().filter(|(m, node)| *m != n && !node.is_lost()).peekable();
        let knows = |(_, node): (usize, &Node)| {
            node.replica.as_ref().is_some_and(|replica| {
                let conf = replica.conf_state();
                let is_settled = conf.voters_outgoing.is_empty() && !replica.is_to_change();
                // One that does not vote yet is as good as lost.
                is_enough(&conf.voters) && is_settled && !replica.is_newborn()
            })
        };
        others.peek().is_some() && !self.operator.is_waiting() && !self.has_change_on_its_way() && others.all(knows)
    }

    pub(super) fn heal(&mut self) -> Result<(), String> {
        self.faulty = false;
        self.cut.clear();
        for n in 0..self.nodes.len() {
            self.nodes[n].paused_until = 0;
            self.nodes[n].disk.set_capacity(None);
            if !self.nodes[n].disk.is_dark() {
                self.nodes[n].disk.cut_power(None);
            }
            if self.nodes[n].replica.is_none() && !self.nodes[n].gone {
                self.start(n)?;
            }
        }
        Ok(())
    }

    /// Somebody starts machines for members that have none, and changes members now and then.
    pub(super) fn operate(&mut self) -> Result<(), String> {
        if let Some(leader) = self.leader() {
            let missing = leader.roster().members().map(|member| member.id);
            let missing: Vec<u64> = missing.filter(|id| !self.nodes.iter().any(|node| node.id == *id)).collect();
            for id in missing {
                self.add_node(id)?;
            }
            self.stop_strangers();
        }
        if !self.faulty {
            // After it failed for good.
            for n in 0..self.nodes.len() {
                if self.nodes[n].replica.is_none() && !self.nodes[n].gone {
                    self.start(n)?;
                }
            }
        }
        let now = self.now;
        self.operator.waiting.take_if(|(_, _, since)| *since + PATIENCE < now);
        if self.operator.waiting.is_some() || !self.random.one_in(if self.faulty { 120 } else { 20 }) {
            return Ok(());
        }
        let Some(changes) = self.wanted() else { return Ok(()) };
        let n = self.random.below(self.nodes.len() as u64) as usize;
        let Some(replica) = self.nodes[n].replica.as_mut() else { return Ok(()) };
        if let Ok(number) = replica.propose(&Proposal::Members(changes)) {
            self.operator.waiting = Some((n, number, now));
        }
        Ok(())
    }

    /// One that was removed before it heard of anybody has nobody to ask, so whoever started it ends it.
    fn stop_strangers(&mut self) {
        let Some(roster) = self.leader().map(|leader| leader.roster().clone()) else { return };
        for n in 0..self.nodes.len() {
            let node = &self.nodes[n];
            let knows_nobody = node.replica.as_ref().is_some_and(|replica| replica.applied() == 0);
            if knows_nobody && roster.was_removed(node.id) {
                self.crash(n);
                self.nodes[n].gone = true;
            }
        }
    }

    fn wanted(&mut self) -> Option<Vec<MemberChange>> {
        let size = self.options.replicas as usize;
        let roster = self.leader()?.roster().clone();
        let members: Vec<Member> = roster.members().cloned().collect();
        let voters: Vec<u64> = members.iter().filter(|member| !member.is_learner).map(|member| member.id).collect();
        // One that is lost first, then whatever comes to mind.
        let lost = members.iter().find(|member| self.nodes.iter().any(|node| node.id == member.id && node.gone));
        if let Some(lost) = lost {
            return Some(vec![MemberChange::Remove(lost.id)]);
        }
        // One whose disk is damaged will be.
        if !self.faulty || self.nodes.iter().any(|node| node.rotten) {
            return None;
        }
        if let Some(learner) = members.iter().find(|member| member.is_learner) {
            return Some(vec![MemberChange::Promote(learner.id)]);
        }
        if voters.len() > size {
            let victim = voters[self.random.below(voters.len() as u64) as usize];
            return Some(vec![MemberChange::Remove(victim)]);
        }
        // At least a majority should know one another before somebody joins.
        let learner = MemberChange::Add(Member::default().learner());
        (self.random.one_in(2) && self.nodes.len() < 12).then(|| vec![learner])
    }
}
