//! Pages that need nothing beside them: no scripts, no fonts, no links; light or dark as the reader has it, and as narrow as a
//! phone.

use super::svg::escaped;
use std::fmt::Write;

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #8884 }
body { font: 15px/1.5 sans-serif; max-width: 840px; margin: 2em auto; padding: 0 1em; overflow-wrap: anywhere }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .2em .8em; border-bottom: 1px solid var(--line); text-align: left; overflow-wrap: normal }
.numbers td:nth-child(2) { white-space: nowrap }
.numbers td + td, .numbers th + th { text-align: right }
blockquote { margin: .3em 0 1em; padding-left: 1em; border-left: 3px solid var(--line); white-space: pre-wrap }
.fails { color: #c33; font-weight: bold }
svg { max-width: 100%; height: auto }
.wide svg { min-width: 560px }
";

/// A whole page.
pub(super) fn page(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n<h1>{title}</h1>\n{body}</html>\n"
    )
}

/// A table under a heading row.
pub(super) fn html_table(rows: &[Vec<String>], attributes: &str) -> String {
    let mut out = format!("<div class=\"wide\"><table{attributes}>\n");
    for (n, row) in rows.iter().enumerate() {
        let tag = if n == 0 { "th" } else { "td" };
        let cells: String = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
        let _ = writeln!(out, "<tr>{cells}</tr>");
    }
    out + "</table></div>\n"
}

/// Numbers by row and column, the darker the larger, each told when it is pointed at. `None` stays empty.
pub(super) fn map(columns: &[String], rows: &[(String, Vec<Option<f64>>)], digits: usize) -> String {
    const LEFT: f64 = 110.0;
    const WIDTH: f64 = 800.0;
    const HIGH: f64 = 18.0;
    let most = rows.iter().flat_map(|(_, values)| values.iter().flatten()).fold(0.0, |a: f64, b| a.max(*b));
    let wide = (WIDTH - LEFT) / columns.len().max(1) as f64;
    let height = HIGH * (rows.len() as f64 + 1.0) + 4.0;
    let mut out = format!(
        "<div class=\"wide\"><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"currentColor\">\n"
    );
    let every = columns.len().div_ceil(30).max(1);
    for (n, column) in columns.iter().enumerate().step_by(every) {
        let x = LEFT + (n as f64 + 0.5) * wide;
        let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"12\" text-anchor=\"middle\">{}</text>", escaped(column));
    }
    for (r, (name, values)) in rows.iter().enumerate() {
        let y = HIGH * (r as f64 + 1.0);
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 13.0,
            escaped(name)
        );
        for (n, (value, column)) in values.iter().zip(columns).enumerate() {
            let Some(value) = value else { continue };
            let share = if most > 0.0 { value / most } else { 0.0 };
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#4477aa\" fill-opacity=\"{:.3}\">\
                 <title>{} {}: {value:.digits$}</title></rect>",
                LEFT + n as f64 * wide,
                (wide - 1.0).max(1.0),
                HIGH - 1.0,
                0.08 + 0.92 * share,
                escaped(name),
                escaped(column)
            );
        }
    }
    out + "</svg></div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_a_field_for_each_value() {
        let columns = ["0", "1"].map(str::to_owned);
        let rows = [("q <1>".to_owned(), vec![Some(2.0), None]), ("k".to_owned(), vec![Some(0.0), Some(1.0)])];
        let svg = map(&columns, &rows, 2);
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.contains("<title>q &lt;1&gt; 0: 2.00</title>") && svg.contains("fill-opacity=\"1.000\""));
        assert!(page("a & b", "").contains("<title>a &amp; b</title>"));
    }
}
