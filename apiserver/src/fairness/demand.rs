//! How many seats a level would have used, and how seats that levels leave free are lent to others.

use std::time::Duration;

/// How slowly a level's past demand is forgotten: half of it in five minutes, at an adjustment every ten seconds.
const SMOOTHING: f64 = 0.977;

/// Seats that are taken or waited for, over time.
#[derive(Debug)]
pub(super) struct Demand {
    value: f64,
    since: Duration,
    start: Duration,
    sum: f64,
    sum_of_squares: f64,
    max: f64,
    smoothed: f64,
}

/// What was asked for since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Observed {
    pub(super) high: f64,
    pub(super) average: f64,
    pub(super) deviation: f64,
    pub(super) smoothed: f64,
}

impl Demand {
    pub(super) fn new(now: Duration) -> Self {
        Self { value: 0.0, since: now, start: now, sum: 0.0, sum_of_squares: 0.0, max: 0.0, smoothed: 0.0 }
    }

    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.since).as_secs_f64();
        self.since = self.since.max(now);
        self.sum += passed * self.value;
        self.sum_of_squares += passed * self.value * self.value;
    }

    #[allow(clippy::cast_precision_loss, reason = "seats are few")]
    pub(super) fn note(&mut self, seats: usize, now: Duration) {
        self.advance(now);
        self.value = seats as f64;
        self.max = self.max.max(self.value);
    }

    /// What was asked for since the last call.
    pub(super) fn take(&mut self, now: Duration) -> Observed {
        self.advance(now);
        let span = now.saturating_sub(self.start).as_secs_f64();
        let average = if span > 0.0 { self.sum / span } else { self.value };
        let variance = if span > 0.0 { self.sum_of_squares / span - average * average } else { 0.0 };
        let deviation = variance.max(0.0).sqrt();
        let envelope = average + deviation;
        self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
        let high = self.max;
        (self.start, self.sum, self.sum_of_squares, self.max) = (now, 0.0, 0.0, self.value);
        Observed { high, average, deviation, smoothed: self.smoothed }
    }
}

/// What a level may have of the server's seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Its share.
    pub(super) nominal: usize,
    /// What it keeps whatever others want.
    pub(super) min: usize,
    /// What it gets at most.
    pub(super) max: usize,
    pub(super) is_exempt: bool,
}

/// What a level's configuration says about shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) nominal: u32,
    pub(super) lendable_percent: u32,
    pub(super) borrowing_percent: Option<u32>,
    pub(super) is_exempt: bool,
}

/// The bounds of all levels of a server with so many seats.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded numbers of seats, none negative")]
#[allow(clippy::cast_precision_loss, reason = "seats are few")]
pub(super) fn bounds(levels: &[Shares], seats: usize) -> Vec<Bounds> {
    let total: u64 = levels.iter().map(|level| u64::from(level.nominal)).sum();
    let percent = |of: f64, percent: u32| (of * f64::from(percent) / 100.0).round() as usize;
    let bound = |level: &Shares| {
        let share = seats as f64 * f64::from(level.nominal) / total.max(1) as f64;
        let nominal = share.ceil() as usize;
        let min = nominal - percent(nominal as f64, level.lendable_percent).min(nominal);
        let max = level.borrowing_percent.map_or(seats, |limit| nominal + percent(nominal as f64, limit));
        Bounds { nominal, min, max: if level.is_exempt { seats } else { max.max(nominal) }, is_exempt: level.is_exempt }
    };
    levels.iter().map(bound).collect()
}

/// How many seats a level needs whatever others want.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded numbers of seats, none negative")]
fn needed((bounds, seen): &(Bounds, Observed)) -> usize {
    let high = seen.high.round() as usize;
    if bounds.is_exempt { bounds.min.max(high) } else { bounds.min.max(high.min(bounds.nominal)) }
}

/// How many seats a level would get if there were enough.
#[allow(clippy::cast_precision_loss, reason = "seats are few")]
pub(super) fn target(level: &(Bounds, Observed)) -> f64 {
    (needed(level) as f64).max(level.1.smoothed)
}

/// What became of the seats.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sharing {
    /// How many each level gets.
    pub(super) limits: Vec<usize>,
    /// How much of its target each level gets whose bounds allow it; 0 if there is too little for that.
    pub(super) fair_fraction: f64,
}

/// How many seats each level gets now, by its bounds and what was asked of it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded numbers of seats, none negative")]
#[allow(clippy::cast_precision_loss, reason = "seats are few")]
pub(super) fn share_out(levels: &[(Bounds, Observed)]) -> Sharing {
    let total: usize = levels.iter().map(|(bounds, _)| bounds.nominal).sum();
    let limited = || levels.iter().filter(|(bounds, _)| !bounds.is_exempt);
    let exempt: usize = levels.iter().filter(|(bounds, _)| bounds.is_exempt).map(needed).sum();
    let left = total.saturating_sub(exempt);
    let min_sum: usize = limited().map(|(bounds, _)| bounds.min).sum();
    let needed_sum: usize = limited().map(needed).sum();
    let each = |fair_fraction: f64, give: &dyn Fn(&(Bounds, Observed)) -> usize| {
        let limits = levels.iter().map(|level| if level.0.is_exempt { needed(level) } else { give(level) });
        Sharing { limits: limits.collect(), fair_fraction }
    };
    if left <= min_sum {
        return each(0.0, &|(bounds, _)| bounds.min);
    }
    if left <= needed_sum {
        let part = (left - min_sum) as f64 / (needed_sum - min_sum) as f64;
        return each(0.0, &|level| {
            let min = level.0.min;
            min + ((needed(level) - min) as f64 * part).round() as usize
        });
    }
    // The fair proportion: the same for all levels but for those whose bounds it would break.
    let given = |level: &(Bounds, Observed), proportion: f64| {
        let (least, most) = (needed(level) as f64, level.0.max as f64);
        (proportion * target(level).max(0.001)).clamp(least, most.max(least))
    };
    let (mut low, mut high) = (0.0, 1e9);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        let sum: f64 = limited().map(|level| given(level, middle)).sum();
        if sum > left as f64 { high = middle } else { low = middle }
    }
    each(low, &|level| given(level, low).round() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn demand_is_averaged_over_time() {
        let mut demand = Demand::new(secs(0));
        demand.note(10, secs(0));
        demand.note(0, secs(5));
        let seen = demand.take(secs(10));
        assert_eq!((seen.high, seen.average, seen.deviation, seen.smoothed), (10.0, 5.0, 5.0, 10.0));
        let calm = demand.take(secs(20));
        assert_eq!((calm.high, calm.average), (0.0, 0.0));
        assert!((calm.smoothed - 9.77).abs() < 1e-9, "{calm:?}");
    }

    /// Upstream's default levels on a server of 600 seats.
    #[test]
    fn shares_are_upstreams() {
        let limited = |nominal, lendable| Shares {
            nominal,
            lendable_percent: lendable,
            borrowing_percent: None,
            is_exempt: false,
        };
        let exempt = Shares { is_exempt: true, ..limited(0, 0) };
        let all = [
            exempt,
            limited(5, 0),
            limited(30, 33),
            limited(40, 25),
            limited(10, 0),
            limited(40, 50),
            limited(100, 90),
            limited(20, 50),
        ];
        let found: Vec<_> = bounds(&all, 600).iter().map(|bounds| (bounds.nominal, bounds.min, bounds.max)).collect();
        let wanted = [
            (0, 0, 600),
            (13, 13, 600),
            (74, 50, 600),
            (98, 73, 600),
            (25, 25, 600),
            (98, 49, 600),
            (245, 24, 600),
            (49, 24, 600),
        ];
        assert_eq!(found, wanted);
        let bounded = Shares { borrowing_percent: Some(50), ..limited(10, 0) };
        assert_eq!(bounds(&[bounded, limited(10, 0)], 100)[0].max, 75);
    }

    fn level(nominal: usize, min: usize, max: usize) -> Bounds {
        Bounds { nominal, min, max, is_exempt: false }
    }

    fn asked(seats: f64) -> Observed {
        Observed { high: seats, average: seats, deviation: 0.0, smoothed: seats }
    }

    #[test]
    fn who_needs_seats_borrows_them_of_who_does_not() {
        let (busy, idle) = (level(50, 25, 100), level(50, 10, 100));
        let given = share_out(&[(busy, asked(90.0)), (idle, asked(0.0))]).limits;
        assert_eq!(given.iter().sum::<usize>(), 100);
        assert!(given[0] >= 89 && given[1] >= 10, "{given:?}");
        // What a level needs, up to its share, is given back to it.
        let back = share_out(&[(busy, asked(200.0)), (idle, asked(50.0))]);
        assert_eq!((back.limits.as_slice(), back.fair_fraction), ([50, 50].as_slice(), 0.0));
        // Each gets the same part of what it wants, here a little more.
        let scarce = share_out(&[(level(50, 10, 100), asked(45.0)), (level(50, 10, 100), asked(45.0))]);
        assert!(scarce.fair_fraction > 1.0 && scarce.fair_fraction < 1.2, "{scarce:?}");
        // Nobody gets more than its limit.
        let limited = share_out(&[(level(50, 25, 60), asked(500.0)), (idle, asked(0.0))]).limits;
        assert_eq!(limited[0], 60);
        // What is exempt takes of all; below their least nobody goes.
        let exempt = Bounds { nominal: 0, min: 0, max: 100, is_exempt: true };
        let pressed = share_out(&[(exempt, asked(95.0)), (busy, asked(50.0)), (idle, asked(50.0))]).limits;
        assert_eq!(pressed, [95, 25, 10]);
        let some = share_out(&[(exempt, asked(40.0)), (busy, asked(50.0)), (idle, asked(50.0))]).limits;
        assert_eq!(some[0], 40);
        assert!((59..=61).contains(&(some[1] + some[2])), "{some:?}");
    }
}
