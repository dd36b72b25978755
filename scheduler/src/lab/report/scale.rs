//! How cost grows with the cluster, as one HTML page.

use std::fmt::Write as _;

use super::HEAD;
use super::chart::{Line, LineChart};
use crate::lab::{ScaleRun, Shape};

/// The page: the curve of what a pod costs over the number of nodes, a line for each shape of pods, and a table.
#[must_use]
pub fn scale_html(runs: &[ScaleRun]) -> String {
    let mut page = HEAD.replace("TITLE", "Cost by the size of the cluster");
    page.push_str(
        "<h1>Cost by the size of the cluster</h1><p class=\"lead\">How long the core of the scheduler takes to place one pod \
         with the default plugins, by how many nodes there are.</p>",
    );
    let lines: Vec<Line> =
        Shape::ALL.into_iter().enumerate().filter_map(|(style, shape)| line(runs, shape, style)).collect();
    let powers = || runs.iter().map(|run| power(run.nodes));
    let x_range = (powers().fold(f64::INFINITY, f64::min).min(6.0), powers().fold(0.0, f64::max));
    let chart = LineChart {
        x_label: "Nodes, as a power of ten (3 is 1,000)",
        y_label: "Microseconds a pod",
        x_range,
        zoomed: false,
        lines: &lines,
    };
    let _ = write!(
        page,
        "<figure>{}<figcaption><b>Figure 1.</b> What a pod costs, by what pods care for.</figcaption></figure>",
        chart.draw()
    );
    page.push_str("<table><thead><tr><th>Pods are<th>Nodes<th>Placed<th>Seconds<th>Pods/s<th>µs a pod</thead><tbody>");
    for run in runs {
        let _ = write!(
            page,
            "<tr><td>{}<td>{}<td>{}<td>{:.2}<td>{:.0}<td>{:.2}",
            run.shape.name(),
            run.nodes,
            run.placed,
            run.seconds,
            run.pods_per_second,
            run.microseconds_per_pod
        );
    }
    page.push_str("</tbody></table></main></body></html>\n");
    page
}

#[allow(clippy::cast_precision_loss, reason = "a number of nodes")]
fn power(nodes: usize) -> f64 {
    (nodes.max(1) as f64).log10()
}

fn line(runs: &[ScaleRun], shape: Shape, style: usize) -> Option<Line> {
    let mut points: Vec<_> = runs
        .iter()
        .filter(|run| run.shape == shape)
        .map(|run| {
            let cost = run.microseconds_per_pod;
            (power(run.nodes), cost, cost, cost)
        })
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    (!points.is_empty()).then(|| Line { name: shape.name().to_owned(), style, points })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_drawn_for_each_shape() {
        let run = |nodes, shape| ScaleRun { nodes, shape, microseconds_per_pod: 12.5, ..ScaleRun::default() };
        let page = scale_html(&[run(1000, Shape::Alike), run(100_000, Shape::Alike), run(1000, Shape::Far)]);
        assert_eq!((page.matches("<svg").count(), page.matches("<tr><td>").count()), (1, 3));
        assert_eq!(page.matches("<polyline").count(), 2);
        assert!(page.contains("12.50") && !page.contains("NaN"));
    }
}
