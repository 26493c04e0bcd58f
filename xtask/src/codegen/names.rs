//! Go names as Rust names: `PodIPs` is `pod_ips`, `FSGroup` is `fs_group`, `Type` is `type_`.

/// Words that are no identifiers in Rust.
const RESERVED: &[&str] = &[
    "type", "ref", "match", "use", "mod", "self", "static", "where", "loop", "move", "in", "as",
    "enum", "continue", "default_",
];

/// The snake case of a Go name; a reserved word gets an underscore.
pub fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().filter(|c| *c != '$' && *c != '-').collect();
    let mut out = String::new();
    let mut i = 0;
    while i < chars.len() {
        let start = i;
        while i < chars.len() && chars[i].is_ascii_uppercase() {
            i += 1;
        }
        let upper = i - start;
        let low_start = i;
        while i < chars.len() && !chars[i].is_ascii_uppercase() {
            i += 1;
        }
        let low: String = chars[low_start..i].iter().collect();
        // An acronym keeps its plural s; otherwise its last letter begins the next word.
        let split = if upper >= 2
            && !low.is_empty()
            && low != "s"
            && !low.starts_with(|c: char| c.is_ascii_digit())
        {
            upper - 1
        } else {
            upper
        };
        if split > 0 && split < upper {
            push(&mut out, &chars[start..start + split]);
            push(&mut out, &chars[start + split..i]);
        } else {
            push(&mut out, &chars[start..i]);
        }
    }
    if RESERVED.contains(&out.as_str()) {
        out.push('_');
    }
    out
}

fn push(out: &mut String, word: &[char]) {
    if !out.is_empty() {
        out.push('_');
    }
    out.extend(word.iter().map(|c| c.to_ascii_lowercase()));
}

#[cfg(test)]
mod tests {
    use super::snake;

    #[test]
    fn snake_case_of_go_names() {
        for (go, rust) in [
            ("Name", "name"),
            ("HostIP", "host_ip"),
            ("PodIPs", "pod_ips"),
            ("FSGroup", "fs_group"),
            ("HTTPGet", "http_get"),
            ("NonResourceURLs", "non_resource_urls"),
            ("SELinuxOptions", "se_linux_options"),
            ("CephFS", "ceph_fs"),
            ("APIVersion", "api_version"),
            ("JSONSchemas", "json_schemas"),
            ("Type", "type_"),
            ("SetHostnameAsFQDN", "set_hostname_as_fqdn"),
        ] {
            assert_eq!(snake(go), rust);
        }
    }
}
