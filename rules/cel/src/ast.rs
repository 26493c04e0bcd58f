//! The syntax tree of an expression. Invariant: every node has an id below `Ast::ids`, and `positions[id]` is where
//! in the source (counted in code points) messages about it point.

/// An expression node.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub id: usize,
    pub kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident(String),
    Select {
        operand: Box<Expr>,
        field: String,
        /// Whether only presence is asked for (`has`).
        test: bool,
    },
    Call {
        function: String,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    List(Vec<Element>),
    Map(Vec<Entry>),
    Struct {
        name: String,
        fields: Vec<FieldInit>,
    },
    Fold(Box<Fold>),
}

/// A constant of the source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Str(String),
    Bytes(Vec<u8>),
}

/// An element of a list literal.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub expr: Expr,
    pub optional: bool,
}

/// An entry of a map literal.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

/// A field of an object literal.
#[derive(Clone, Debug)]
pub(crate) struct FieldInit {
    pub id: usize,
    pub name: String,
    pub value: Expr,
    pub optional: bool,
}

/// A comprehension, as macros expand to.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub range: Expr,
    pub var: String,
    /// The second variable, of two-variable macros.
    pub var2: Option<String>,
    pub accu: String,
    pub init: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
}

impl Fold {
    /// Whether this only names a value (`cel.bind` and macros built like it).
    pub fn is_bind(&self) -> bool {
        matches!(&self.range.kind, Kind::List(list) if list.is_empty())
            && matches!(self.condition.kind, Kind::Literal(Literal::Bool(false)))
            && self.accu != crate::macros::OLD_ACCUMULATOR
    }
}

impl Expr {
    /// The dotted name that identifiers and selections spell.
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select {
                operand,
                field,
                test: false,
            } => Some(format!("{}.{field}", operand.qualified_name()?)),
            _ => None,
        }
    }
}
