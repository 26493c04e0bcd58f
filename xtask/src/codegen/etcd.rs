//! The messages of etcd's v3 API for `engines/etcd`: Rust structs and a table of fields, from the protobuf files in
//! the Go module cache. Comments and options are cut before parsing, so that the output holds declarations only.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

/// The files that are read, as they import each other, and where they are in the module.
const FILES: &[(&str, &str)] = &[
    ("etcd/api/mvccpb/kv.proto", "mvccpb/kv.proto"),
    ("etcd/api/authpb/auth.proto", "authpb/auth.proto"),
    ("rpc.proto", "etcdserverpb/rpc.proto"),
];

/// Writes the generated files from the module `go.etcd.io/etcd/api/v3` at `module` into `out`; `scratch` is a
/// directory that may be written to.
pub fn run(module: &Path, scratch: &Path, out: &Path) -> Result<()> {
    let mut routes = BTreeMap::new();
    for (name, file) in FILES {
        let source = module.join(file);
        let text = std::fs::read_to_string(&source)
            .with_context(|| format!("read {}", source.display()))?;
        let text = without_comments(&text);
        http_routes(&text, &mut routes);
        let target = scratch.join(name);
        std::fs::create_dir_all(target.parent().unwrap_or(scratch))?;
        std::fs::write(&target, declarations(&text))
            .with_context(|| format!("write {}", target.display()))?;
    }
    let set = protox::compile([FILES[2].0], [scratch]).context("parse etcd's protobuf files")?;
    std::fs::create_dir_all(out)?;
    let table = table(&set, &routes)?;
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(out)
        .compile_fds(set)
        .context("generate etcd's messages")?;
    write(&out.join("table.rs"), &table)
}

/// The newest version of the module in the cache.
pub fn module(cache: &Path) -> Result<PathBuf> {
    let api = cache.join("go.etcd.io/etcd/api");
    let mut versions: Vec<PathBuf> = std::fs::read_dir(&api)
        .with_context(|| format!("read {}", api.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    versions.sort();
    versions
        .pop()
        .with_context(|| format!("{} holds no version of etcd's API", api.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| {
            line.split_once("//")
                .filter(|(head, _)| !head.contains('"'))
                .map_or(line, |(head, _)| head)
        })
        .map(|line| format!("{line}\n"))
        .collect()
}

/// `post` paths by method name, the first one first.
fn http_routes(text: &str, routes: &mut BTreeMap<String, Vec<String>>) {
    let mut method = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("rpc ") {
            method = rest.split('(').next().unwrap_or_default().trim().to_owned();
        } else if let Some(path) = line.strip_prefix("post: \"") {
            let path = path.split('"').next().unwrap_or_default();
            routes
                .entry(method.clone())
                .or_default()
                .push(path.to_owned());
        }
    }
}

/// The text without options and without the imports that only options need.
fn declarations(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("option ") {
        out.push_str(&rest[..at]);
        let mut depth = 0usize;
        let end = rest[at..].char_indices().find(|(_, c)| match c {
            '{' => {
                depth += 1;
                false
            }
            '}' => {
                depth = depth.saturating_sub(1);
                false
            }
            ';' => depth == 0,
            _ => false,
        });
        rest = end.map_or("", |(length, _)| &rest[at + length + 1..]);
    }
    out.push_str(rest);
    let mut kept = String::new();
    for line in out.lines() {
        let unwanted = ["gogoproto", "google/api", "openapiv2", "versionpb"];
        if line.trim_start().starts_with("import")
            && unwanted.iter().any(|name| line.contains(name))
        {
            continue;
        }
        let line = match (line.find('['), line.rfind(']')) {
            (Some(from), Some(to)) => format!("{}{}", &line[..from], &line[to + 1..]),
            _ => line.to_owned(),
        };
        kept.push_str(&line);
        kept.push('\n');
    }
    kept
}

#[derive(Default)]
struct Names {
    messages: Vec<(String, DescriptorProto)>,
    enums: Vec<(String, EnumDescriptorProto)>,
}

impl Names {
    fn collect(
        &mut self,
        prefix: &str,
        messages: &[DescriptorProto],
        enums: &[EnumDescriptorProto],
    ) {
        for one in enums {
            self.enums
                .push((format!("{prefix}.{}", one.name()), one.clone()));
        }
        for one in messages {
            let name = format!("{prefix}.{}", one.name());
            self.collect(&name, &one.nested_type, &one.enum_type);
            self.messages.push((name, one.clone()));
        }
    }

    fn message(&self, name: &str) -> Result<usize> {
        let found = self.messages.iter().position(|(known, _)| known == name);
        found.with_context(|| format!("no message is called {name}"))
    }

    fn kind(&self, kind: Type, name: &str) -> Result<String> {
        Ok(match kind {
            Type::Bool => "Bool".into(),
            Type::Bytes => "Bytes".into(),
            Type::String => "Text".into(),
            Type::Int64 => "Int64".into(),
            Type::Uint64 => "Uint64".into(),
            Type::Int32 => "Int32".into(),
            Type::Uint32 => "Uint32".into(),
            Type::Message => format!("Message({})", self.message(name)?),
            Type::Enum => {
                let found = self.enums.iter().position(|(known, _)| known == name);
                format!(
                    "Enum({})",
                    found.with_context(|| format!("no enum is called {name}"))?
                )
            }
            other => bail!("fields of type {other:?} are not known"),
        })
    }
}

fn table(set: &FileDescriptorSet, routes: &BTreeMap<String, Vec<String>>) -> Result<String> {
    let mut names = Names::default();
    for file in &set.file {
        names.collect(
            &format!(".{}", file.package()),
            &file.message_type,
            &file.enum_type,
        );
    }
    names.messages.sort_by(|a, b| a.0.cmp(&b.0));
    names.enums.sort_by(|a, b| a.0.cmp(&b.0));
    let mut out = String::from("// Generated by `cargo xtask codegen`.\n\n");
    writeln!(
        out,
        "/// Every message, by name.\npub static MESSAGES: &[Message] = &["
    )?;
    for (name, message) in &names.messages {
        writeln!(out, "    Message {{ name: {:?}, fields: &[", &name[1..])?;
        for field in &message.field {
            let kind = names.kind(field.r#type(), field.type_name())?;
            let repeated = field.label() == Label::Repeated;
            writeln!(
                out,
                "        Field {{ name: {:?}, number: {}, kind: Kind::{kind}, repeated: {repeated}, oneof: {} }},",
                field.name(),
                field.number(),
                field.oneof_index.is_some(),
            )?;
        }
        writeln!(out, "    ] }},")?;
    }
    writeln!(
        out,
        "];\n\n/// The names and numbers of every enum.\npub static ENUMS: &[&[(&str, i32)]] = &["
    )?;
    for (_, one) in &names.enums {
        let values: Vec<String> = one
            .value
            .iter()
            .map(|v| format!("({:?}, {})", v.name(), v.number()))
            .collect();
        writeln!(out, "    &[{}],", values.join(", "))?;
    }
    writeln!(
        out,
        "];\n\n/// Every call.\npub static METHODS: &[Method] = &["
    )?;
    for (file, service) in set
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(move |s| (file, s)))
    {
        for method in &service.method {
            writeln!(
                out,
                "    Method {{ path: \"/{}.{}/{}\", http: &{:?}, input: {}, output: {}, client_streams: {}, server_streams: {} }},",
                file.package(),
                service.name(),
                method.name(),
                routes.get(method.name()).cloned().unwrap_or_default(),
                names.message(method.input_type())?,
                names.message(method.output_type())?,
                method.client_streaming(),
                method.server_streaming(),
            )?;
        }
    }
    out.push_str("];\n");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_comments_are_cut() {
        let text = "// a\nimport \"gogoproto/gogo.proto\";\noption (x) = { a: { b: 1; } };\nmessage M {\n  option (v) = \"3\";\n  int64 a = 1 [(f)=\"3\"]; // b\n}\n";
        let cut = declarations(&without_comments(text));
        assert!(
            !cut.contains("option") && !cut.contains("gogo") && !cut.contains('['),
            "{cut}"
        );
        assert!(cut.contains("int64 a = 1 ;"), "{cut}");
    }

    #[test]
    fn routes_come_from_the_annotations() {
        let mut routes = BTreeMap::new();
        http_routes(
            "rpc Range(A) returns (B) {\n post: \"/v3/kv/range\"\n",
            &mut routes,
        );
        assert_eq!(routes["Range"], ["/v3/kv/range"]);
    }
}
