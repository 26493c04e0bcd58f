//! The environment of a container: services, envFrom, env, in upstream's order and with its errors.

use crate::container::downward::{self, NodeFacts};
use crate::container::expand::expand;
use corten_api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};
use corten_core::Str;
use corten_meta::Snapshot;
use std::collections::BTreeMap;

/// What an environment is made from.
pub(crate) struct Sources<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) facts: &'a NodeFacts,
    pub(crate) pod_ips: &'a [String],
    /// ConfigMaps and Secrets that the pod refers to, by kind and name.
    pub(crate) config_maps: &'a BTreeMap<Str, Option<ConfigMap>>,
    pub(crate) secrets: &'a BTreeMap<Str, Option<Secret>>,
    /// The services of the cluster.
    pub(crate) services: &'a Snapshot,
}

impl Sources<'_> {
    fn config_map(&self, name: &str) -> Option<&ConfigMap> {
        self.config_maps.get(name)?.as_ref()
    }

    fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name)?.as_ref()
    }
}

/// The variables in order, or the message of a CreateContainerConfigError.
pub(crate) fn environment(
    container: &Container,
    sources: &Sources<'_>,
) -> Result<Vec<(String, String)>, String> {
    let mut result: BTreeMap<String, String> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let mut set = |result: &mut BTreeMap<String, String>, name: &str, value: String| {
        if result.insert(name.to_owned(), value).is_none() {
            order.push(name.to_owned());
        }
    };
    let services = service_variables(sources);
    env_from(container, sources, &mut |name, value| {
        set(&mut result, name, value)
    })?;
    for variable in &container.env {
        let name = variable.name.as_str();
        let value = match &variable.value_from {
            None => {
                let look_up = |n: &str| result.get(n).or_else(|| services.get(n)).cloned();
                Some(expand(&variable.value, look_up))
            }
            Some(from) => value_from(container, from, sources)?,
        };
        if let Some(value) = value {
            set(&mut result, name, value);
        }
    }
    let mut out: Vec<(String, String)> = services
        .into_iter()
        .filter(|(name, _)| !result.contains_key(name))
        .collect();
    out.extend(order.into_iter().map(|name| {
        let value = result.get(&name).cloned().unwrap_or_default();
        (name, value)
    }));
    Ok(out)
}

fn env_from(
    container: &Container,
    sources: &Sources<'_>,
    set: &mut dyn FnMut(&str, String),
) -> Result<(), String> {
    let namespace = &sources.pod.metadata.namespace;
    for from in &container.env_from {
        if let Some(reference) = &from.config_map_ref {
            let name = &reference.local_object_reference.name;
            match sources.config_map(name) {
                Some(map) => {
                    for (key, value) in map.data.iter() {
                        set(&format!("{}{key}", from.prefix), value.to_string());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("configmap {:?} not found", name.as_str())),
            }
        } else if let Some(reference) = &from.secret_ref {
            let name = &reference.local_object_reference.name;
            match sources.secret(name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter() {
                        let value = String::from_utf8_lossy(value).into_owned();
                        set(&format!("{}{key}", from.prefix), value);
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("secret {:?} not found", name.as_str())),
            }
        }
    }
    let _ = namespace;
    Ok(())
}

fn value_from(
    container: &Container,
    from: &EnvVarSource,
    sources: &Sources<'_>,
) -> Result<Option<String>, String> {
    let pod = sources.pod;
    let namespace = &pod.metadata.namespace;
    if let Some(field) = &from.field_ref {
        return downward::field(pod, &field.field_path, sources.facts, sources.pod_ips).map(Some);
    }
    if let Some(r) = &from.resource_field_ref {
        let (own, name) = (&container.name, &r.container_name);
        return downward::resource(&pod.spec, own, name, &r.resource, &r.divisor, sources.facts)
            .map(Some);
    }
    if let Some(key) = &from.config_map_key_ref {
        let name = &key.local_object_reference.name;
        let optional = key.optional == Some(true);
        let Some(map) = sources.config_map(name) else {
            return missing(optional, format!("configmap {:?} not found", name.as_str()));
        };
        let found = map.data.get(&key.key).map(ToString::to_string);
        let text = format!(
            "couldn't find key {} in ConfigMap {namespace}/{name}",
            key.key
        );
        return found.map_or_else(|| missing(optional, text), |value| Ok(Some(value)));
    }
    if let Some(key) = &from.secret_key_ref {
        let name = &key.local_object_reference.name;
        let optional = key.optional == Some(true);
        let Some(secret) = sources.secret(name) else {
            return missing(optional, format!("secret {:?} not found", name.as_str()));
        };
        let found = secret
            .data
            .get(&key.key)
            .map(|v| String::from_utf8_lossy(v).into_owned());
        let text = format!("couldn't find key {} in Secret {namespace}/{name}", key.key);
        return found.map_or_else(|| missing(optional, text), |value| Ok(Some(value)));
    }
    if from.file_key_ref.is_some() {
        return Err("fileKeyRef is not supported by this node".to_owned());
    }
    Ok(None)
}

fn missing(optional: bool, text: String) -> Result<Option<String>, String> {
    if optional { Ok(None) } else { Err(text) }
}

/// Variables of the services of the pod's namespace, and always of `default/kubernetes`.
fn service_variables(sources: &Sources<'_>) -> BTreeMap<String, String> {
    let pod = sources.pod;
    let own = pod.spec.enable_service_links != Some(false);
    let usable = |s: &&Service| !s.spec.cluster_ip.is_empty() && s.spec.cluster_ip != "None";
    let mut chosen: BTreeMap<Str, &Service> = BTreeMap::new();
    for service in sources
        .services
        .list_in::<Service>("default")
        .filter(usable)
    {
        if service.metadata.name == "kubernetes" {
            chosen.insert(service.metadata.name.clone(), service);
        }
    }
    if own {
        for service in sources
            .services
            .list_in::<Service>(&pod.metadata.namespace)
            .filter(usable)
        {
            chosen.insert(service.metadata.name.clone(), service);
        }
    }
    let mut variables = BTreeMap::new();
    for service in chosen.values() {
        add_service(service, &mut variables);
    }
    variables
}

fn add_service(service: &Service, variables: &mut BTreeMap<String, String>) {
    let name = service.metadata.name.to_uppercase().replace('-', "_");
    let ip = service.spec.cluster_ip.as_str();
    let host = if ip.contains(':') {
        format!("[{ip}]")
    } else {
        ip.to_owned()
    };
    variables.insert(format!("{name}_SERVICE_HOST"), ip.to_owned());
    let Some(first) = service.spec.ports.first() else {
        return;
    };
    variables.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
    for port in &service.spec.ports {
        if !port.name.is_empty() {
            let port_name = port.name.to_uppercase().replace('-', "_");
            variables.insert(
                format!("{name}_SERVICE_PORT_{port_name}"),
                port.port.to_string(),
            );
        }
    }
    for (index, port) in service.spec.ports.iter().enumerate() {
        let protocol = if port.protocol.is_empty() {
            "TCP"
        } else {
            port.protocol.as_str()
        };
        let lower = protocol.to_lowercase();
        let prefix = format!("{name}_PORT_{}_{protocol}", port.port);
        let url = format!("{lower}://{host}:{}", port.port);
        if index == 0 {
            variables.insert(format!("{name}_PORT"), url.clone());
        }
        variables.insert(prefix.clone(), url);
        variables.insert(format!("{prefix}_PROTO"), lower);
        variables.insert(format!("{prefix}_PORT"), port.port.to_string());
        variables.insert(format!("{prefix}_ADDR"), ip.to_owned());
    }
}
