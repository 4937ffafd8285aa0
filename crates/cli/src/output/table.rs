//! Columns as kubectl prints them: no lines, two spaces between, upper-case heads; easy on eyes and on `awk`.

use unicode_width::UnicodeWidthStr as _;

use super::screen::Screen;

/// Narrowest that the last column is cut to.
const MIN_WIDTH: usize = 12;
/// Between two columns.
const GAP: usize = 2;

/// Rows under heads. Cells may hold colours.
pub(crate) struct Table {
    columns: usize,
    /// Columns that all see; the others are for `-o wide`.
    narrow: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads. On a terminal that is too narrow its last column is cut, so messages come last.
    pub(crate) fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self::of(&heads)
    }

    /// As [`Table::new`], for heads that are known only when the program runs.
    pub(crate) fn of(heads: &[&str]) -> Self {
        Self {
            columns: heads.len(),
            narrow: heads.len(),
            rows: vec![heads.iter().map(super::bold).collect()],
        }
    }

    /// The columns from this one on, counted from 0, are for `-o wide` only.
    pub(crate) fn wide_from(mut self, column: usize) -> Self {
        self.narrow = column;
        self
    }

    /// Adds a row. It has as many cells as there are heads.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.cells(cells.into());
    }

    /// As [`Table::row`], for heads that are known only when the program runs.
    pub(crate) fn cells(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns, "every row has a cell for each head");
        self.rows.push(cells);
    }

    /// The table as text, a line per row, as wide as standard output likes it.
    pub(crate) fn render(&self) -> String {
        self.render_on(Screen::current())
    }

    fn render_on(&self, screen: Screen) -> String {
        let shown = if screen.wide { self.columns } else { self.narrow };
        let mut widths = vec![0; shown];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(visible_width(cell));
            }
        }
        let total = widths.iter().sum::<usize>() + GAP * shown.saturating_sub(1);
        let excess = screen.width.map_or(0, |width| total.saturating_sub(width));
        if let Some(width) = widths.last_mut() {
            *width = (*width).min(width.saturating_sub(excess).max(MIN_WIDTH));
        }
        let mut out = String::new();
        for row in &self.rows {
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let cell = cut(cell, *width);
                out.push_str(&cell);
                if index + 1 < shown {
                    out.extend(std::iter::repeat_n(' ', width - visible_width(&cell) + GAP));
                }
            }
            out.truncate(out.trim_end_matches(' ').len());
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
        assert_eq!(plain, "NAME    STATE   NOTE\nedge-1  ok\n日本    behind  long note\n");
    }

    fn plain(table: &Table, screen: Screen) -> String {
        anstream::adapter::strip_str(&table.render_on(screen)).to_string()
    }

    #[test]
    fn narrow_terminal_cuts_the_last_column_and_no_other() {
        let mut table = Table::new(["NAME", "PROBLEM"]);
        table.row(["a-name-to-be-kept".to_owned(), "a message that is too long".to_owned()]);
        let at = |width| {
            let screen = Screen {
                width,
                ..Screen::default()
            };
            plain(&table, screen)
        };
        assert!(
            at(Some(36)).ends_with("a-name-to-be-kept  a message that i…\n"),
            "{}",
            at(Some(36))
        );
        assert!(
            at(Some(10)).ends_with("a-name-to-be-kept  a message t…\n"),
            "{}",
            at(Some(10))
        );
        assert!(at(None).ends_with("too long\n"));
    }

    #[test]
    fn wide_columns_are_for_wide_output() {
        let mut table = Table::new(["NAME", "HASH"]).wide_from(1);
        table.row(["a".to_owned(), "b".to_owned()]);
        assert_eq!(plain(&table, Screen::default()), "NAME\na\n");
        let wide = Screen {
            wide: true,
            ..Screen::default()
        };
        assert_eq!(plain(&table, wide), "NAME  HASH\na     b\n");
    }

    #[test]
    fn cut_lines_fit_and_keep_their_colours() {
        assert_eq!(cut("short", 5), "short");
        let line = format!("{} tail", super::super::bad("abcdef"));
        assert_eq!(cut(&line, 4), "\x1b[31mabc…\x1b[0m");
        assert_eq!(visible_width(&cut(&"日".repeat(10), 7)), 7);
    }
}
