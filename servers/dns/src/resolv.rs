//! The name servers that a resolver configuration names.

use std::net::{IpAddr, SocketAddr};

/// The `nameserver` lines of a resolv.conf, port 53. Lines that name no address are passed over.
pub fn name_servers(text: &str) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // A scope (`fe80::1%eth0`) would need the link's number: such servers are left out.
        if let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) {
            servers.push(SocketAddr::new(ip, 53));
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = "# nameserver 9.9.9.9\nsearch example.org\nnameserver 192.168.0.1\n\
                    nameserver\t::1 # local\nnameserver fe80::1%eth0\noptions ndots:5\nnameserver x\n";
        let servers: Vec<String> = name_servers(text)
            .iter()
            .map(SocketAddr::to_string)
            .collect();
        assert_eq!(servers, ["192.168.0.1:53", "[::1]:53"]);
    }
}
