//! Columns as kubectl prints them: no lines, two spaces between, upper-case heads; easy on eyes and on `awk`.

use unicode_width::UnicodeWidthStr as _;

/// Rows under heads. Cells may hold colours.
pub(crate) struct Table {
    columns: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads.
    pub(crate) fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self {
            columns: N,
            rows: vec![heads.map(super::bold).into()],
        }
    }

    /// Adds a row. It has as many cells as there are heads.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.columns, "every row has a cell for each head");
        self.rows.push(cells.into());
    }

    /// The table as text, a line per row.
    pub(crate) fn render(&self) -> String {
        let mut widths = vec![0; self.columns];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(visible_width(cell));
            }
        }
        let mut out = String::new();
        for row in &self.rows {
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                out.push_str(cell);
                if index + 1 < row.len() {
                    out.extend(std::iter::repeat_n(' ', width - visible_width(cell) + 2));
                }
            }
            out.push('\n');
        }
        out
    }
}

/// Columns that `text` takes on a terminal.
pub(crate) fn visible_width(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().width()
}

/// As much of a line as `width` columns show. Colours are kept, and ended where the line is cut.
pub(crate) fn cut(line: &str, width: usize) -> String {
    if visible_width(line) <= width {
        return line.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    let mut escape = false;
    for char in line.chars() {
        escape |= char == '\x1b';
        if !escape {
            used += unicode_width::UnicodeWidthChar::width(char).unwrap_or(0);
            if used > width.saturating_sub(1) {
                break;
            }
        }
        // An escape sequence for colours ends with its `m`.
        escape &= char != 'm';
        out.push(char);
    }
    out + "…\x1b[0m"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_whatever_the_cells_hold() {
        let mut table = Table::new(["NAME", "STATE", "NOTE"]);
        table.row(["edge-1".to_owned(), super::super::good("ok"), String::new()]);
        table.row(["日本".to_owned(), "behind".to_owned(), "long note".to_owned()]);
        let plain = anstream::adapter::strip_str(&table.render()).to_string();
        assert_eq!(
            plain,
            "NAME    STATE   NOTE\nedge-1  ok      \n日本    behind  long note\n"
        );
    }

    #[test]
    fn cut_lines_fit_and_keep_their_colours() {
        assert_eq!(cut("short", 5), "short");
        let line = format!("{} tail", super::super::bad("abcdef"));
        assert_eq!(cut(&line, 4), "\x1b[31mabc…\x1b[0m");
        assert_eq!(visible_width(&cut(&"日".repeat(10), 7)), 7);
    }
}
