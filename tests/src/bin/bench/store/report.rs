//! What was measured: rows of figures, shown beside each other with their ratios, and as JSON.

use serde_json::{Map, Value, json};

use super::server::Server;
use crate::history::{round, table};

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    Less,
    More,
}

/// One number.
#[derive(Debug, Clone)]
pub struct Figure {
    name: &'static str,
    value: f64,
    digits: i32,
    better: Better,
}

/// A number of which less is better.
pub fn cost(name: &'static str, value: f64, digits: i32) -> Figure {
    let better = Better::Less;
    Figure {
        name,
        value,
        digits,
        better,
    }
}

/// A number of which more is better.
pub fn rate(name: &'static str, value: f64) -> Figure {
    Figure {
        name,
        value,
        digits: 0,
        better: Better::More,
    }
}

/// The figures of one measurement on one server.
#[derive(Debug, Clone)]
pub struct Row {
    /// The server.
    pub server: Server,
    /// What was measured.
    pub what: String,
    /// The figures.
    pub figures: Vec<Figure>,
}

/// One figure of both servers.
struct Pair<'a> {
    what: &'a str,
    figure: &'a Figure,
    etcd: Option<f64>,
    corten: Option<f64>,
}

impl Pair<'_> {
    /// How many times better Corten is.
    fn ratio(&self) -> Option<f64> {
        let (etcd, corten) = (self.etcd?, self.corten?);
        let ratio = match self.figure.better {
            Better::Less => etcd / corten,
            Better::More => corten / etcd,
        };
        ratio.is_finite().then_some(ratio)
    }
}

/// Every figure once, in the order of the rows.
fn pairs(rows: &[Row]) -> Vec<Pair<'_>> {
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    for row in rows {
        for figure in &row.figures {
            let same =
                |pair: &&mut Pair<'_>| pair.what == row.what && pair.figure.name == figure.name;
            let at = match pairs.iter_mut().find(same) {
                Some(pair) => pair,
                None => {
                    pairs.push(Pair {
                        what: &row.what,
                        figure,
                        etcd: None,
                        corten: None,
                    });
                    let last = pairs.len() - 1;
                    &mut pairs[last]
                }
            };
            match row.server {
                Server::Etcd => at.etcd = Some(figure.value),
                Server::Corten => at.corten = Some(figure.value),
            }
        }
    }
    pairs
}

/// Prints every figure of both servers beside each other.
pub fn print(rows: &[Row]) {
    let header = ["what", "figure", "etcd", "corten", "times better"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    let mut last = "";
    for pair in pairs(rows) {
        let number = |value: Option<f64>| match value {
            Some(value) => format!("{value:.*}", pair.figure.digits.max(0) as usize),
            None => "-".to_owned(),
        };
        lines.push(vec![
            if pair.what == last { "" } else { pair.what }.to_owned(),
            pair.figure.name.to_owned(),
            number(pair.etcd),
            number(pair.corten),
            pair.ratio()
                .map_or("-".to_owned(), |ratio| format!("{ratio:.1}")),
        ]);
        last = pair.what;
    }
    table(&lines);
}

/// Every figure and every ratio.
pub fn json(rows: &[Row]) -> Value {
    let mut by_server: Map<String, Value> = Map::new();
    for row in rows {
        let figures: Map<String, Value> = row
            .figures
            .iter()
            .map(|one| (one.name.to_owned(), json!(round(one.value, one.digits))))
            .collect();
        by_server
            .entry(row.server.name())
            .or_insert_with(|| json!({}))[&row.what] = Value::Object(figures);
    }
    let mut better = json!({});
    for pair in pairs(rows) {
        if let Some(ratio) = pair.ratio() {
            better[pair.what][pair.figure.name] = json!(round(ratio, 1));
        }
    }
    by_server.insert("times_better".to_owned(), better);
    Value::Object(by_server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_say_how_many_times_better_corten_is() {
        let row = |server, cpu, per_second| Row {
            server,
            what: "put".to_owned(),
            figures: vec![cost("cpu_us", cpu, 1), rate("per_second", per_second)],
        };
        let rows = [
            row(Server::Etcd, 100.0, 10.0),
            row(Server::Corten, 20.0, 40.0),
        ];
        let json = json(&rows);
        assert_eq!(json["times_better"]["put"]["cpu_us"], 5.0);
        assert_eq!(json["times_better"]["put"]["per_second"], 4.0);
        assert_eq!(json["corten"]["put"]["cpu_us"], 20.0);
    }
}
