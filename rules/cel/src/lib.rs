//! The Common Expression Language as Kubernetes v1.36 speaks it: parser, type checker, cost estimates, evaluation.
//! Invariant: pure; an expression's cost is bounded by its [`Budget`], its nesting by the parser.
//! Left out: named time zones, protocol buffers other than what Kubernetes declares.
//!
//! ```
//! use corten_cel::{Activation, Budget, Env, Type};
//! let env = Env::builder().variable("object", Type::Dyn).build();
//! let program = env.compile("object.spec.replicas <= 5", &[Type::Bool]).unwrap();
//! let object = corten_core::json_text::parse(br#"{"spec": {"replicas": 3}}"#).unwrap();
//! let activation = Activation::new().data("object", &object);
//! let answer = program.evaluate(&activation, &mut Budget::default()).unwrap();
//! assert_eq!(answer.as_bool(), Some(true));
//! ```

mod activation;
mod actual;
mod ast;
mod authorizer;
mod call_cost;
mod calls;
mod check;
mod convert;
mod cost;
mod decl;
mod env;
mod equal;
mod escape;
mod eval;
mod formats;
mod functions;
mod lexer;
mod lists;
mod literals;
mod macros;
mod net;
mod ops;
mod parser;
mod printf;
mod regexes;
mod schema;
mod semver;
mod source;
mod strings;
mod time;
mod types;
mod unescape;
mod url;
mod val;

pub use activation::{Activation, Budget, CALL_COST_MAX, EvalError, Variables};
pub use authorizer::{Authorizer, Authz, Check, Decision, Subject};
pub use cost::Cost;
pub use decl::{Decl, REQUEST_BYTES_MAX};
pub use env::{Env, EnvBuilder, Issues, Program};
pub use escape::{escape, is_reserved, unescape};
pub use formats::text_format;
pub use regexes::compile as regular_expression;
pub use schema::Schema;
pub use source::{Issue, display};
pub use types::Type;
pub use val::{Fields, Key, ListVal, MapVal, ObjectVal, Text, Val};
