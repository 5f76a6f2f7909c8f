//! Pictures that stand alone: SVG without scripts, fonts or links.

use std::fmt::Write;

/// One bar.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    /// In the second colour.
    pub(super) marked: bool,
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 320.0;
/// Room around the bars: left, right, top, bottom.
const ROOM: (f64, f64, f64, f64) = (64.0, 16.0, 40.0, 44.0);
const COLOURS: (&str, &str) = ("#4477aa", "#cc6677");
/// Labels below the bars at most; of more, every second, fifth ... is shown.
const LABELS: usize = 34;
const LINES: usize = 4;

/// Bars above a line, with a scale from 0 at the left; `legend` says what the two colours mean.
pub(super) fn bars(title: &str, across: &str, bars: &[Bar], legend: Option<[&str; 2]>) -> String {
    let (left, right, top, bottom) = ROOM;
    let (width, height) = (WIDTH - left - right, HEIGHT - top - bottom);
    let (step, most) = scale(bars.iter().map(|bar| bar.value).fold(0.0, f64::max));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{left}\" y=\"20\" font-size=\"14\">{}</text>\n",
        escaped(title)
    );
    let y = |value: f64| top + height * (1.0 - value / most);
    for n in 0..=(most / step).round() as usize {
        let (value, y) = (n as f64 * step, y(n as f64 * step));
        let label = format!("{value:.*}", decimals(step));
        let _ = writeln!(out, "<path d=\"M{left} {y:.1}H{:.1}\" stroke=\"#ddd\"/>", left + width);
        let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", left - 6.0, y + 4.0);
    }
    let pitch = width / bars.len().max(1) as f64;
    let every = [1, 2, 5, 10, 20, 50, 100].into_iter().find(|n| bars.len() / n <= LABELS).unwrap_or(bars.len());
    for (n, bar) in bars.iter().enumerate() {
        let (x, value) = (left + n as f64 * pitch, bar.value.max(0.0));
        let fill = if bar.marked { COLOURS.1 } else { COLOURS.0 };
        let (height, wide) = (top + height - y(value), pitch * 0.8);
        let _ = writeln!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{height:.1}\" fill=\"{fill}\">\
             <title>{}: {:.4}</title></rect>",
            x + pitch * 0.1,
            y(value),
            escaped(&bar.label),
            bar.value
        );
        if n % every == 0 {
            let (x, y) = (x + pitch / 2.0, HEIGHT - bottom + 14.0);
            let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", escaped(&bar.label));
        }
    }
    let (middle, below) = (left + width / 2.0, HEIGHT - 10.0);
    let _ = writeln!(out, "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", escaped(across));
    for (n, text) in legend.into_iter().flatten().enumerate() {
        let (x, fill) = (left + width - 160.0 + 80.0 * n as f64, if n == 0 { COLOURS.0 } else { COLOURS.1 });
        let _ = writeln!(out, "<rect x=\"{x}\" y=\"12\" width=\"10\" height=\"10\" fill=\"{fill}\"/>");
        let _ = writeln!(out, "<text x=\"{}\" y=\"21\">{}</text>", x + 14.0, escaped(text));
    }
    out + "</svg>\n"
}

/// A round step, and the multiple of it that holds `most`.
fn scale(most: f64) -> (f64, f64) {
    if !(most > 0.0 && most.is_finite()) {
        return (1.0, 1.0);
    }
    let rough = most / LINES as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|s| *s >= rough).unwrap_or(10.0 * power);
    (step, (most / step).ceil() * step)
}

fn decimals(step: f64) -> usize {
    (-step.log10().floor()).max(0.0) as usize
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round() {
        for (most, wanted) in [(0.93, (0.5, 1.0)), (0.2, (0.05, 0.2)), (37.0, (10.0, 40.0)), (0.0, (1.0, 1.0))] {
            let found = scale(most);
            assert!((found.0 - wanted.0).abs() < 1e-9 && (found.1 - wanted.1).abs() < 1e-9, "{most}: {found:?}");
        }
        assert_eq!((decimals(0.05), decimals(1.0), decimals(20.0)), (2, 0, 0));
    }

    #[test]
    fn text_is_no_markup() {
        let bar = |label: &str| Bar { label: label.into(), value: 0.5, marked: true };
        let svg = bars("a < b & c", "block", &[bar("0"), bar("\"1\"")], Some(["stays", "goes"]));
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains("&quot;1&quot;: 0.5000") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<rect").count(), 1 + 2 + 2);
    }
}
