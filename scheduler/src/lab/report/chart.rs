//! Plots as SVG, drawn so that they can be read in print and without colours: every line has a pattern and a label.

use std::fmt::Write as _;

/// Colours that can be told apart by the colour-blind (Okabe and Ito), with a dash pattern each.
const STYLES: [(&str, &str); 8] = [
    ("#0072b2", ""),
    ("#d55e00", "7 3"),
    ("#009e73", "2 3"),
    ("#cc79a7", "9 3 2 3"),
    ("#b07d00", "5 2"),
    ("#3a9bd9", "3 2 1 2"),
    ("#333333", "12 3"),
    ("#7a4fbf", "4 4 1 4"),
];

/// The colour and dash pattern of the so-manyth policy.
pub(super) fn style(at: usize) -> (&'static str, &'static str) {
    STYLES[at % STYLES.len()]
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A range of values and where it is on paper.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    pub(super) fn new((from, to): (f64, f64), (start, end): (f64, f64)) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self { from, to, start, end }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        self.start + (value - self.from) / (self.to - self.from) * (self.end - self.start)
    }

    fn step(&self) -> f64 {
        let rough = (self.to - self.from) / 6.0;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
        steps.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(10.0 * magnitude)
    }

    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let step = self.step();
        let decimals = usize::from(step < 1.0);
        let mut ticks = Vec::new();
        let mut value = (self.from / step).ceil() * step;
        while value <= self.to + step * 1e-6 {
            ticks.push((value, format!("{value:.decimals$}")));
            value += step;
        }
        ticks
    }
}

/// A line with a band around it.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) style: usize,
    /// Where, the mean, the least and the most.
    pub(super) points: Vec<(f64, f64, f64, f64)>,
}

/// Lines over a common axis.
pub(super) struct LineChart<'a> {
    pub(super) x_label: &'a str,
    pub(super) y_label: &'a str,
    pub(super) x_range: (f64, f64),
    /// From where on the y axis must reach down; without it the axis begins at 0.
    pub(super) zoomed: bool,
    pub(super) lines: &'a [Line],
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 118.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 48.0;

impl LineChart<'_> {
    fn y_range(&self) -> (f64, f64) {
        let seen = |(at, ..): &&(f64, f64, f64, f64)| *at >= self.x_range.0 && *at <= self.x_range.1;
        let points = || self.lines.iter().flat_map(|line| line.points.iter().filter(seen));
        let most = points().map(|point| point.3).fold(f64::NEG_INFINITY, f64::max);
        let least = points().map(|point| point.2).fold(f64::INFINITY, f64::min);
        if self.zoomed { (least.floor(), most.ceil()) } else { (0.0, if most > 0.0 { most * 1.03 } else { 1.0 }) }
    }

    pub(super) fn draw(&self) -> String {
        let x = Scale::new(self.x_range, (LEFT, WIDTH - RIGHT));
        let y = Scale::new(self.y_range(), (HEIGHT - BOTTOM, TOP));
        let mut svg = open(WIDTH, HEIGHT);
        axes(&mut svg, x, y, self.x_label, self.y_label);
        let seen = |line: &Line| -> Vec<(f64, f64, f64, f64)> {
            let inside = |(at, ..): &&(f64, f64, f64, f64)| *at >= self.x_range.0 && *at <= self.x_range.1;
            line.points.iter().filter(inside).copied().collect()
        };
        for line in self.lines {
            let (colour, _) = style(line.style);
            let points = seen(line);
            let there = points.iter().map(|(at, _, _, most)| (x.at(*at), y.at(*most)));
            let back = points.iter().rev().map(|(at, _, least, _)| (x.at(*at), y.at(*least)));
            let corners = there.chain(back).map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
            let _ = write!(svg, r#"<polygon points="{corners}" fill="{colour}" opacity="0.16"/>"#);
        }
        let mut ends = Vec::new();
        for line in self.lines {
            let (colour, dash) = style(line.style);
            let points = seen(line);
            let path = points.iter().map(|(at, mean, ..)| format!("{:.1},{:.1}", x.at(*at), y.at(*mean)));
            let path = path.collect::<Vec<_>>().join(" ");
            let _ = write!(
                svg,
                r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>"#
            );
            if let Some((_, mean, ..)) = points.last() {
                ends.push((y.at(*mean), line));
            }
        }
        self.label_ends(&mut svg, ends);
        svg.push_str("</svg>");
        svg
    }

    /// Names of lines at their ends, pushed apart where they would overlap.
    fn label_ends(&self, svg: &mut String, mut ends: Vec<(f64, &Line)>) {
        const GAP: f64 = 15.0;
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let anchors: Vec<f64> = ends.iter().map(|(y, _)| *y).collect();
        for at in 1..ends.len() {
            ends[at].0 = ends[at].0.max(ends[at - 1].0 + GAP);
        }
        let mut limit = HEIGHT - BOTTOM + 4.0;
        for (y, _) in ends.iter_mut().rev() {
            *y = y.min(limit);
            limit = *y - GAP;
        }
        let edge = WIDTH - RIGHT;
        for ((y, line), anchor) in ends.iter().zip(anchors) {
            let (colour, dash) = style(line.style);
            let _ = write!(
                svg,
                r#"<path d="M{:.1},{anchor:.1} L{:.1},{y:.1}" stroke="{colour}" stroke-width="0.8" fill="none" opacity="0.6"/><path d="M{:.1},{y:.1} h14" stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dash}"/><text x="{:.1}" y="{:.1}" class="name">{}</text>"#,
                edge + 1.0,
                edge + 9.0,
                edge + 9.0,
                edge + 27.0,
                y + 4.0,
                escape(&line.name)
            );
        }
    }
}

/// A row of a range chart.
pub(super) struct RangeRow {
    pub(super) name: String,
    pub(super) style: usize,
    pub(super) values: Vec<f64>,
    /// Mean, least and most that were published, if they were.
    pub(super) published: Option<(f64, f64, f64)>,
}

/// For each row every value, their range and their mean.
pub(super) fn range_chart(x_label: &str, rows: &[RangeRow]) -> String {
    const ROW: f64 = 40.0;
    #[allow(clippy::cast_precision_loss, reason = "a few rows")]
    let height = TOP + BOTTOM + ROW * rows.len() as f64;
    let all =
        || rows.iter().flat_map(|row| row.values.iter().copied().chain(row.published.iter().flat_map(|p| [p.1, p.2])));
    let least = all().fold(f64::INFINITY, f64::min);
    let most = all().fold(f64::NEG_INFINITY, f64::max);
    let pad = ((most - least) * 0.05).max(0.2);
    let x = Scale::new((least - pad, most + pad), (128.0, WIDTH - 76.0));
    let mut svg = open(WIDTH, height);
    for (value, label) in x.ticks() {
        let at = x.at(value);
        let _ = write!(
            svg,
            r#"<path d="M{at:.1},{TOP} V{:.1}" class="grid"/><text x="{at:.1}" y="{:.1}" class="tick" text-anchor="middle">{label}</text>"#,
            height - BOTTOM,
            height - BOTTOM + 17.0
        );
    }
    let _ = write!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" class="axis" text-anchor="middle">{}</text>"#,
        f64::midpoint(128.0, WIDTH - 76.0),
        height - 8.0,
        escape(x_label)
    );
    let mut y = TOP + ROW / 2.0;
    for row in rows {
        range_row(&mut svg, x, y, row);
        y += ROW;
    }
    svg.push_str("</svg>");
    svg
}

fn range_row(svg: &mut String, x: Scale, y: f64, row: &RangeRow) {
    let (colour, _) = style(row.style);
    let spread = crate::lab::Spread::of(row.values.iter().copied());
    let _ =
        write!(svg, r#"<text x="118" y="{:.1}" class="name" text-anchor="end">{}</text>"#, y + 4.0, escape(&row.name));
    if let Some((mean, least, most)) = row.published {
        let (from, to, mean) = (x.at(least), x.at(most), x.at(mean));
        let _ = write!(
            svg,
            r##"<rect x="{from:.1}" y="{:.1}" width="{:.1}" height="22" fill="#e4e4e4" stroke="#9a9a9a" stroke-width="0.8"/><path d="M{mean:.1},{:.1} v22" stroke="#6f6f6f" stroke-width="1.4"/>"##,
            y - 11.0,
            to - from,
            y - 11.0
        );
    }
    let (from, to, mean) = (x.at(spread.min), x.at(spread.max), x.at(spread.mean));
    let _ = write!(
        svg,
        r#"<path d="M{from:.1},{y:.1} H{to:.1} M{from:.1},{:.1} v8 M{to:.1},{:.1} v8" stroke="{colour}" stroke-width="1.6" fill="none"/>"#,
        y - 4.0,
        y - 4.0
    );
    for value in &row.values {
        let _ = write!(svg, r#"<circle cx="{:.1}" cy="{y:.1}" r="2.6" fill="{colour}" opacity="0.45"/>"#, x.at(*value));
    }
    let _ = write!(
        svg,
        r##"<path d="M{mean:.1},{:.1} l5.5,6 l-5.5,6 l-5.5,-6 z" fill="{colour}" stroke="#fff" stroke-width="0.8"/><text x="{:.1}" y="{:.1}" class="value">{:.2}</text>"##,
        y - 6.0,
        WIDTH - 66.0,
        y + 4.0,
        spread.mean
    );
}

fn open(width: f64, height: f64) -> String {
    format!(r#"<svg viewBox="0 0 {width} {height}" role="img" xmlns="http://www.w3.org/2000/svg">"#)
}

fn axes(svg: &mut String, x: Scale, y: Scale, x_label: &str, y_label: &str) {
    let (left, right, bottom) = (LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (value, label) in y.ticks() {
        let at = y.at(value);
        let _ = write!(
            svg,
            r#"<path d="M{left},{at:.1} H{right}" class="grid"/><text x="{:.1}" y="{:.1}" class="tick" text-anchor="end">{label}</text>"#,
            left - 7.0,
            at + 4.0
        );
    }
    for (value, label) in x.ticks() {
        let at = x.at(value);
        let _ = write!(
            svg,
            r#"<path d="M{at:.1},{bottom} v5" class="frame"/><text x="{at:.1}" y="{:.1}" class="tick" text-anchor="middle">{label}</text>"#,
            bottom + 18.0
        );
    }
    let _ = write!(
        svg,
        r#"<path d="M{left},{TOP} V{bottom} H{right}" class="frame"/><text x="{:.1}" y="{:.1}" class="axis" text-anchor="middle">{}</text><text transform="translate(16,{:.1}) rotate(-90)" class="axis" text-anchor="middle">{}</text>"#,
        f64::midpoint(left, right),
        HEIGHT - 8.0,
        escape(x_label),
        f64::midpoint(TOP, bottom),
        escape(y_label)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        let labels =
            |range| Scale::new(range, (0.0, 1.0)).ticks().into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels((0.0, 100.0)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels((86.2, 95.7)), ["88", "90", "92", "94"]);
        assert_eq!(labels((1.0, 1.0)), ["1.0", "1.2", "1.4", "1.6", "1.8", "2.0"]);
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escape(r#"<a & "b">"#), "&lt;a &amp; &quot;b&quot;&gt;");
    }
}
