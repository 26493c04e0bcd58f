//! Messages about an expression's text, shown the way upstream shows them: place, message, the line and a caret.

/// One thing wrong with an expression, before it is evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Where, in code points from the start of the source.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

const SNIPPET_MAX: usize = 16384;

/// All issues as one text: `ERROR: <input>:1:5: ...` with the line and a caret below each, ordered by place.
pub fn display(source: &str, issues: &[Issue]) -> String {
    let mut ordered: Vec<&Issue> = issues.iter().collect();
    ordered.sort_by_key(|i| i.offset);
    let texts: Vec<String> = ordered.iter().take(100).map(|i| one(source, i)).collect();
    let mut text = texts.join("\n");
    if issues.len() > 100 {
        text += &format!("\n{} more errors were truncated", issues.len() - 100);
    }
    text
}

fn one(source: &str, issue: &Issue) -> String {
    if source.is_empty() {
        // There is no line to show.
        return format!("ERROR: <input>:1:0: {}", issue.message);
    }
    let mut line_number = 1;
    let mut start = 0;
    for (i, c) in source.chars().enumerate() {
        if i >= issue.offset {
            break;
        }
        if c == '\n' {
            line_number += 1;
            start = i + 1;
        }
    }
    let column = issue.offset.saturating_sub(start);
    let mut text = format!(
        "ERROR: <input>:{line_number}:{}: {}",
        column + 1,
        issue.message
    );
    let snippet = source.split('\n').nth(line_number - 1).unwrap_or("");
    if snippet.len() > SNIPPET_MAX {
        return text;
    }
    let snippet = snippet.replace('\t', " ");
    text += "\n | ";
    text += &snippet;
    text += "\n | ";
    let mut chars = snippet.chars();
    for c in chars.by_ref().take(column) {
        text.push(if c.len_utf8() > 1 { '\u{ff0e}' } else { '.' });
    }
    let wide = chars.next().is_some_and(|c| c.len_utf8() > 1);
    text.push(if wide { '\u{ff3e}' } else { '^' });
    text
}
