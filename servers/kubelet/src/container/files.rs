//! /etc/hosts, /etc/resolv.conf and the host name of a pod, as texts.

use corten_api::core::v1::Pod;
use std::net::IpAddr;

/// The host name of a pod and, with a subdomain, its fully qualified name.
pub(crate) fn names(pod: &Pod, domain: &str) -> (String, String) {
    let spec = &pod.spec;
    if let Some(name) = spec
        .hostname_override
        .as_deref()
        .filter(|name| !name.is_empty())
    {
        return (name.to_owned(), String::new());
    }
    let own = if spec.hostname.is_empty() {
        &pod.metadata.name
    } else {
        &spec.hostname
    };
    let short: String = own.chars().take(63).collect();
    let short = short.trim_end_matches(['-', '.']).to_owned();
    if spec.subdomain.is_empty() {
        return (short, String::new());
    }
    let full = format!(
        "{short}.{}.{}.svc.{domain}",
        spec.subdomain, pod.metadata.namespace
    );
    (short, full)
}

/// The host name that the pod's UTS namespace gets.
pub(crate) fn hostname(pod: &Pod, domain: &str) -> String {
    let (short, full) = names(pod, domain);
    match pod.spec.set_hostname_as_fqdn == Some(true) && !full.is_empty() {
        true => full,
        false => short,
    }
}

fn aliases(pod: &Pod, out: &mut String) {
    if pod.spec.host_aliases.is_empty() {
        return;
    }
    out.push_str("\n# Entries added by HostAliases.\n");
    for alias in &pod.spec.host_aliases {
        let names: Vec<&str> = alias.hostnames.iter().map(|n| n.as_str()).collect();
        out.push_str(&format!("{}\t{}\n", alias.ip, names.join("\t")));
    }
}

/// /etc/hosts of a pod with its own network.
pub(crate) fn hosts(pod: &Pod, ips: &[String], domain: &str) -> String {
    let mut out = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    let (short, full) = names(pod, domain);
    for ip in ips {
        match full.is_empty() {
            true => out.push_str(&format!("{ip}\t{short}\n")),
            false => out.push_str(&format!("{ip}\t{full}\t{short}\n")),
        }
    }
    aliases(pod, &mut out);
    out
}

/// /etc/hosts of a pod with the node's network.
pub(crate) fn node_hosts(pod: &Pod, node: &str) -> String {
    let mut out = String::from("# Kubernetes-managed hosts file (host network).\n");
    out.push_str(node);
    aliases(pod, &mut out);
    out
}

/// A resolver configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resolver {
    pub(crate) servers: Vec<String>,
    pub(crate) searches: Vec<String>,
    pub(crate) options: Vec<String>,
}

impl Resolver {
    /// Reads a resolv.conf.
    pub(crate) fn parse(text: &str) -> Resolver {
        let mut resolver = Resolver::default();
        for line in text
            .lines()
            .map(str::trim)
            .filter(|l| !l.starts_with(['#', ';']))
        {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolver.servers.extend(words.next().map(str::to_owned)),
                Some("search") => {
                    let name = |w: &str| {
                        if w == "." {
                            w.to_owned()
                        } else {
                            w.trim_end_matches('.').to_owned()
                        }
                    };
                    resolver.searches = words.map(name).collect();
                }
                Some("options") => resolver.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        resolver
    }

    /// As a resolv.conf.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        if !self.searches.is_empty() {
            out.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.servers {
            out.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            out.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        out
    }
}

fn push_new(list: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

/// The resolver configuration of a pod by its dnsPolicy and dnsConfig.
pub(crate) fn resolver(pod: &Pod, node: &Resolver, dns: &[IpAddr], domain: &str) -> Resolver {
    let spec = &pod.spec;
    let first = match spec.dns_policy.as_str() {
        "ClusterFirst" | "" => !spec.host_network,
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut resolver = match spec.dns_policy.as_str() {
        "None" => Resolver::default(),
        _ if first && !dns.is_empty() => {
            let namespace = &pod.metadata.namespace;
            let mut searches = vec![
                format!("{namespace}.svc.{domain}"),
                format!("svc.{domain}"),
                domain.to_owned(),
            ];
            push_new(&mut searches, node.searches.iter().cloned());
            Resolver {
                servers: dns.iter().map(ToString::to_string).collect(),
                searches,
                options: vec!["ndots:5".to_owned()],
            }
        }
        _ => node.clone(),
    };
    if let Some(own) = &spec.dns_config {
        push_new(
            &mut resolver.servers,
            own.nameservers.iter().map(ToString::to_string),
        );
        push_new(
            &mut resolver.searches,
            own.searches.iter().map(ToString::to_string),
        );
        for option in &own.options {
            resolver
                .options
                .retain(|have| have.split(':').next() != Some(option.name.as_str()));
            resolver.options.push(match option.value.as_deref() {
                Some(value) if !value.is_empty() => format!("{}:{value}", option.name),
                _ => option.name.to_string(),
            });
        }
    }
    resolver.servers.truncate(3);
    resolver.searches.truncate(32);
    resolver
}
