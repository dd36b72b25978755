//! Scores of nodes.

use super::SCORE_MAX;
use crate::cache::NodeSlot;
use crate::object::Name;

/// A node's score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeScore {
    /// The node.
    pub node: NodeSlot,
    /// The score; after normalizing, from 0 to [`SCORE_MAX`].
    pub score: i64,
}

/// What one plugin contributed to a node's score, times the plugin's weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginScore {
    /// The plugin.
    pub plugin: Name,
    /// Its contribution.
    pub score: i64,
}

/// Scales scores so that the largest becomes [`SCORE_MAX`]; reversed, the largest becomes 0.
pub fn normalize_to_max(scores: &mut [NodeScore], reverse: bool) {
    let max = scores.iter().map(|s| s.score).max().unwrap_or(0);
    for entry in scores {
        if max <= 0 {
            if reverse {
                entry.score = SCORE_MAX;
            }
            continue;
        }
        let scaled = SCORE_MAX * entry.score / max;
        entry.score = if reverse { SCORE_MAX - scaled } else { scaled };
    }
}
