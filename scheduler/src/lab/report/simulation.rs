//! Simulations as one HTML page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::HEAD;
use super::chart::{Line, LineChart, escape};
use crate::lab::Spread;
use crate::lab::simulate::{Sample, SimResult};

/// A simulation, and what it was run with.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Simulated {
    /// What that is called.
    pub setup: String,
    /// What became of it.
    #[serde(flatten)]
    pub result: SimResult,
}

/// What is drawn: what it is, its axis, and where it is in a sample.
type Plot = (&'static str, &'static str, fn(&Sample) -> f64);

const PLOTS: [Plot; 7] = [
    ("CPUs allocated (%)", "CPUs that running pods ask for, in percent of all.", |sample| {
        sample.cpu_allocation_percent
    }),
    ("Fragmented (%)", "CPUs free on nodes that cannot take a typical pod, in percent of all.", |sample| {
        sample.cpu_fragmentation_percent
    }),
    ("Pods waiting", "Pods without a node.", |sample| count(sample.waiting)),
    ("Mean wait (min)", "How long the pods that wait have waited.", |sample| sample.waited_mean_seconds / 60.0),
    ("Fairness", "Jain's index of the part of its demand that each owner gets; 1 is even.", |sample| sample.fairness),
    ("Spread (%)", "Standard deviation of CPU allocation over nodes.", |sample| sample.spread_percent),
    ("Moves", "Pods that have lost their node so far: by preemption, failure or scaling.", |sample| {
        count(sample.moves)
    }),
];

#[allow(clippy::cast_precision_loss, reason = "a number of pods")]
const fn count(number: usize) -> f64 {
    number as f64
}

/// The page: a table, and how things went over time, with bands for the range over the seeds.
#[must_use]
pub fn simulation_html(runs: &[Simulated]) -> String {
    let mut setups: Vec<&str> = Vec::new();
    for run in runs {
        if !setups.contains(&run.setup.as_str()) {
            setups.push(&run.setup);
        }
    }
    let of = |setup: &str| -> Vec<&SimResult> {
        runs.iter().filter(|run| run.setup == setup).map(|run| &run.result).collect()
    };
    let mut page = HEAD.replace("TITLE", "Simulated clusters");
    let _ = write!(page, "<h1>Simulated clusters</h1><p class=\"lead\">{} runs on virtual time.</p>", runs.len());
    table(&mut page, &setups, of);
    let end = runs.iter().map(|run| run.result.seconds).fold(1.0, f64::max) / 3600.0;
    for (number, (label, caption, value)) in PLOTS.into_iter().enumerate() {
        let lines: Vec<Line> =
            setups.iter().enumerate().map(|(at, setup)| line(setup, at, &of(setup), value)).collect();
        let chart =
            LineChart { x_label: "Time (hours)", y_label: label, x_range: (0.0, end), zoomed: false, lines: &lines };
        let _ = write!(
            page,
            "<figure>{}<figcaption><b>Figure {}.</b> {caption} Lines: mean over the seeds; bands: their range.\
             </figcaption></figure>",
            chart.draw(),
            number + 1
        );
    }
    page.push_str("</main></body></html>\n");
    page
}

fn table<'a>(page: &mut String, setups: &[&str], of: impl Fn(&str) -> Vec<&'a SimResult>) {
    page.push_str(
        "<table><thead><tr><th>Scheduler<th>Seeds<th>Placed<th>Unplaced<th>Moves<th>Mean wait s<th>95&thinsp;% wait s\
         <th>CPU %<th>Frag&shy;mented %<th>Fair&shy;ness<th>Spread %</thead><tbody>",
    );
    for setup in setups {
        let results = of(setup);
        let mean = |value: fn(&SimResult) -> f64| Spread::of(results.iter().map(|result| value(result))).mean;
        let _ = write!(
            page,
            "<tr><td>{}<td>{}<td>{:.0}<td>{:.1}<td>{:.1}<td>{:.1}<td>{:.1}<td>{:.1}<td>{:.1}<td>{:.3}<td>{:.1}",
            escape(setup),
            results.len(),
            mean(|result| count(result.placed)),
            mean(|result| count(result.unplaced.len())),
            mean(|result| count(result.moves)),
            mean(|result| result.waited_mean_seconds),
            mean(|result| result.waited_perc95_seconds),
            mean(|result| result.cpu_allocation_percent),
            mean(|result| result.cpu_fragmentation_percent),
            mean(|result| result.fairness),
            mean(|result| result.spread_percent),
        );
    }
    page.push_str(
        "</tbody></table><p class=\"caption\"><b>Table 1.</b> Means over the seeds; the last four over time too.</p>",
    );
}

/// How many points of a run are drawn at most.
const POINTS_MAX: usize = 600;

fn line(name: &str, style: usize, results: &[&SimResult], value: fn(&Sample) -> f64) -> Line {
    let mut by_moment: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for result in results {
        let every = result.samples.len().div_ceil(POINTS_MAX).max(1);
        for sample in result.samples.iter().step_by(every) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds of a simulation")]
            by_moment.entry((sample.seconds * 1000.0) as u64).or_default().push(value(sample));
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a simulation")]
    let points = by_moment.into_iter().map(|(millis, values)| {
        let spread = Spread::of(values);
        (millis as f64 / 3_600_000.0, spread.mean, spread.min, spread.max)
    });
    Line { name: name.to_owned(), style, points: points.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulations_are_drawn_over_time() {
        let samples =
            (0..5).map(|at| Sample { seconds: f64::from(at) * 60.0, waiting: 3, ..Sample::default() }).collect();
        let result = SimResult { seconds: 240.0, samples, ..SimResult::default() };
        let runs = ["least", "most"].map(|setup| Simulated { setup: setup.to_owned(), result: result.clone() });
        let page = simulation_html(&runs);
        assert_eq!((page.matches("<svg").count(), page.matches("<tr><td>").count()), (PLOTS.len(), 2));
        assert!(page.contains("<title>Simulated clusters</title>") && !page.contains("NaN"));
    }
}
