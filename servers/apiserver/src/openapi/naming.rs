//! How upstream names things in OpenAPI after groups, kinds and verbs; generated clients are called after it.

/// A group as tags and as operations name it: `rbacAuthorization`, `RbacAuthorization`.
pub(super) fn names(group: &str) -> (String, String) {
    let group = if group.is_empty() { "core" } else { group };
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    let marked: String = group.split('.').map(capitalized).collect();
    let first = group.split('.').next().unwrap_or_default().len();
    let tag = format!("{}{}", &group[..first], &marked[first..]);
    (tag, marked)
}

pub(super) fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// `a Pod`, `an Ingress`; plurals have no article.
pub(super) fn with_article(kind: &str) -> String {
    if kind.ends_with('s') && !kind.ends_with("ss") {
        return kind.to_owned();
    }
    match kind.chars().next() {
        Some('A' | 'E' | 'I' | 'O') => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_as_upstream_makes_them() {
        assert_eq!(names("").1, "Core");
        let (tag, marked) = names("rbac.authorization.k8s.io");
        assert_eq!(
            (tag.as_str(), marked.as_str()),
            ("rbacAuthorization", "RbacAuthorization")
        );
        let (tag, marked) = names("stable.example.com");
        assert_eq!(
            (tag.as_str(), marked.as_str()),
            ("stableExampleCom", "StableExampleCom")
        );
        assert_eq!(with_article("Ingress"), "an Ingress");
        assert_eq!(with_article("Endpoints"), "Endpoints");
    }
}
