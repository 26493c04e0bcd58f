//! Containers: namespaces, cgroups, mounts, and one supervisor process per pod.
