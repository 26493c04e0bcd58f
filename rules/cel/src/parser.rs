//! Tokens into a syntax tree, macros expanded. Invariant: nesting is bounded (`DEPTH_MAX`), so neither this nor what
//! walks the tree later runs out of stack. Left out: recovery after the first syntax error.

use crate::ast::{Element, Entry, Expr, FieldInit, Kind, Literal};
use crate::lexer::{Token, TokenKind, tokens};
use crate::macros;
use crate::source::Issue;
use crate::unescape::{Unescaped, unescape};

const DEPTH_MAX: usize = 250;
const SIZE_MAX: usize = 100_000;
const STARTS: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
];

/// A parsed expression.
#[derive(Clone, Debug)]
pub(crate) struct Ast {
    pub root: Expr,
    /// By node id: where messages about it point.
    pub positions: Vec<usize>,
}

/// Stops parsing; what is wrong has been noted.
#[derive(Debug)]
pub(crate) struct Stop;

type Parsed = Result<Expr, Stop>;

/// The state of parsing one source.
pub(crate) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    pub positions: Vec<usize>,
    pub issues: Vec<Issue>,
}

/// Parses an expression.
pub(crate) fn parse(source: &str) -> Result<Ast, Vec<Issue>> {
    let size = source.chars().count();
    if size > SIZE_MAX {
        let message =
            format!("expression code point size exceeds limit: size: {size}, limit {SIZE_MAX}");
        return Err(vec![Issue { offset: 0, message }]);
    }
    let (tokens, issues) = tokens(source);
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
        positions: vec![0],
        issues,
    };
    let root = parser.expr();
    if root.is_ok() && parser.peek().kind != TokenKind::End {
        parser.trailing();
    }
    match root {
        Ok(root) if parser.issues.is_empty() => Ok(Ast {
            root,
            positions: parser.positions,
        }),
        _ => Err(parser.issues),
    }
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at]
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        &self.tokens[(self.at + ahead).min(self.tokens.len() - 1)]
    }

    fn advance(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn take(&mut self, symbol: &str) -> Option<usize> {
        let at = self.peek().at;
        if self.peek().is(symbol) {
            self.advance();
            return Some(at);
        }
        None
    }

    /// A new node whose messages point at `at`.
    pub fn node(&mut self, at: usize, kind: Kind) -> Expr {
        self.positions.push(at);
        Expr {
            id: self.positions.len() - 1,
            kind,
        }
    }

    pub fn report(&mut self, offset: usize, message: impl Into<String>) {
        self.issues.push(Issue {
            offset,
            message: message.into(),
        });
    }

    fn syntax(&mut self, message: impl std::fmt::Display) -> Stop {
        let at = self.peek().at;
        self.report(at, format!("Syntax error: {message}"));
        Stop
    }

    fn expect(&mut self, symbol: &str, expecting: &str) -> Result<usize, Stop> {
        if let Some(at) = self.take(symbol) {
            return Ok(at);
        }
        let shown = self.peek().shown();
        let message = if expecting.starts_with('{') {
            format!("mismatched input '{shown}' expecting {expecting}")
        } else {
            format!("missing {expecting} at '{shown}'")
        };
        Err(self.syntax(message))
    }

    fn trailing(&mut self) {
        let shown = self.peek().shown();
        let last = self.peek_at(1).kind == TokenKind::End;
        let message = if last {
            format!("extraneous input '{shown}' expecting <EOF>")
        } else {
            format!("mismatched input '{shown}' expecting <EOF>")
        };
        self.syntax(message);
    }

    fn deeper<T>(&mut self, go: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.report(
                0,
                format!("expression recursion limit exceeded: {DEPTH_MAX}"),
            );
            return Err(Stop);
        }
        let result = go(self);
        self.depth -= 1;
        result
    }

    fn expr(&mut self) -> Parsed {
        self.deeper(|p| {
            let condition = p.or()?;
            let Some(at) = p.take("?") else {
                return Ok(condition);
            };
            let yes = p.or()?;
            p.expect(":", "{'==', '!=', 'in', '<', '<=', '>=', '>', '&&', '||', '[', '.', '-', '?', ':', '+', '*', '/', '%'}")?;
            let no = p.expr()?;
            Ok(p.call(at, "_?_:_", vec![condition, yes, no]))
        })
    }

    fn call(&mut self, at: usize, function: &str, args: Vec<Expr>) -> Expr {
        let kind = Kind::Call {
            function: function.into(),
            target: None,
            args,
        };
        self.node(at, kind)
    }

    fn or(&mut self) -> Parsed {
        self.chain("||", "_||_", |p| p.chain("&&", "_&&_", Self::relation))
    }

    /// Terms joined by one logical operator, as a balanced tree: a long chain is not a deep one.
    fn chain(
        &mut self,
        symbol: &str,
        function: &str,
        mut term: impl FnMut(&mut Self) -> Parsed,
    ) -> Parsed {
        let mut terms = vec![Some(term(self)?)];
        let mut places = Vec::new();
        while let Some(at) = self.take(symbol) {
            terms.push(Some(term(self)?));
            places.push(at);
        }
        if places.is_empty() {
            return Ok(terms.remove(0).expect("just pushed"));
        }
        Ok(self.balanced(&mut terms, &places, function, 0, places.len() - 1))
    }

    fn balanced(
        &mut self,
        terms: &mut [Option<Expr>],
        places: &[usize],
        function: &str,
        low: usize,
        high: usize,
    ) -> Expr {
        let mid = (low + high).div_ceil(2);
        let left = if mid == low {
            terms[mid].take().expect("each term is used once")
        } else {
            self.balanced(terms, places, function, low, mid - 1)
        };
        let right = if mid == high {
            terms[mid + 1].take().expect("each term is used once")
        } else {
            self.balanced(terms, places, function, mid + 1, high)
        };
        self.call(places[mid], function, vec![left, right])
    }

    fn relation(&mut self) -> Parsed {
        let mut left = self.sum()?;
        let mut depth = 0;
        loop {
            let token = self.peek().clone();
            let known = matches!(
                token.text.as_str(),
                "<" | "<=" | ">=" | ">" | "==" | "!=" | "in"
            );
            if token.kind != TokenKind::Symbol || !known {
                return Ok(left);
            }
            self.long(&mut depth)?;
            self.advance();
            let right = self.sum()?;
            let name = if token.text == "in" {
                "@in".to_owned()
            } else {
                format!("_{}_", token.text)
            };
            left = self.call(token.at, &name, vec![left, right]);
        }
    }

    fn long(&mut self, depth: &mut usize) -> Result<(), Stop> {
        *depth += 1;
        if self.depth + *depth > DEPTH_MAX {
            self.report(
                0,
                format!("expression recursion limit exceeded: {DEPTH_MAX}"),
            );
            return Err(Stop);
        }
        Ok(())
    }

    fn sum(&mut self) -> Parsed {
        self.operators(&["+", "-"], |p| p.operators(&["*", "/", "%"], Self::unary))
    }

    fn operators(&mut self, symbols: &[&str], mut term: impl FnMut(&mut Self) -> Parsed) -> Parsed {
        let mut left = term(self)?;
        let mut depth = 0;
        while let Some(symbol) = symbols.iter().find(|s| self.peek().is(s)) {
            self.long(&mut depth)?;
            let at = self.advance().at;
            let right = term(self)?;
            left = self.call(at, &format!("_{symbol}_"), vec![left, right]);
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let first = self.peek().at;
        let number = |t: &Token| matches!(t.kind, TokenKind::Int | TokenKind::Float);
        if self.peek().is("-") && number(self.peek_at(1)) {
            return self.member();
        }
        for (symbol, function) in [("!", "!_"), ("-", "-_")] {
            let mut count = 0;
            while self.take(symbol).is_some() {
                count += 1;
            }
            if count > 0 {
                let inner = self.deeper(Self::member)?;
                if count % 2 == 0 {
                    return Ok(inner);
                }
                return Ok(self.call(first, function, vec![inner]));
            }
        }
        self.member()
    }

    fn member(&mut self) -> Parsed {
        let mut left = self.primary()?;
        let mut depth = 0;
        loop {
            if self.peek().is(".") || self.peek().is("[") {
                self.long(&mut depth)?;
            }
            if let Some(at) = self.take(".") {
                left = self.selection(left, at)?;
            } else if let Some(at) = self.take("[") {
                let optional = self.take("?").is_some();
                let index = self.expr()?;
                self.expect("]", "']'")?;
                let function = if optional { "_[?_]" } else { "_[_]" };
                left = self.call(at, function, vec![left, index]);
            } else {
                return Ok(left);
            }
        }
    }

    fn selection(&mut self, operand: Expr, at: usize) -> Parsed {
        let optional = self.take("?").is_some();
        let token = self.peek().clone();
        if token.kind != TokenKind::Ident {
            let message = match token.text.as_str() {
                "true" | "false" | "null" if !optional => {
                    format!("mismatched input '{}' expecting IDENTIFIER", token.text)
                }
                _ => format!(
                    "no viable alternative at input '.{}'",
                    token.shown().replace("<EOF>", "")
                ),
            };
            return Err(self.syntax(message));
        }
        self.advance();
        if optional {
            let field = self.node(token.at, Kind::Literal(Literal::Str(token.text)));
            return Ok(self.call(at, "_?._", vec![operand, field]));
        }
        if let Some(open) = self.take("(") {
            let args = self.arguments(")")?;
            return self.invoke(open, token.text, Some(operand), args);
        }
        let kind = Kind::Select {
            operand: Box::new(operand),
            field: token.text,
            test: false,
        };
        Ok(self.node(at, kind))
    }

    fn arguments(&mut self, close: &str) -> Result<Vec<Expr>, Stop> {
        let mut args = Vec::new();
        if self.take(close).is_some() {
            return Ok(args);
        }
        if self.peek().kind == TokenKind::End {
            let shown = self.peek().shown();
            let starts = STARTS.replace("'(', ", "'(', ')', ");
            return Err(self.syntax(format!("mismatched input '{shown}' expecting {starts}")));
        }
        loop {
            args.push(self.expr()?);
            if self.take(",").is_none() {
                self.expect(close, &format!("'{close}'"))?;
                return Ok(args);
            }
        }
    }

    fn invoke(
        &mut self,
        at: usize,
        function: String,
        target: Option<Expr>,
        args: Vec<Expr>,
    ) -> Parsed {
        match macros::expand(self, at, &function, target, args) {
            macros::Expansion::Done(expr) => Ok(expr),
            macros::Expansion::Wrong => Ok(self.node(at, Kind::Literal(Literal::Null))),
            macros::Expansion::Not(target, args) => {
                let kind = Kind::Call {
                    function,
                    target: target.map(Box::new),
                    args,
                };
                Ok(self.node(at, kind))
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let token = self.peek().clone();
        match token.kind {
            TokenKind::Symbol => self.symbol(&token),
            TokenKind::Ident => self.name(""),
            TokenKind::End => Err(self.unexpected()),
            _ => {
                self.advance();
                self.literal(&token, "", token.at)
            }
        }
    }

    fn unexpected(&mut self) -> Stop {
        let shown = self.peek().shown();
        self.syntax(format!("mismatched input '{shown}' expecting {STARTS}"))
    }

    fn symbol(&mut self, token: &Token) -> Parsed {
        let constant = match token.text.as_str() {
            "true" => Literal::Bool(true),
            "false" => Literal::Bool(false),
            "null" => Literal::Null,
            "(" => {
                self.advance();
                let inner = self.expr()?;
                self.expect(")", "')'")?;
                return Ok(inner);
            }
            "[" => {
                self.advance();
                return self.list(token.at);
            }
            "{" => {
                self.advance();
                return self.map(token.at);
            }
            "." if self.peek_at(1).kind == TokenKind::Ident => {
                self.advance();
                return self.name(".");
            }
            "-" if matches!(self.peek_at(1).kind, TokenKind::Int | TokenKind::Float) => {
                self.advance();
                let number = self.advance();
                return self.literal(&number, "-", token.at);
            }
            _ => return Err(self.unexpected()),
        };
        self.advance();
        Ok(self.node(token.at, Kind::Literal(constant)))
    }

    /// An identifier, a call or an object literal.
    fn name(&mut self, dot: &str) -> Parsed {
        let token = self.advance();
        if let Some(open) = self.take("{") {
            return self.object(format!("{dot}{}", token.text), open);
        }
        if let Some(kind) = self.dotted_object(dot, &token)? {
            return Ok(kind);
        }
        if RESERVED.contains(&token.text.as_str())
            || matches!(token.text.as_str(), "void" | "while")
        {
            self.report(token.at, format!("reserved identifier: {}", token.text));
            return Err(Stop);
        }
        let name = format!("{dot}{}", token.text);
        if let Some(open) = self.take("(") {
            let args = self.arguments(")")?;
            return self.invoke(open, name, None, args);
        }
        Ok(self.node(token.at, Kind::Ident(name)))
    }

    /// `a.b.C{...}`: looked for ahead, because otherwise it starts like a selection.
    fn dotted_object(&mut self, dot: &str, first: &Token) -> Result<Option<Expr>, Stop> {
        let mut ahead = 0;
        let mut name = format!("{dot}{}", first.text);
        while self.peek_at(ahead).is(".") && self.peek_at(ahead + 1).kind == TokenKind::Ident {
            name += ".";
            name += &self.peek_at(ahead + 1).text;
            ahead += 2;
        }
        if ahead == 0 || !self.peek_at(ahead).is("{") {
            return Ok(None);
        }
        self.at += ahead;
        let open = self.advance().at;
        self.object(name, open).map(Some)
    }

    fn object(&mut self, name: String, open: usize) -> Parsed {
        let object = self.node(open, Kind::Literal(Literal::Null)).id;
        let mut fields = Vec::new();
        while self.take("}").is_none() {
            let optional = self.take("?").is_some();
            let field = self.advance();
            if field.kind != TokenKind::Ident {
                self.at = self.at.saturating_sub(1);
                let shown = self.peek().shown();
                return Err(self.syntax(format!(
                    "mismatched input '{shown}' expecting {{'}}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}}"
                )));
            }
            let at = self.expect(":", "':'")?;
            let id = self.node(at, Kind::Literal(Literal::Null)).id;
            let value = self.expr()?;
            fields.push(FieldInit {
                id,
                name: field.text,
                value,
                optional,
            });
            if self.take(",").is_none() {
                self.expect("}", "{'}', ','}")?;
                break;
            }
        }
        Ok(Expr {
            id: object,
            kind: Kind::Struct { name, fields },
        })
    }

    fn list(&mut self, open: usize) -> Parsed {
        let list = self.node(open, Kind::Literal(Literal::Null)).id;
        let mut elements = Vec::new();
        while self.take("]").is_none() {
            let optional = self.take("?").is_some();
            let expr = self.expr()?;
            elements.push(Element { expr, optional });
            if self.take(",").is_none() {
                self.expect("]", "{']', ','}")?;
                break;
            }
        }
        Ok(Expr {
            id: list,
            kind: Kind::List(elements),
        })
    }

    fn map(&mut self, open: usize) -> Parsed {
        let map = self.node(open, Kind::Literal(Literal::Null)).id;
        let mut entries = Vec::new();
        while self.take("}").is_none() {
            let optional = self.take("?").is_some();
            let key = self.expr()?;
            self.expect(":", "':'")?;
            let value = self.expr()?;
            entries.push(Entry {
                key,
                value,
                optional,
            });
            if self.take(",").is_none() {
                self.expect("}", "{'}', ','}")?;
                break;
            }
        }
        Ok(Expr {
            id: map,
            kind: Kind::Map(entries),
        })
    }

    fn literal(&mut self, token: &Token, sign: &str, at: usize) -> Parsed {
        let text = &token.text;
        let value = match token.kind {
            TokenKind::Int => match text.strip_prefix("0x") {
                Some(hex) => i64::from_str_radix(&format!("{sign}{hex}"), 16),
                None => format!("{sign}{text}").parse(),
            }
            .map(Literal::Int)
            .map_err(|_| "invalid int literal"),
            TokenKind::Uint => {
                let text = &text[..text.len() - 1];
                match text.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None => text.parse(),
                }
                .map(Literal::Uint)
                .map_err(|_| "invalid uint literal")
            }
            TokenKind::Float => match format!("{sign}{text}").parse::<f64>() {
                Ok(v) if v.is_finite() => Ok(Literal::Double(v)),
                _ => Err("invalid double literal"),
            },
            _ => unescape(text, token.kind == TokenKind::Bytes).map(|u| match u {
                Unescaped::Str(s) => Literal::Str(s),
                Unescaped::Bytes(b) => Literal::Bytes(b),
            }),
        };
        match value {
            Ok(value) => Ok(self.node(at, Kind::Literal(value))),
            Err(message) => {
                self.report(at, message);
                Ok(self.node(at, Kind::Literal(Literal::Null)))
            }
        }
    }
}
