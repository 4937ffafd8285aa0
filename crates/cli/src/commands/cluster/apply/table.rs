//! Clusters as CSV: a header, and a line for each.

use csv::{ReaderBuilder, StringRecord, Trim};
use driftless_model::{
    cluster::{Change, LabelEdit, VarEdit, VarPath},
    name::{ChannelName, check_label},
};

use super::{Problem, Row};
use crate::commands::cluster::vars::scalar;

/// What a column holds.
#[derive(Debug, PartialEq)]
enum Column {
    Name,
    Channel,
    Label(String),
    Var(VarPath),
}

/// Reads a text.
pub(super) fn read(text: &str) -> (Vec<Row>, Vec<Problem>) {
    let mut reader = ReaderBuilder::new()
        .trim(Trim::All)
        .flexible(true)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    let columns = match reader.headers() {
        Ok(header) => columns(header, line(text, header), &mut problems),
        Err(error) => return (rows, vec![broken(&error)]),
    };
    if !problems.is_empty() {
        return (rows, problems);
    }
    for record in reader.records() {
        match record {
            Ok(record) => match row(&columns, &record, line(text, &record)) {
                Ok(row) => rows.push(row),
                Err(problem) => problems.push(problem),
            },
            Err(error) => problems.push(broken(&error)),
        }
    }
    (rows, problems)
}

fn columns(header: &StringRecord, line: usize, problems: &mut Vec<Problem>) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for head in header {
        match column(head) {
            Ok(column) if columns.contains(&column) => {
                problems.push(Problem::new(line, format!("column `{head}` is there twice")));
            }
            Ok(column) => columns.push(column),
            Err(text) => problems.push(Problem::new(line, text)),
        }
    }
    if problems.is_empty() && !columns.contains(&Column::Name) {
        problems.push(Problem::new(line, "the header has no column `name`"));
    }
    columns
}

fn column(head: &str) -> Result<Column, String> {
    match (head, head.split_once('.')) {
        ("name", _) => Ok(Column::Name),
        ("channel", _) => Ok(Column::Channel),
        (_, Some(("labels", key))) => match check_label(key, "") {
            Ok(()) => Ok(Column::Label(key.to_owned())),
            Err(error) => Err(error.to_string()),
        },
        (_, Some(("vars", path))) => match path.parse() {
            Ok(path) => Ok(Column::Var(path)),
            Err(error) => Err(error.to_string()),
        },
        _ => Err(format!(
            "column `{head}` is not known: there are name, channel, labels.KEY and vars.NAME"
        )),
    }
}

fn row(columns: &[Column], record: &StringRecord, line: usize) -> Result<Row, Problem> {
    if record.len() != columns.len() {
        let text = format!("it has {} cells, and the header {}", record.len(), columns.len());
        return Err(Problem::new(line, text));
    }
    let mut name = None;
    let mut labels = LabelEdit {
        overwrite: true,
        ..LabelEdit::default()
    };
    let (mut vars, mut channel) = (VarEdit::default(), None);
    for (column, cell) in columns.iter().zip(record) {
        match column {
            Column::Name => name = Some(cell.parse().map_err(|error| Problem::new(line, error))?),
            Column::Channel if cell.is_empty() => {}
            Column::Channel => channel = Some(cell.parse::<ChannelName>().map_err(|error| Problem::new(line, error))?),
            Column::Label(key) if cell.is_empty() => {
                labels.remove.insert(key.clone());
            }
            Column::Label(key) => {
                labels.set.insert(key.clone(), cell.to_owned());
            }
            Column::Var(path) if cell.is_empty() => {
                vars.remove.insert(path.clone());
            }
            Column::Var(path) => {
                vars.set.insert(path.clone(), scalar(cell));
            }
        }
    }
    Ok(Row {
        line,
        name: name.ok_or_else(|| Problem::new(line, "it has no name"))?,
        change: Change { channel, labels, vars },
    })
}

/// Where a record begins. Its position is that of the comments and empty lines before it.
fn line(text: &str, record: &StringRecord) -> usize {
    let Some(position) = record.position() else { return 1 };
    let start = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let rest = text.get(start..).unwrap_or_default();
    let skipped = rest.lines().take_while(|line| line.is_empty() || line.starts_with('#'));
    usize::try_from(position.line())
        .unwrap_or(usize::MAX)
        .saturating_add(skipped.count())
}

fn broken(error: &csv::Error) -> Problem {
    let line = error.position().map_or(1, csv::Position::line);
    Problem::new(usize::try_from(line).unwrap_or(usize::MAX), error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(text: &str) -> Vec<String> {
        let (_, problems) = read(text);
        problems
            .iter()
            .map(|problem| format!("{}: {}", problem.line, problem.text))
            .collect()
    }

    #[test]
    fn cells_set_and_empty_cells_take_away() {
        let text = "name,channel,labels.region,labels.example.com/tier,vars.replicas,vars.db.host\n\
                    # a comment\n\
                    edge-1, prod ,eu,edge,3,\"a,b\"\n\
                    edge-2,,,,,\n";
        let (rows, problems) = read(text);
        assert_eq!(problems, []);
        let first = &rows[0];
        assert_eq!((first.line, first.name.as_str()), (3, "edge-1"));
        assert_eq!(first.change.channel.as_ref().unwrap().as_str(), "prod");
        assert_eq!(first.change.labels.set["example.com/tier"], "edge");
        assert_eq!(first.change.vars.set[&"replicas".parse().unwrap()], json!(3));
        assert_eq!(first.change.vars.set[&"db.host".parse().unwrap()], json!("a,b"));
        let second = &rows[1];
        assert_eq!((second.line, &second.change.channel), (4, &None));
        assert_eq!(
            (second.change.labels.remove.len(), second.change.vars.remove.len()),
            (2, 2)
        );
    }

    #[test]
    fn every_problem_has_its_line() {
        assert_eq!(
            told("name,colour,labels.a b,name\nx,1,2,3\n"),
            [
                "1: column `colour` is not known: there are name, channel, labels.KEY and vars.NAME",
                "1: label key `a b` is not valid: use `name` or `dns.prefix/name`, the name with 1 to 63 letters, \
                 digits, `-`, `_` or `.`",
                "1: column `name` is there twice",
            ]
        );
        assert_eq!(told("channel\nprod\n"), ["1: the header has no column `name`"]);
        assert_eq!(
            told("name,channel\nEdge,prod\nedge-1\nedge-2,Prod\n"),
            [
                "2: cluster name `Edge` is not valid: use 1 to 63 lower-case letters, digits or `-`, and start and end \
                 with a letter or digit",
                "3: it has 1 cells, and the header 2",
                "4: channel name `Prod` is not valid: use 1 to 63 lower-case letters, digits or `-`, and start and end \
                 with a letter or digit",
            ]
        );
    }
}
