//! What the object of a priority level says. Pure.

use serde_json::Value;

use crate::fairness::demand::Shares;
use crate::fairness::queues::Treatment;

/// What a level's object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LevelSpec {
    pub(super) uid: String,
    pub(super) treatment: Treatment,
    pub(super) shares: Shares,
}

fn number(value: &Value, default: u32) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
}

impl LevelSpec {
    pub(super) fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        let is_exempt = spec["type"] == "Exempt";
        let part = &spec[if is_exempt { "exempt" } else { "limited" }];
        let shares = Shares {
            nominal: number(&part["nominalConcurrencyShares"], if is_exempt { 0 } else { 30 }),
            lendable_percent: number(&part["lendablePercent"], 0).min(100),
            borrowing_percent: part["borrowingLimitPercent"].as_u64().and_then(|percent| u32::try_from(percent).ok()),
            is_exempt,
        };
        let response = &part["limitResponse"];
        let size = |field: &str, default: u32| number(&response["queuing"][field], default).max(1) as usize;
        let treatment = if is_exempt {
            Treatment::Exempt
        } else if response["type"] == "Queue" {
            Treatment::Queue {
                queues: size("queues", 64),
                hand: size("handSize", 8),
                length_max: size("queueLengthLimit", 50),
            }
        } else {
            Treatment::Reject
        };
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        Self { uid, treatment, shares }
    }
}
