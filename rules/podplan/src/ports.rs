//! Ports of the node that pods take for themselves. Two pods of a node never hold the same one.

use corten_api::core::v1::{ContainerPort, PodSpec};

/// A pod's ports on the node: those of its containers and of init containers that stay.
fn host_ports(spec: &PodSpec) -> impl Iterator<Item = &ContainerPort> {
    let stays = |policy: Option<&str>| policy == Some("Always");
    let sidecars = spec
        .init_containers
        .iter()
        .filter(move |container| stays(container.restart_policy.as_deref()));
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter())
        .filter(|port| port.host_port > 0)
}

/// Whether both pods want the same port of the node. An empty address and `0.0.0.0` stand for all of the node's.
pub fn host_ports_collide(one: &PodSpec, other: &PodSpec) -> bool {
    let any = |ip: &str| matches!(ip, "" | "0.0.0.0");
    let protocol = |port: &ContainerPort| match port.protocol.as_str() {
        "" => "TCP".to_owned(),
        named => named.to_owned(),
    };
    host_ports(one).any(|a| {
        host_ports(other).any(|b| {
            a.host_port == b.host_port
                && protocol(a) == protocol(b)
                && (any(&a.host_ip) || any(&b.host_ip) || a.host_ip == b.host_ip)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::core::v1::Container;

    fn spec(port: i32, protocol: &str, ip: &str) -> PodSpec {
        let port = ContainerPort {
            container_port: 80,
            host_port: port,
            protocol: protocol.into(),
            host_ip: ip.into(),
            ..ContainerPort::default()
        };
        PodSpec {
            containers: vec![Container {
                ports: vec![port].into(),
                ..Container::default()
            }]
            .into(),
            ..PodSpec::default()
        }
    }

    #[test]
    fn ports_collide_on_one_address_and_protocol() {
        let taken = spec(8080, "TCP", "");
        assert!(host_ports_collide(&taken, &spec(8080, "", "127.0.0.1")));
        assert!(!host_ports_collide(&taken, &spec(8080, "UDP", "")));
        assert!(!host_ports_collide(&taken, &spec(8081, "TCP", "")));
        assert!(!host_ports_collide(
            &spec(0, "TCP", ""),
            &spec(0, "TCP", "")
        ));
        let local = spec(8080, "TCP", "127.0.0.1");
        assert!(!host_ports_collide(&local, &spec(8080, "TCP", "127.0.0.2")));
        assert!(host_ports_collide(&local, &spec(8080, "TCP", "0.0.0.0")));
    }
}
