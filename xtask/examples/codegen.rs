//! Runs the code generator by itself: `cargo run -p xtask --example codegen -- <k8s.io in the module cache>`.

#[path = "../src/codegen/mod.rs"]
mod codegen;

fn main() -> anyhow::Result<()> {
    let modules = std::env::args()
        .nth(1)
        .expect("the directory k8s.io of the Go module cache")
        .into();
    let out = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/api/src/generated");
    codegen::run(&codegen::Options {
        modules,
        version: "v0.36.3".into(),
        kubernetes: "v1.36.3".into(),
        out,
    })
}
