//! Making a pod's sandbox and connecting it to the pod network.

use crate::container::{files, limits};
use crate::execute::blocking;
use crate::labels;
use crate::pod::context::Work;
use corten_api::core::v1::Pod;
use corten_core::Str;
use corten_dataplane::{Attachment, HostPort};
use corten_netplan::Protocol;
use corten_runtime::{NamespaceMode, PidMode, SandboxConfig, SandboxId};

fn node_or_pod(node: bool) -> NamespaceMode {
    if node {
        NamespaceMode::Node
    } else {
        NamespaceMode::Pod
    }
}

fn config(work: &Work, pod: &Pod, attempt: u32) -> SandboxConfig {
    let meta = &pod.metadata;
    let spec = &pod.spec;
    let label = |key: &str, value: &Str| (key.to_owned(), value.to_string());
    let sysctls = spec.security_context.as_ref().map(|c| c.sysctls.iter());
    SandboxConfig {
        name: meta.name.to_string(),
        namespace: meta.namespace.to_string(),
        uid: meta.uid.to_string(),
        attempt,
        labels: [
            label(labels::POD_NAME, &meta.name),
            label(labels::POD_NAMESPACE, &meta.namespace),
            label(labels::POD_UID, &meta.uid),
            (
                labels::HOST_NETWORK.to_owned(),
                spec.host_network.to_string(),
            ),
        ]
        .into(),
        hostname: files::hostname(pod, &work.context.options.cluster_domain),
        network: node_or_pod(spec.host_network),
        ipc: node_or_pod(spec.host_ipc),
        pid: match (spec.host_pid, spec.share_process_namespace) {
            (true, _) => PidMode::Node,
            (false, Some(true)) => PidMode::Pod,
            _ => PidMode::Container,
        },
        sysctls: sysctls
            .into_iter()
            .flatten()
            .map(|s| (s.name.to_string(), s.value.to_string()))
            .collect(),
        cgroup: limits::pod_group(spec, &meta.uid),
        resources: limits::pod_limits(spec),
        ..SandboxConfig::default()
    }
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let containers = pod
        .spec
        .init_containers
        .iter()
        .chain(pod.spec.containers.iter());
    let ports = containers
        .flat_map(|c| c.ports.iter())
        .filter(|p| p.host_port > 0);
    ports
        .map(|p| HostPort {
            protocol: match p.protocol.as_str() {
                "UDP" => Protocol::Udp,
                "SCTP" => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
            host_ip: p
                .host_ip
                .parse()
                .ok()
                .filter(|ip: &std::net::Ipv4Addr| !ip.is_unspecified()),
            host_port: u16::try_from(p.host_port).unwrap_or_default(),
            container_port: u16::try_from(p.container_port).unwrap_or_default(),
        })
        .collect()
}

/// Makes a sandbox; its identity and the pod's addresses.
pub(crate) async fn create(work: &Work, attempt: u32) -> Result<(Str, Vec<Str>), String> {
    let pod = work.pod();
    let runtime = &work.context.engines.runtime;
    if let Some(old) = work.sandbox() {
        // The one before is dead; its containers stay readable until they are replaced.
        disconnect(work, &old).await?;
        runtime
            .stop_pod_sandbox(&old)
            .await
            .map_err(|e| e.to_string())?;
    }
    let id = runtime
        .run_pod_sandbox(config(work, &pod, attempt))
        .await
        .map_err(|e| e.to_string())?;
    let ips = match pod.spec.host_network {
        true => Vec::new(),
        false => match connect(work, &pod, &id).await {
            Ok(ips) => ips,
            Err(error) => {
                if let Err(cause) = runtime.remove_pod_sandbox(&id).await {
                    tracing::warn!(sandbox = %id, %cause, "a sandbox without network could not be removed");
                }
                return Err(format!(
                    "failed to setup network for sandbox {id:?}: {error}",
                    id = id.as_str()
                ));
            }
        },
    };
    write_files(work, &pod, &ips).await?;
    work.adopt_sandbox(&id, &ips);
    Ok((id.as_str().into(), ips.iter().map(Into::into).collect()))
}

async fn connect(work: &Work, pod: &Pod, id: &SandboxId) -> Result<Vec<String>, String> {
    let Some(network) = work.context.engines.network.clone() else {
        return Ok(Vec::new());
    };
    let status = work
        .context
        .engines
        .runtime
        .pod_sandbox_status(id)
        .await
        .map_err(|e| e.to_string())?;
    let netns = status.netns.ok_or("the sandbox has no network namespace")?;
    let (sandbox, ports) = (id.as_str().to_owned(), host_ports(pod));
    blocking(move || {
        let attachment = Attachment {
            sandbox: &sandbox,
            netns: &netns,
            host_ports: &ports,
        };
        let address = network.attach(&attachment).map_err(|e| e.to_string())?;
        Ok(vec![address.ip.to_string()])
    })
    .await
}

/// Takes a sandbox off the pod network.
pub(crate) async fn disconnect(work: &Work, id: &SandboxId) -> Result<(), String> {
    let Some(network) = work.context.engines.network.clone() else {
        return Ok(());
    };
    let sandbox = id.as_str().to_owned();
    blocking(move || network.detach(&sandbox).map_err(|e| e.to_string())).await
}

/// Writes what every container of the pod finds in /etc.
async fn write_files(work: &Work, pod: &Pod, ips: &[String]) -> Result<(), String> {
    let options = &work.context.options;
    let directory = work.context.pod_directory(&pod.metadata.uid);
    let hostname = match pod.spec.host_network {
        true => options.hostname.clone(),
        false => files::hostname(pod, &options.cluster_domain),
    };
    let hosts = match pod.spec.host_network {
        true => files::node_hosts(
            pod,
            &tokio::fs::read_to_string("/etc/hosts")
                .await
                .unwrap_or_default(),
        ),
        false => files::hosts(pod, ips, &options.cluster_domain),
    };
    let node = tokio::fs::read_to_string(&options.resolv_conf)
        .await
        .unwrap_or_default();
    let node = files::Resolver::parse(&node);
    let resolver = files::resolver(pod, &node, &options.cluster_dns, &options.cluster_domain);
    blocking(move || {
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text)
                .map_err(|e| format!("failed to write {}: {e}", path.display()))
        };
        std::fs::create_dir_all(&directory)
            .map_err(|e| format!("failed to make {}: {e}", directory.display()))?;
        write("etc-hosts", hosts)?;
        write("etc-hostname", format!("{hostname}\n"))?;
        write("etc-resolv.conf", resolver.text())
    })
    .await
}
