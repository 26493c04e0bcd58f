//! The grammar of label selectors in requests, with upstream's error texts.

use crate::selector::{Operator, Requirement, SelectorError, check_key};
use corten_core::Str;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Error(String),
    End,
    Word(String),
    Symbol(&'static str),
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Error(text) | Token::Word(text) => text,
            Token::Symbol(symbol) => symbol,
            Token::End => "",
        }
    }
}

/// Longest first, so that the longest symbol wins.
const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn is_special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn scan(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        if is_special(first) {
            match SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
                Some(symbol) => {
                    tokens.push(Token::Symbol(symbol));
                    rest = &rest[symbol.len()..];
                }
                None => {
                    tokens.push(Token::Error(format!(
                        "error expected: keyword found '{rest}'"
                    )));
                    break;
                }
            }
        } else {
            let end = rest
                .find(|c| is_special(c) || is_space(c))
                .unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start_matches(is_space);
    }
    tokens.push(Token::End);
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
}

fn fail<T>(text: String) -> Result<T, SelectorError> {
    Err(SelectorError(text))
}

/// The requirements of a selector's text, in the order of the text.
pub(crate) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser {
        tokens: scan(text),
        position: 0,
    };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token::Word(_) | Token::Symbol("!") => {}
            Token::End => return Ok(requirements),
            other => {
                return fail(format!(
                    "found '{}', expected: !, identifier, or 'end of string'",
                    other.text()
                ));
            }
        }
        let requirement = parser
            .requirement()
            .map_err(|e| SelectorError(format!("unable to parse requirement: {e}")))?;
        requirements.push(requirement);
        match parser.next() {
            Token::End => return Ok(requirements),
            Token::Symbol(",") => match parser.peek() {
                Token::Word(_) | Token::Symbol("!") => {}
                other => {
                    return fail(format!(
                        "found '{}', expected: identifier after ','",
                        other.text()
                    ));
                }
            },
            other => {
                return fail(format!(
                    "found '{}', expected: ',' or 'end of string'",
                    other.text()
                ));
            }
        }
    }
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.position).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.position += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let absent = *self.peek() == Token::Symbol("!");
        if absent {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return fail(format!("found '{}', expected: identifier", other.text())),
        };
        check_key(&key, "<nil>")?;
        if absent {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.value()?],
        };
        // Values of a text are a set.
        values.sort();
        values.dedup();
        Requirement::new(key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        let token = self.next();
        Ok(match &token {
            Token::Symbol("=") => Operator::Equals,
            Token::Symbol("==") => Operator::DoubleEquals,
            Token::Symbol("!=") => Operator::NotEquals,
            Token::Symbol(">") => Operator::GreaterThan,
            Token::Symbol("<") => Operator::LessThan,
            Token::Word(word) if word == "in" => Operator::In,
            Token::Word(word) if word == "notin" => Operator::NotIn,
            other => {
                return fail(format!(
                    "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                    other.text()
                ));
            }
        })
    }

    fn value(&mut self) -> Result<Str, SelectorError> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(Str::EMPTY);
        }
        match self.next() {
            Token::Word(word) => Ok(word.into()),
            other => fail(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn values(&mut self) -> Result<Vec<Str>, SelectorError> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return fail(format!("found '{}' expected: '('", other.text())),
        }
        let mut values = Vec::new();
        let mut word = Str::EMPTY;
        let mut after_word = false;
        loop {
            match self.next() {
                Token::Word(text) if !after_word => {
                    word = text.into();
                    after_word = true;
                }
                Token::Symbol(",") => {
                    values.push(std::mem::take(&mut word));
                    after_word = false;
                }
                Token::Symbol(")") => {
                    values.push(word);
                    return Ok(values);
                }
                other if after_word => {
                    return fail(format!("found '{}', expected: ',' or ')'", other.text()));
                }
                other => {
                    let expected = match values.is_empty() {
                        true => "',', ')' or identifier",
                        false => "',', or identifier",
                    };
                    return fail(format!("found '{}', expected: {expected}", other.text()));
                }
            }
        }
    }
}
