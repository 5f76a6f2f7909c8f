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
/// What is left for the figures themselves.
const AREA: (f64, f64) = (WIDTH - ROOM.0 - ROOM.1, HEIGHT - ROOM.2 - ROOM.3);
const COLOURS: [&str; 2] = ["#4477aa", "#cc6677"];
/// Labels below the bars at most; of more, every second, fifth ... is shown.
const LABELS: usize = 34;
const LINES: usize = 4;

/// A curve.
pub(super) struct Line {
    pub(super) label: String,
    /// From left to right.
    pub(super) points: Vec<(f64, f64)>,
}

/// Bars above a line, with a scale from 0 at the left; `legend` says what the two colours mean.
pub(super) fn bars(title: &str, across: &str, bars: &[Bar], legend: Option<[&str; 2]>) -> String {
    let mut picture = Picture::new(title, across, bars.iter().map(|bar| bar.value).fold(0.0, f64::max));
    let (left, _, top, bottom) = ROOM;
    let (width, height) = AREA;
    let pitch = width / bars.len().max(1) as f64;
    let every = [1, 2, 5, 10, 20, 50, 100].into_iter().find(|n| bars.len() / n <= LABELS).unwrap_or(bars.len());
    for (n, bar) in bars.iter().enumerate() {
        let (x, value) = (left + n as f64 * pitch, bar.value.max(0.0));
        let fill = COLOURS[usize::from(bar.marked)];
        let y = picture.y(value);
        let (height, wide) = (top + height - y, pitch * 0.8);
        let _ = writeln!(
            picture.out,
            "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{height:.1}\" fill=\"{fill}\">\
             <title>{}: {:.4}</title></rect>",
            x + pitch * 0.1,
            escaped(&bar.label),
            bar.value
        );
        if n % every == 0 {
            picture.text(x + pitch / 2.0, HEIGHT - bottom + 14.0, "middle", &bar.label);
        }
    }
    picture.finish(&legend.map_or(Vec::new(), |legend| legend.to_vec()))
}

/// Curves over a common scale from 0, both ways.
pub(super) fn lines(title: &str, across: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let mut picture = Picture::new(title, across, points().map(|(_, y)| *y).fold(0.0, f64::max));
    let (left, _, _, bottom) = ROOM;
    let (step, most) = scale(points().map(|(x, _)| *x).fold(0.0, f64::max));
    let place = |x: f64| left + AREA.0 * x / most;
    for n in 0..=(most / step).round() as usize {
        let value = n as f64 * step;
        picture.text(place(value), HEIGHT - bottom + 14.0, "middle", &format!("{value:.*}", decimals(step)));
    }
    for (line, colour) in lines.iter().zip(COLOURS) {
        let path: Vec<String> = line
            .points
            .iter()
            .filter(|(_, y)| y.is_finite())
            .map(|(x, y)| format!("{:.1},{:.1}", place(*x), picture.y(*y)))
            .collect();
        let path = path.join(" ");
        let _ = writeln!(
            picture.out,
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
        );
    }
    picture.finish(&lines.iter().map(|line| line.label.as_str()).collect::<Vec<_>>())
}

/// A picture with its heading and a scale at the left.
struct Picture {
    out: String,
    /// The value at the top.
    most: f64,
}

impl Picture {
    fn new(title: &str, across: &str, most: f64) -> Picture {
        let (left, _, _, _) = ROOM;
        let (step, most) = scale(most);
        let out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{left}\" y=\"20\" font-size=\"14\">{}</text>\n",
            escaped(title)
        );
        let mut picture = Picture { out, most };
        for n in 0..=(most / step).round() as usize {
            let (value, y) = (n as f64 * step, picture.y(n as f64 * step));
            let _ = writeln!(picture.out, "<path d=\"M{left} {y:.1}H{:.1}\" stroke=\"#ddd\"/>", left + AREA.0);
            picture.text(left - 6.0, y + 4.0, "end", &number(value, step));
        }
        picture.text(left + AREA.0 / 2.0, HEIGHT - 10.0, "middle", across);
        picture
    }

    fn y(&self, value: f64) -> f64 {
        ROOM.2 + AREA.1 * (1.0 - value / self.most)
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escaped(text);
        let _ = writeln!(self.out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
    }

    fn finish(mut self, legend: &[&str]) -> String {
        let shown = if legend.len() > 1 { legend } else { &[] };
        let mut x = ROOM.0 + AREA.0;
        for (text, fill) in shown.iter().zip(COLOURS).rev() {
            // About the width of the letters, as no font is known.
            x -= 34.0 + 6.0 * text.chars().count() as f64;
            let _ = writeln!(self.out, "<rect x=\"{x}\" y=\"12\" width=\"10\" height=\"10\" fill=\"{fill}\"/>");
            self.text(x + 14.0, 21.0, "start", text);
        }
        self.out + "</svg>\n"
    }
}

/// What stands at a line of a scale.
fn number(value: f64, step: f64) -> String {
    match step < 1e-3 {
        true if value == 0.0 => "0".to_owned(),
        true => format!("{value:.1e}"),
        false => format!("{value:.*}", decimals(step)),
    }
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

pub(super) fn escaped(text: &str) -> String {
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

    #[test]
    fn curves_stay_inside() {
        let line = |label: &str, points: &[(f64, f64)]| Line { label: label.into(), points: points.to_vec() };
        let svg = lines("loss", "step", &[line("a", &[(0.0, 2.0), (90.0, 0.0)]), line("b", &[(50.0, f64::NAN)])]);
        // Steps up to 100, losses up to 2.
        assert!(svg.contains("points=\"64.0,40.0 712.0,276.0\""), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(
            (number(2e-4, 1e-4), number(0.0, 1e-4), number(0.5, 0.5)),
            ("2.0e-4".into(), "0".into(), "0.5".into())
        );
    }
}
