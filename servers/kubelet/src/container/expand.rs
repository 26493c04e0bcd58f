//! `$(NAME)` in commands, arguments and values: replaced when the name is known, `$$` is a dollar sign, the rest stays.

/// Expands `text` with `value`.
pub(crate) fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.as_bytes().first() {
            Some(b'$') => {
                out.push('$');
                rest = &rest[1..];
            }
            Some(b'(') => match rest.find(')') {
                Some(end) => {
                    let name = &rest[1..end];
                    match value(name) {
                        Some(text) => out.push_str(&text),
                        None => {
                            out.push_str("$(");
                            out.push_str(name);
                            out.push(')');
                        }
                    }
                    rest = &rest[end + 1..];
                }
                None => out.push('$'),
            },
            _ => out.push('$'),
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn names_are_replaced_and_dollars_escaped() {
        let value = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, wanted) in [
            ("$(A)", "1"),
            ("x$(A)y$(B)", "x1y$(B)"),
            ("$$(A)", "$(A)"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("a$", "a$"),
            ("$$$(A)", "$1"),
        ] {
            assert_eq!(expand(text, value), wanted, "{text}");
        }
    }
}
