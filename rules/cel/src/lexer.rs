//! Source text into tokens. Invariant: token positions count code points, so messages point where upstream's do.

use crate::source::Issue;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Ident,
    Int,
    Uint,
    Float,
    Str,
    Bytes,
    /// An operator, a bracket, or one of `true`, `false`, `null`, `in`.
    Symbol,
    End,
}

/// A token: its text as written, and where.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub kind: TokenKind,
    pub text: String,
    pub at: usize,
}

impl Token {
    pub fn is(&self, symbol: &str) -> bool {
        self.kind == TokenKind::Symbol && self.text == symbol
    }
    /// How messages call it.
    pub fn shown(&self) -> String {
        if self.kind == TokenKind::End {
            "<EOF>".to_owned()
        } else {
            escape_ws(&self.text)
        }
    }
}

/// White space as messages show it.
pub(crate) fn escape_ws(text: &str) -> String {
    text.replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t")
}

const SYMBOLS: [&str; 26] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!",
    "?", ":", "+", "*", "/", "%", "=", "|",
];

struct Lexer {
    chars: Vec<char>,
    at: usize,
    /// Where what is no token ends, when that is known.
    bad: Option<usize>,
}

/// All tokens, the last one `End`; and what was no token.
pub(crate) fn tokens(source: &str) -> (Vec<Token>, Vec<Issue>) {
    let mut lexer = Lexer {
        chars: source.chars().collect(),
        at: 0,
        bad: None,
    };
    let (mut tokens, mut issues) = (Vec::new(), Vec::new());
    loop {
        lexer.skip_space();
        let at = lexer.at;
        let Some(kind) = lexer.next() else {
            if lexer.at >= lexer.chars.len() {
                break;
            }
            // A character that starts no token, or a text that does not end.
            let end = lexer.bad.take().unwrap_or_else(|| lexer.bad_end());
            let text: String = lexer.chars[at..end].iter().collect();
            issues.push(Issue {
                offset: at,
                message: format!(
                    "Syntax error: token recognition error at: '{}'",
                    escape_ws(&text)
                ),
            });
            lexer.at = end;
            continue;
        };
        let text = lexer.chars[at..lexer.at].iter().collect();
        tokens.push(Token { kind, text, at });
    }
    tokens.push(Token {
        kind: TokenKind::End,
        text: String::new(),
        at: lexer.chars.len(),
    });
    (tokens, issues)
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn skip_space(&mut self) {
        loop {
            match self.peek(0) {
                '\t' | ' ' | '\r' | '\n' | '\u{c}' => self.at += 1,
                '/' if self.peek(1) == '/' => {
                    while self.at < self.chars.len() && self.peek(0) != '\n' {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    /// Consumes one token; leaves the position alone when there is none.
    fn next(&mut self) -> Option<TokenKind> {
        let c = self.peek(0);
        if self.at >= self.chars.len() {
            return None;
        }
        if let Some(kind) = self.text_literal() {
            return Some(kind);
        }
        if c.is_ascii_alphabetic() || c == '_' {
            let start = self.at;
            while self.peek(0).is_ascii_alphanumeric() || self.peek(0) == '_' {
                self.at += 1;
            }
            let word: String = self.chars[start..self.at].iter().collect();
            let symbol = matches!(word.as_str(), "true" | "false" | "null" | "in");
            return Some(if symbol {
                TokenKind::Symbol
            } else {
                TokenKind::Ident
            });
        }
        if c.is_ascii_digit() || (c == '.' && self.peek(1).is_ascii_digit()) {
            return Some(self.number());
        }
        let rest: String = self.chars[self.at..].iter().take(2).collect();
        let symbol = SYMBOLS.iter().find(|s| rest.starts_with(**s))?;
        if matches!(*symbol, "=" | "|") {
            return None;
        }
        self.at += symbol.len();
        Some(TokenKind::Symbol)
    }

    fn number(&mut self) -> TokenKind {
        if self.peek(0) == '0' && self.peek(1) == 'x' && self.peek(2).is_ascii_hexdigit() {
            self.at += 2;
            while self.peek(0).is_ascii_hexdigit() {
                self.at += 1;
            }
            return self.unsigned(TokenKind::Int);
        }
        let mut kind = TokenKind::Int;
        self.digits();
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            self.at += 1;
            self.digits();
            kind = TokenKind::Float;
        }
        if matches!(self.peek(0), 'e' | 'E') {
            let sign = usize::from(matches!(self.peek(1), '+' | '-'));
            if self.peek(1 + sign).is_ascii_digit() {
                self.at += 1 + sign;
                self.digits();
                kind = TokenKind::Float;
            }
        }
        self.unsigned(kind)
    }

    fn digits(&mut self) {
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
    }

    fn unsigned(&mut self, kind: TokenKind) -> TokenKind {
        if kind == TokenKind::Int && matches!(self.peek(0), 'u' | 'U') {
            self.at += 1;
            return TokenKind::Uint;
        }
        kind
    }

    fn text_literal(&mut self) -> Option<TokenKind> {
        let mut ahead = 0;
        let (mut raw, mut bytes) = (false, false);
        for _ in 0..2 {
            match self.peek(ahead) {
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes && !raw => bytes = true,
                _ => break,
            }
            ahead += 1;
        }
        let quote = self.peek(ahead);
        if !matches!(quote, '"' | '\'') {
            return None;
        }
        let triple = self.peek(ahead + 1) == quote && self.peek(ahead + 2) == quote;
        let mut i = ahead + if triple { 3 } else { 1 };
        loop {
            if self.at + i >= self.chars.len() {
                return self.empty_pair(triple, ahead, bytes);
            }
            let c = self.peek(i);
            if c == '\\' && !raw {
                match self.escape_end(i) {
                    Ok(end) => i = end,
                    Err(end) => {
                        self.bad = Some(self.at + end);
                        return None;
                    }
                }
                continue;
            }
            if triple {
                if c == quote && self.peek(i + 1) == quote && self.peek(i + 2) == quote {
                    self.at += i + 3;
                    break;
                }
            } else if c == quote {
                self.at += i + 1;
                break;
            } else if matches!(c, '\n' | '\r') {
                return None;
            }
            i += 1;
        }
        Some(if bytes {
            TokenKind::Bytes
        } else {
            TokenKind::Str
        })
    }

    /// `''` followed by a third quote that starts no triple-quoted text.
    fn empty_pair(&mut self, triple: bool, ahead: usize, bytes: bool) -> Option<TokenKind> {
        if !triple {
            return None;
        }
        self.at += ahead + 2;
        Some(if bytes {
            TokenKind::Bytes
        } else {
            TokenKind::Str
        })
    }

    /// Where what is no token ends: a text literal runs to the end of its line, another character stands alone.
    fn bad_end(&self) -> usize {
        let mut end = self.at;
        if matches!(self.peek(0), '"' | '\'') {
            while end < self.chars.len() && self.chars[end] != '\n' {
                end += 1;
            }
            return end;
        }
        // A lone `=` is noticed at what follows it.
        let more = usize::from(matches!(self.peek(0), '=' | '|' | '&'));
        (end + 1 + more).min(self.chars.len())
    }

    /// Where the escape at `i` ends; an error when it is none, with the end of what was read of it.
    fn escape_end(&self, i: usize) -> Result<usize, usize> {
        let (digits, octal) = match self.peek(i + 1) {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`' => {
                return Ok(i + 2);
            }
            'x' | 'X' => (2, false),
            'u' => (4, false),
            'U' => (8, false),
            '0'..='3' => (2, true),
            _ => return Err((i + 2).min(self.chars.len() - self.at)),
        };
        for d in 0..digits {
            let c = self.peek(i + 2 + d);
            let fine = if octal {
                matches!(c, '0'..='7')
            } else {
                c.is_ascii_hexdigit()
            };
            if !fine {
                return Err((i + 3 + d).min(self.chars.len() - self.at));
            }
        }
        Ok(i + 2 + digits)
    }
}
