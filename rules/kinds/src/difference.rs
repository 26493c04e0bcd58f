//! The unified diff of two structs that upstream puts into errors about fields that cannot change: both printed as
//! indented JSON in their internal form, compared line by line as Python's difflib does (Go has a port of it).
//! Invariant: no file headers; three lines of context.

use crate::internal;
use corten_core::{Message, MsgRef};
use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;

const CONTEXT: usize = 3;
/// From so many lines on, lines that come often are not looked at first.
const POPULAR_FROM: usize = 200;

/// How `new` differs from `old`; empty when it does not.
pub fn of_structs<M: Message>(old: &M, new: &M) -> String {
    let (old, new) = (MsgRef::new(old), MsgRef::new(new));
    of_texts(
        &indented(&internal::text(old)),
        &indented(&internal::text(new)),
    )
}

/// The unified diff of two texts.
pub fn of_texts(old: &str, new: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let mut out = String::new();
    for group in groups(&steps(&a, &b)) {
        let (first, last) = (&group[0], &group[group.len() - 1]);
        let (from, to) = (
            span(first.a.start..last.a.end),
            span(first.b.start..last.b.end),
        );
        let _ = writeln!(out, "@@ -{from} +{to} @@");
        for step in &group {
            let (removed, added) = if step.equal {
                (' ', None)
            } else {
                ('-', Some('+'))
            };
            for line in &a[step.a.clone()] {
                let _ = writeln!(out, "{removed}{line}");
            }
            for line in added.iter().flat_map(|_| &b[step.b.clone()]) {
                let _ = writeln!(out, "+{line}");
            }
        }
    }
    out
}

fn span(range: Range<usize>) -> String {
    match range.len() {
        1 => (range.start + 1).to_string(),
        0 => format!("{},0", range.start),
        length => format!("{},{length}", range.start + 1),
    }
}

/// Lines of `a` that become lines of `b`.
#[derive(Clone, Debug)]
struct Step {
    equal: bool,
    a: Range<usize>,
    b: Range<usize>,
}

fn steps(a: &[&str], b: &[&str]) -> Vec<Step> {
    let mut blocks = Vec::new();
    let places = places(b);
    matching(a, b, &places, (0..a.len(), 0..b.len()), &mut blocks);
    blocks.push((a.len(), b.len(), 0));
    let mut steps: Vec<Step> = Vec::new();
    let (mut i, mut j) = (0, 0);
    for (at_a, at_b, size) in blocks {
        if i < at_a || j < at_b {
            steps.push(Step {
                equal: false,
                a: i..at_a,
                b: j..at_b,
            });
        }
        (i, j) = (at_a + size, at_b + size);
        match steps.last_mut() {
            Some(last) if last.equal && size > 0 => (last.a.end, last.b.end) = (i, j),
            _ if size > 0 => steps.push(Step {
                equal: true,
                a: at_a..i,
                b: at_b..j,
            }),
            _ => {}
        }
    }
    steps
}

fn places<'a>(b: &[&'a str]) -> HashMap<&'a str, Vec<usize>> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, line) in b.iter().enumerate() {
        places.entry(*line).or_default().push(at);
    }
    if b.len() >= POPULAR_FROM {
        places.retain(|_, at| at.len() <= b.len() / 100 + 1);
    }
    places
}

type Part = (Range<usize>, Range<usize>);

/// The longest run that both parts share, then what is left and right of it. The depth is that of the runs, which
/// the size of an object bounds.
fn matching(
    a: &[&str],
    b: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    (in_a, in_b): Part,
    blocks: &mut Vec<(usize, usize, usize)>,
) {
    let (i, j, size) = longest(a, b, places, (&in_a, &in_b));
    if size == 0 {
        return;
    }
    if in_a.start < i && in_b.start < j {
        matching(a, b, places, (in_a.start..i, in_b.start..j), blocks);
    }
    blocks.push((i, j, size));
    if i + size < in_a.end && j + size < in_b.end {
        matching(
            a,
            b,
            places,
            (i + size..in_a.end, j + size..in_b.end),
            blocks,
        );
    }
}

fn longest(
    a: &[&str],
    b: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    (in_a, in_b): (&Range<usize>, &Range<usize>),
) -> (usize, usize, usize) {
    let mut best = (in_a.start, in_b.start, 0);
    // For each line of `b`, the length of the run that ends there and at the line of `a` before.
    let mut ending: HashMap<usize, usize> = HashMap::new();
    for i in in_a.clone() {
        let mut next = HashMap::new();
        let at = places.get(a[i]).into_iter().flatten().copied();
        for j in at.filter(|j| in_b.contains(j)) {
            let before = j.checked_sub(1).and_then(|j| ending.get(&j));
            let length = before.copied().unwrap_or(0) + 1;
            next.insert(j, length);
            if length > best.2 {
                best = (i + 1 - length, j + 1 - length, length);
            }
        }
        ending = next;
    }
    let (mut i, mut j, mut size) = best;
    while i > in_a.start && j > in_b.start && a[i - 1] == b[j - 1] {
        (i, j, size) = (i - 1, j - 1, size + 1);
    }
    while i + size < in_a.end && j + size < in_b.end && a[i + size] == b[j + size] {
        size += 1;
    }
    (i, j, size)
}

/// Steps that belong together with what is around them; long stretches without change part them.
fn groups(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut steps = steps.to_vec();
    if let Some(first) = steps.first_mut().filter(|s| s.equal) {
        first.a.start = first.a.start.max(first.a.end.saturating_sub(CONTEXT));
        first.b.start = first.b.start.max(first.b.end.saturating_sub(CONTEXT));
    }
    if let Some(last) = steps.last_mut().filter(|s| s.equal) {
        last.a.end = last.a.end.min(last.a.start + CONTEXT);
        last.b.end = last.b.end.min(last.b.start + CONTEXT);
    }
    let mut groups = vec![Vec::new()];
    for mut step in steps {
        if step.equal && step.a.len() > 2 * CONTEXT {
            let head = Step {
                equal: true,
                a: step.a.start..step.a.start + CONTEXT,
                b: step.b.start..step.b.start + CONTEXT,
            };
            groups
                .last_mut()
                .into_iter()
                .for_each(|g| g.push(head.clone()));
            groups.push(Vec::new());
            step.a.start = step.a.end - CONTEXT;
            step.b.start = step.b.end - CONTEXT;
        }
        groups
            .last_mut()
            .into_iter()
            .for_each(|g| g.push(step.clone()));
    }
    groups.retain(|g| g.iter().any(|s| !s.equal));
    groups
}

/// JSON with each member and item on a line of its own, indented by one space a level.
fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut chars = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    };
    while let Some(c) = chars.next() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                if let Some(close) = chars.next_if(|n| matches!(n, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                quoted = c == '"';
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::core::v1::{HostPathVolumeSource, PersistentVolumeSource};

    #[test]
    fn a_changed_source_reads_as_upstream_says_it() {
        let at = |path: &str| PersistentVolumeSource {
            host_path: Some(Box::new(HostPathVolumeSource {
                path: path.into(),
                type_: Some("".into()),
            })),
            ..PersistentVolumeSource::default()
        };
        assert_eq!(
            of_structs(&at("/tmp/x"), &at("/tmp/y")),
            "@@ -2,7 +2,7 @@\n  \"GCEPersistentDisk\": null,\n  \"AWSElasticBlockStore\": null,\n  \"HostPath\": {\n\
             -  \"Path\": \"/tmp/x\",\n+  \"Path\": \"/tmp/y\",\n   \"Type\": \"\"\n  },\n  \"Glusterfs\": null,\n"
        );
        assert_eq!(of_structs(&at("/a"), &at("/a")), "");
    }

    #[test]
    fn changes_far_apart_come_in_groups_of_their_own() {
        let lines = |marks: [&str; 2]| {
            let mut all: Vec<String> = (0..20).map(|n| n.to_string()).collect();
            (all[2], all[17]) = (marks[0].into(), marks[1].into());
            all.join("\n")
        };
        assert_eq!(
            of_texts(&lines(["a", "b"]), &lines(["c", "d"])),
            "@@ -1,6 +1,6 @@\n 0\n 1\n-a\n+c\n 3\n 4\n 5\n@@ -15,6 +15,6 @@\n 14\n 15\n 16\n-b\n+d\n 18\n 19\n"
        );
        assert_eq!(of_texts("a", "b"), "@@ -1 +1 @@\n-a\n+b\n");
    }

    #[test]
    fn braces_in_texts_are_no_structure() {
        assert_eq!(
            indented(r#"{"a":"{\"x\":[1,2]}","b":[],"c":[1]}"#),
            "{\n \"a\": \"{\\\"x\\\":[1,2]}\",\n \"b\": [],\n \"c\": [\n  1\n ]\n}"
        );
    }
}
