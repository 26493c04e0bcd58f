//! Type declarations of Go files: structs with their tags and markers, named types and string constants.
//! Reads gofmt's layout line by line; function bodies and everything else are skipped.

use std::collections::BTreeMap;

/// The declarations of one file set (a Go package).
#[derive(Debug, Default)]
pub struct Package {
    /// Structs in the order of declaration.
    pub structs: Vec<Struct>,
    /// Other named types.
    pub named: BTreeMap<String, Named>,
    /// Text constants: name to type and value.
    pub consts: Vec<Const>,
    /// The value of `const GroupName`.
    pub group: Option<String>,
}

/// `Name Type = "value"`.
#[derive(Debug)]
pub struct Const {
    pub name: String,
    pub of: String,
    pub value: String,
}

/// Import alias to path, for one file.
pub type Imports = BTreeMap<String, String>;

/// `type X Y` or `type X = Y`.
#[derive(Debug)]
pub struct Named {
    pub target: String,
    pub alias: bool,
    pub markers: Vec<String>,
    pub imports: Imports,
}

/// A struct declaration.
#[derive(Debug, Clone)]
pub struct Struct {
    pub name: String,
    pub markers: Vec<String>,
    pub fields: Vec<Field>,
    pub imports: Imports,
}

/// A field; embedded ones have no name.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: Option<String>,
    pub kind: String,
    pub tags: BTreeMap<String, String>,
    pub markers: Vec<String>,
}

/// Adds the declarations of one file.
pub fn parse(text: &str, into: &mut Package) {
    let mut lines = text.lines().peekable();
    let mut imports = Imports::new();
    let mut comments = Comments::default();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if comments.take(trimmed) {
            continue;
        }
        if trimmed == "import (" {
            for line in lines.by_ref().take_while(|l| l.trim() != ")") {
                import(line.trim(), &mut imports);
            }
        } else if let Some(rest) = trimmed.strip_prefix("import ") {
            import(rest, &mut imports);
        } else if line.starts_with("type ") {
            let markers = comments.markers();
            declare(trimmed, markers, &mut lines, &imports, into);
        } else if trimmed.contains('=') && trimmed.contains('"') {
            constant(trimmed, into);
        }
        comments.clear();
    }
}

/// Comment lines above a declaration; one blank line may lie between.
#[derive(Default)]
struct Comments {
    lines: Vec<String>,
    blanks: u32,
}

impl Comments {
    /// Whether the line is a comment or blank, and so kept for the declaration that follows.
    fn take(&mut self, line: &str) -> bool {
        if let Some(comment) = line.strip_prefix("//") {
            if self.blanks > 1 {
                self.lines.clear();
            }
            self.blanks = 0;
            self.lines.push(comment.trim().to_string());
            return true;
        }
        self.blanks += u32::from(line.is_empty());
        line.is_empty()
    }
    fn markers(&self) -> Vec<String> {
        if self.blanks > 1 {
            Vec::new()
        } else {
            self.lines
                .iter()
                .filter(|l| l.starts_with('+'))
                .cloned()
                .collect()
        }
    }
    fn clear(&mut self) {
        self.lines.clear();
        self.blanks = 0;
    }
}

fn import(line: &str, imports: &mut Imports) {
    let Some((alias, path)) = line.split_once('"') else {
        return;
    };
    let path = path.trim_end_matches('"').to_string();
    let alias = alias.trim();
    let name = if alias.is_empty() {
        path.rsplit('/').next().unwrap_or_default().to_string()
    } else {
        alias.to_string()
    };
    imports.insert(name, path);
}

fn constant(line: &str, into: &mut Package) {
    let line = line.strip_prefix("const ").unwrap_or(line);
    let Some((left, right)) = line.split_once('=') else {
        return;
    };
    let words: Vec<&str> = left.split_whitespace().collect();
    let right = right.trim();
    let value = right.split('"').nth(1).unwrap_or_default().to_string();
    match words[..] {
        ["GroupName"] if right.starts_with('"') => into.group = Some(value),
        [name, of] if right.starts_with('"') => into.consts.push(Const {
            name: name.into(),
            of: of.into(),
            value,
        }),
        [name] if right.ends_with("\")") => {
            let of = right.split('(').next().unwrap_or_default().to_string();
            into.consts.push(Const {
                name: name.into(),
                of,
                value,
            });
        }
        _ => {}
    }
}

fn declare<'a>(
    line: &str,
    markers: Vec<String>,
    lines: &mut impl Iterator<Item = &'a str>,
    imports: &Imports,
    into: &mut Package,
) {
    let line = line
        .trim_start_matches("type ")
        .split("//")
        .next()
        .unwrap_or_default()
        .trim();
    let Some((name, rest)) = line.split_once(' ') else {
        return;
    };
    let (name, rest) = (name.to_string(), rest.trim());
    if rest == "struct{}" {
        into.structs.push(Struct {
            name,
            markers,
            fields: Vec::new(),
            imports: imports.clone(),
        });
    } else if rest == "struct {" {
        let fields = fields(lines);
        into.structs.push(Struct {
            name,
            markers,
            fields,
            imports: imports.clone(),
        });
    } else if !rest.starts_with("interface") && !rest.starts_with("func") {
        let alias = rest.starts_with("= ");
        let target = rest.trim_start_matches("= ").to_string();
        into.named.insert(
            name,
            Named {
                target,
                alias,
                markers,
                imports: imports.clone(),
            },
        );
    }
}

fn fields<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<Field> {
    let mut out = Vec::new();
    let mut markers = Vec::new();
    for line in lines {
        if line.starts_with('}') {
            break;
        }
        let line = line.trim();
        if let Some(comment) = line.strip_prefix("//") {
            let comment = comment.trim();
            if comment.starts_with('+') {
                markers.push(comment.to_string());
            }
        } else if line.is_empty() {
            markers.clear();
        } else {
            let (left, tag) = line.split_once('`').map_or((line, ""), |(l, t)| {
                (l, t.split('`').next().unwrap_or_default())
            });
            let words: Vec<&str> = left
                .split("//")
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect();
            let (name, kind) = match words[..] {
                [kind] => (None, kind),
                [name, kind] => (Some(name.to_string()), kind),
                _ => continue,
            };
            out.push(Field {
                name,
                kind: kind.to_string(),
                tags: tags(tag),
                markers: std::mem::take(&mut markers),
            });
        }
    }
    out
}

fn tags(text: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut rest = text.trim();
    while let Some((key, tail)) = rest.split_once(":\"") {
        let Some((value, tail)) = tail.split_once('"') else {
            break;
        };
        out.insert(key.trim().to_string(), value.to_string());
        rest = tail;
    }
    out
}
