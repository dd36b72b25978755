//! A comparison as one HTML page that needs nothing else, with its plots inside.

mod chart;
mod published;
mod scale;
mod simulation;

use std::fmt::Write as _;

pub use published::{Published, PublishedError};
pub use scale::scale_html;
pub use simulation::{Simulated, simulation_html};

use self::chart::{Line, LineChart, RangeRow, escape, range_chart};
use super::{Comparison, Plan, Point, Run, Spread};

/// What the page tells about where its figures come from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The command that made it.
    pub command: String,
    /// The files that were read, with what each is.
    pub files: Vec<(String, String)>,
    /// Results that others published for the same workloads, to be shown beside ours.
    pub published: Vec<Published>,
}

/// The page.
#[must_use]
pub fn html(plan: &Plan, comparison: &Comparison, origin: &Origin) -> String {
    let mut page = HEAD.replace("TITLE", "Placement policies compared");
    let _ = write!(
        page,
        "<h1>GPU allocation under {} placement policies</h1><p class=\"lead\">{} workload{}, {} seed{}, {} runs. Jobs \
         arrive until they ask for {:.0}&thinsp;% of the GPUs there are; a job that no node can take is turned away; none \
         ends.</p>",
        comparison.policies().len(),
        plan.workloads.len(),
        plural(plan.workloads.len()),
        plan.seeds.len(),
        plural(plan.seeds.len()),
        comparison.runs.len(),
        plan.demand * 100.0
    );
    let mut figure = 0;
    for (at, workload) in comparison.workloads().into_iter().enumerate() {
        let _ = write!(page, "<section><h2>{}</h2>", escape(workload));
        table(&mut page, comparison, workload, &origin.published, at + 1);
        figures(&mut page, comparison, workload, origin, &mut figure, plan.demand);
        page.push_str("</section>");
    }
    method(&mut page, plan, origin);
    page.push_str("</main></body></html>\n");
    page
}

const fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn table(page: &mut String, comparison: &Comparison, workload: &str, published: &[Published], number: usize) {
    let best = comparison
        .policies()
        .into_iter()
        .max_by(|a, b| allocation(comparison, workload, a).mean.total_cmp(&allocation(comparison, workload, b).mean));
    let with_published = published.iter().any(|row| row.workload == workload);
    page.push_str("<table><thead><tr><th>Policy<th>Allocation %<th>SD<th>Range");
    if with_published {
        page.push_str("<th>Published %<th>Published range");
    }
    page.push_str("<th>Frag&shy;mented %<th>Turned away<th>s a run</thead><tbody>");
    for policy in comparison.policies() {
        let runs = comparison.of(workload, policy);
        let Spread { mean, deviation, min, max } = allocation(comparison, workload, policy);
        let fragmented = Spread::of(runs.iter().map(|run| run.gpu_fragmentation_percent)).mean;
        #[allow(clippy::cast_precision_loss, reason = "some thousand jobs")]
        let failed = Spread::of(runs.iter().map(|run| run.failed as f64)).mean;
        let seconds = Spread::of(runs.iter().map(|run| run.seconds)).mean;
        let class = if best == Some(policy) { " class=\"best\"" } else { "" };
        let _ = write!(
            page,
            "<tr{class}><td>{}<td>{mean:.2}<td>{deviation:.2}<td class=\"range\">{min:.2}–{max:.2}",
            escape(policy)
        );
        if with_published {
            if let Some(row) = Published::find(published, workload, policy) {
                let _ = write!(page, "<td>{:.2}<td class=\"range\">{:.2}–{:.2}", row.mean, row.min, row.max);
            } else {
                page.push_str("<td>–<td>–");
            }
        }
        let _ = write!(page, "<td>{fragmented:.2}<td>{failed:.0}<td>{seconds:.2}");
    }
    let _ = write!(
        page,
        "</tbody></table><p class=\"caption\"><b>Table {number}.</b> At the end of each run, in percent of all GPUs: mean, \
         sample standard deviation and range over the seeds. Fragmented: idle and of no use to a typical job. The best \
         mean is set in bold.</p>"
    );
}

fn allocation(comparison: &Comparison, workload: &str, policy: &str) -> Spread {
    Spread::of(comparison.of(workload, policy).iter().map(|run| run.gpu_allocation_percent))
}

fn figures(
    page: &mut String,
    comparison: &Comparison,
    workload: &str,
    origin: &Origin,
    figure: &mut usize,
    demand: f64,
) {
    let lines = |value: fn(&Point) -> f64| -> Vec<Line> {
        let policies = comparison.policies().into_iter().enumerate();
        policies.map(|(at, policy)| line(policy, at, &comparison.of(workload, policy), value)).collect()
    };
    let full = (0.0, (demand * 100.0).round());
    let mut add = |svg: &str, caption: &str| {
        *figure += 1;
        let _ = write!(page, "<figure>{svg}<figcaption><b>Figure {figure}.</b> {caption}</figcaption></figure>");
    };
    let rows: Vec<RangeRow> = comparison
        .policies()
        .into_iter()
        .enumerate()
        .map(|(at, policy)| RangeRow {
            name: policy.to_owned(),
            style: at,
            values: comparison.of(workload, policy).iter().map(|run| run.gpu_allocation_percent).collect(),
            published: Published::find(&origin.published, workload, policy).map(|row| (row.mean, row.min, row.max)),
        })
        .collect();
    let beside = match rows.iter().any(|row| row.published.is_some()) {
        true => " Grey boxes: range and mean of the published results.",
        false => "",
    };
    add(
        &range_chart("GPUs allocated at the end (%)", &rows),
        &format!(
            "Allocation at the end: every seed (dots), their range (whiskers) and mean (diamond, figure).{beside}"
        ),
    );
    let arrived = "Arrived demand (% of all GPUs)";
    let allocated = lines(|point| point.allocated_percent);
    let zoom = LineChart {
        x_label: arrived,
        y_label: "GPUs allocated (%)",
        x_range: ((full.1 * 0.6).min(80.0), full.1),
        zoomed: true,
        lines: &allocated,
    };
    add(
        &zoom.draw(),
        "Allocation as demand passes what the cluster has. Lines: mean over the seeds; bands: their range.",
    );
    let fragmented = lines(|point| point.fragmented_percent);
    let chart = LineChart {
        x_label: arrived,
        y_label: "GPUs fragmented (%)",
        x_range: full,
        zoomed: false,
        lines: &fragmented,
    };
    add(&chart.draw(), "Idle GPUs of no use to a typical job, in percent of all GPUs, as demand grows.");
    let of_idle = lines(|point| point.fragmented_of_idle_percent);
    let chart = LineChart {
        x_label: arrived,
        y_label: "Idle GPUs fragmented (%)",
        x_range: full,
        zoomed: false,
        lines: &of_idle,
    };
    add(&chart.draw(), "The same, in percent of the GPUs that are idle.");
    let chart =
        LineChart { x_label: arrived, y_label: "GPUs allocated (%)", x_range: full, zoomed: false, lines: &allocated };
    add(&chart.draw(), "Allocation over the whole run.");
}

/// Mean and range over the seeds, percent by percent.
fn line(name: &str, style: usize, runs: &[&Run], value: fn(&Point) -> f64) -> Line {
    let mut by_percent: std::collections::BTreeMap<u32, Vec<f64>> = std::collections::BTreeMap::new();
    for point in runs.iter().flat_map(|run| &run.curve) {
        by_percent.entry(point.arrived_percent).or_default().push(value(point));
    }
    let points = by_percent.into_iter().map(|(percent, values)| {
        let spread = Spread::of(values);
        (f64::from(percent), spread.mean, spread.min, spread.max)
    });
    Line { name: name.to_owned(), style, points: points.collect() }
}

fn method(page: &mut String, plan: &Plan, origin: &Origin) {
    page.push_str("<section><h2>Method</h2><table class=\"plain\"><tbody>");
    for (name, trace) in &plan.workloads {
        let _ = write!(
            page,
            "<tr><td>{}<td>{} nodes, {:.0} GPUs, {} jobs in the trace",
            escape(name),
            trace.node_count(),
            trace.gpu_capacity() / super::GPU,
            trace.len()
        );
    }
    for (what, file) in &origin.files {
        let _ = write!(page, "<tr><td>{}<td><code>{}</code>", escape(what), escape(file));
    }
    let seeds: Vec<String> = plan.seeds.iter().map(ToString::to_string).collect();
    let _ = write!(page, "<tr><td>Seeds<td>{}", seeds.join(", "));
    if !origin.command.is_empty() {
        let _ = write!(page, "<tr><td>Command<td><code>{}</code>", escape(&origin.command));
    }
    page.push_str(METHOD);
}

const METHOD: &str = "</tbody></table>
<p><b>Arrivals.</b> The jobs of the trace in an order drawn from the seed, then jobs drawn from the trace again until the
demand is reached. <b>Placement.</b> Nodes that lack CPUs, memory, GPUs or the model are filtered out; the policy scores
the others from 0 to 100; of the best the first is taken, in an order of the nodes that is drawn from the seed (the random
policy draws anew each time). <b>Typical jobs</b> are the most frequent kinds (CPUs,
GPUs, part of a GPU, models) that make up 95&thinsp;% of the trace, each weighted by its frequency. <b>Fragmented</b> is, for
each node, what of its idle GPUs a typical job could not use on average: all of it where the job does not fit or asks for
no GPU, else the GPUs with too little left. <b>Values</b> at a demand are means over the arrivals that bring it to that many
percent.</p></section>";

const HEAD: &str = r##"<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>TITLE</title><style>
:root{color-scheme:light}
body{margin:0;background:#fff;color:#1c1c1c;font:16px/1.5 "Source Serif 4","Source Serif Pro",Charter,Georgia,"DejaVu Serif",serif}
main{max-width:820px;margin:0 auto;padding:36px 20px 64px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .4rem}
h2{font-size:1.2rem;margin:2.2rem 0 .6rem;border-bottom:1px solid #d0d0d0;padding-bottom:.2rem}
.lead{color:#444;margin-top:0}
figure{margin:1.6rem 0}
svg{width:100%;height:auto;display:block}
svg text{font-family:"Source Sans 3",Helvetica,Arial,"DejaVu Sans",sans-serif;fill:#222}
.tick{font-size:11.5px;fill:#444}.axis{font-size:12.5px}.name{font-size:12.5px}.value{font-size:12.5px;font-weight:600}
.grid{stroke:#e6e6e6;stroke-width:1;fill:none}.frame{stroke:#555;stroke-width:1;fill:none}
figcaption,.caption{font-size:.9rem;color:#333;margin:.35rem 0 0}
table{border-collapse:collapse;width:100%;font-size:.82rem;font-variant-numeric:tabular-nums;border-top:1.5px solid #222;border-bottom:1.5px solid #222}
th{font-weight:600;border-bottom:1px solid #222}
th,td{padding:.28rem .3rem;text-align:right;vertical-align:bottom}
th:first-child,td:first-child{text-align:left}
.range{white-space:nowrap}.best td{font-weight:700}
.plain td{text-align:left;white-space:normal;vertical-align:top}.plain td:first-child{white-space:nowrap}
code{font:.82rem/1.4 "Source Code Pro",Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
@media print{main{padding:0;max-width:none}figure,table{break-inside:avoid}}
</style></head><body><main>"##;
