//! How many pods were scheduled in a second.

use std::time::Duration;

use serde::Serialize;

/// How fast pods were scheduled.
///
/// The average and the percentiles are upstream's: of samples taken at even intervals, without the first one in which pods
/// were scheduled. Upstream samples each second; where all takes less than ten, here a tenth of it is the interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Throughput {
    /// How many pods were scheduled.
    pub pods: usize,
    /// How long that took, from when measuring began to the last pod.
    pub seconds: f64,
    /// The one divided by the other.
    pub pods_per_second: f64,
    /// How far samples are apart.
    pub interval_seconds: f64,
    /// The mean of the samples.
    #[serde(rename = "Average")]
    pub average: f64,
    /// Half of the samples are no more than this.
    #[serde(rename = "Perc50")]
    pub perc50: f64,
    /// Nine in ten are no more than this.
    #[serde(rename = "Perc90")]
    pub perc90: f64,
    /// All but one in twenty are no more than this.
    #[serde(rename = "Perc95")]
    pub perc95: f64,
    /// All but one in a hundred are no more than this.
    #[serde(rename = "Perc99")]
    pub perc99: f64,
}

impl Throughput {
    /// From when each pod was scheduled, counted from when measuring began.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "numbers of pods")]
    pub fn of(mut scheduled: Vec<Duration>) -> Self {
        scheduled.sort_unstable();
        let Some(last) = scheduled.last().copied() else { return Self::default() };
        let seconds = last.as_secs_f64();
        let interval = (seconds / 10.0).clamp(1e-6, 1.0);
        let overall = scheduled.len() as f64 / seconds.max(1e-9);
        let mut samples = samples(&scheduled, interval);
        if samples.is_empty() {
            // Too few pods for more than one sample.
            samples.push(overall);
        }
        let percentile = |percent: usize| {
            let at = (samples.len() * percent).div_ceil(100).max(1) - 1;
            samples.get(at).copied().unwrap_or_default()
        };
        Self {
            pods: scheduled.len(),
            seconds,
            pods_per_second: overall,
            interval_seconds: interval,
            average: samples.iter().sum::<f64>() / samples.len().max(1) as f64,
            perc50: percentile(50),
            perc90: percentile(90),
            perc95: percentile(95),
            perc99: percentile(99),
        }
    }
}

/// Rates over even intervals in order of size. An interval without a pod counts to the next one that has some.
#[allow(clippy::cast_precision_loss, reason = "numbers of pods")]
fn samples(scheduled: &[Duration], interval: f64) -> Vec<f64> {
    let (mut samples, mut end, mut seen, mut skipped, mut started) = (Vec::new(), 0.0, 0, 0, false);
    while seen < scheduled.len() {
        end += interval;
        // What is left over when the last sample is due counts to it.
        let until = scheduled.partition_point(|at| at.as_secs_f64() <= end + 1e-9);
        let new = until - seen;
        seen = until;
        if new == 0 {
            skipped += usize::from(started);
        } else if started {
            let rate = new as f64 / (interval * (skipped + 1) as f64);
            samples.extend(std::iter::repeat_n(rate, skipped + 1));
            skipped = 0;
        } else {
            started = true;
        }
    }
    samples.sort_by(f64::total_cmp);
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: &[f64]) -> Vec<Duration> {
        seconds.iter().map(|seconds| Duration::from_secs_f64(*seconds)).collect()
    }

    #[test]
    fn samples_are_upstreams() {
        // One pod in the first second, three in the second, none in the third, four in the fourth, … over 20 seconds.
        let mut times = vec![0.5, 1.2, 1.4, 1.9, 3.1, 3.2, 3.3, 3.4];
        times.extend((4..20).map(|second| f64::from(second) + 0.5));
        let found = Throughput::of(at(&times));
        assert_eq!((found.pods, found.interval_seconds), (24, 1.0));
        // Without the first: 3, 2 twice, then 16 times 1.
        assert!((found.average - (3.0 + 2.0 * 2.0 + 16.0) / 19.0).abs() < 1e-9, "{found:?}");
        assert_eq!((found.perc50, found.perc90, found.perc99), (1.0, 2.0, 3.0));
    }

    #[test]
    fn short_runs_are_sampled_more_often() {
        let times: Vec<f64> = (1..=1000).map(|pod| f64::from(pod) / 1000.0).collect();
        let found = Throughput::of(at(&times));
        assert!((found.interval_seconds - 0.1).abs() < 1e-9);
        assert!((found.average - 1000.0).abs() < 1.0 && (found.pods_per_second - 1000.0).abs() < 1e-6, "{found:?}");
        assert_eq!(Throughput::of(Vec::new()), Throughput::default());
    }
}
