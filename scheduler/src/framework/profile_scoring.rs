//! How a profile scores nodes.

use super::event::Verdict;
use super::observer::{Ended, SUCCESS};
use super::{CycleState, Flow, NodeScore, PluginScore, Profile, SCORE_MAX, Status};
use crate::cache::{NodeInfo, Snapshot};
use crate::object::{Name, PodInfo};

impl Profile {
    /// Lets plugins look at all nodes before they are scored.
    pub(crate) fn run_pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[&NodeInfo],
        snapshot: &Snapshot,
    ) -> Verdict {
        self.watch.point("PreScore", &self.name, Ended::word, || self.pre_score_all(state, pod, nodes, snapshot))
    }

    fn pre_score_all(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[&NodeInfo],
        snapshot: &Snapshot,
    ) -> Verdict {
        state.skip_score = 0;
        for entry in &self.pre_score {
            entry.count();
            let closely = state.closely;
            let run = || entry.plugin.pre_score(state, pod, nodes, snapshot);
            match self.watch.plugin(closely, "PreScore", &entry.name, pre_score_word, run) {
                Ok(Flow::Continue) => {}
                Ok(Flow::Skip) => state.skip_score |= entry.bit(),
                Err(status) => {
                    return Err(Status::error(format!("running PreScore plugin {:?}: {status}", &*entry.name)));
                }
            }
        }
        Ok(())
    }

    /// Scores nodes: the sum of every plugin's normalized score times its weight. `each` hears of the parts.
    pub(crate) fn run_score(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        nodes: &[&NodeInfo],
        snapshot: &Snapshot,
        each: impl FnMut(usize, PluginScore),
    ) -> Result<Vec<i64>, Status> {
        self.watch.point("Score", &self.name, Ended::word, || self.score_all(state, pod, nodes, snapshot, each))
    }

    fn score_all(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        nodes: &[&NodeInfo],
        snapshot: &Snapshot,
        mut each: impl FnMut(usize, PluginScore),
    ) -> Result<Vec<i64>, Status> {
        let mut totals = vec![0; nodes.len()];
        let mut scores = Vec::with_capacity(nodes.len());
        let failed = |name: &Name, status: &Status| {
            Status::error(format!("running Score plugins: plugin {:?} failed with: {status}", &**name))
        };
        for entry in self.score.iter().filter(|entry| state.skip_score & entry.bit() == 0) {
            scores.clear();
            for node in nodes {
                entry.count();
                let run = || entry.plugin.score(state, pod, node, snapshot);
                let score = self.watch.plugin(state.closely, "Score", &entry.name, Ended::word, run);
                let score = score.map_err(|status| failed(&entry.name, &status))?;
                scores.push(NodeScore { node: node.slot, score });
            }
            let run = || entry.plugin.normalize(state, pod, &mut scores);
            let normalized = self.watch.plugin(state.closely, "ScoreExtensionNormalize", &entry.name, Ended::word, run);
            normalized.map_err(|status| failed(&entry.name, &status))?;
            for (at, NodeScore { score, .. }) in scores.iter().enumerate() {
                if !(0..=SCORE_MAX).contains(score) {
                    return Err(out_of_range(&entry.name, *score));
                }
                let score = score * entry.weight;
                totals[at] += score;
                each(at, PluginScore { plugin: entry.name.clone(), score });
            }
        }
        Ok(totals)
    }
}

fn pre_score_word(result: &Result<Flow, Status>) -> &'static str {
    match result {
        Ok(Flow::Continue) => SUCCESS,
        Ok(Flow::Skip) => "Skip",
        Err(status) => status.code().word(),
    }
}

pub(crate) fn out_of_range(plugin: &Name, score: i64) -> Status {
    Status::error(format!(
        "applying score defaultWeights on Score plugins: plugin {:?} returns an invalid score {score}, \
         it should in the range of [0, {SCORE_MAX}] after normalizing",
        &**plugin
    ))
}
