//! The command line, environment and working directory of a container's process, and the search in PATH.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};

use crate::config::ContainerConfig;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The argument vector: `command` replaces the image's entrypoint and cmd, `args` its cmd.
pub fn arguments(config: &ContainerConfig) -> Result<Vec<String>, String> {
    let image = &config.image.config;
    let (head, tail) = match (config.command.is_empty(), config.args.is_empty()) {
        (true, true) => (&image.entrypoint, &image.cmd),
        (true, false) => (&image.entrypoint, &config.args),
        (false, _) => (&config.command, &config.args),
    };
    let list: Vec<String> = head.iter().chain(tail).cloned().collect();
    if list.is_empty() {
        return Err("no command specified".to_owned());
    }
    Ok(list)
}

/// The environment: PATH, TERM, HOSTNAME, then the image's, then the container's, later ones replacing earlier ones.
pub fn environment(config: &ContainerConfig, hostname: &str) -> Vec<(String, String)> {
    let mut list: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match list.iter_mut().find(|(n, _)| n == name) {
        Some((_, old)) => *old = value.to_owned(),
        None => list.push((name.to_owned(), value.to_owned())),
    };
    set("PATH", DEFAULT_PATH);
    if config.tty {
        set("TERM", "xterm");
    }
    if !hostname.is_empty() {
        set("HOSTNAME", hostname);
    }
    for (name, value) in config
        .image
        .config
        .env
        .iter()
        .filter_map(|entry| entry.split_once('='))
    {
        set(name, value);
    }
    for (name, value) in &config.env {
        set(name, value);
    }
    list
}

/// The working directory, absolute.
pub fn working_directory(config: &ContainerConfig) -> &str {
    let image = config.image.config.working_dir.as_str();
    let chosen = if config.working_dir.is_empty() {
        image
    } else {
        &config.working_dir
    };
    if chosen.is_empty() { "/" } else { chosen }
}

/// The file to execute for `name`, seen from inside the container as its user. Errors read as Go's os/exec
/// writes them, because tools match on them.
pub fn look_path(name: &str, env: &[(String, String)]) -> Result<String, String> {
    if name.contains('/') {
        return executable(name).map(|()| name.to_owned()).map_err(|why| {
            let why = if why == MISSING {
                format!("stat {name}: {why}")
            } else {
                why.to_owned()
            };
            format!("exec: {name:?}: {why}")
        });
    }
    let path = env
        .iter()
        .find(|(n, _)| n == "PATH")
        .map_or("", |(_, value)| value.as_str());
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = format!("{}/{name}", directory.trim_end_matches('/'));
        if !name.is_empty() && executable(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    Err(format!(
        "exec: {name:?}: executable file not found in $PATH"
    ))
}

const MISSING: &str = "no such file or directory";

fn executable(path: &str) -> Result<(), &'static str> {
    match Path::new(path).metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err("permission denied");
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            return Err("not a directory");
        }
        Err(_) => return Err(MISSING),
        Ok(facts) if facts.is_dir() => return Err("is a directory"),
        Ok(_) => {}
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|_| "permission denied")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ImageConfig, RootImage};

    fn config(
        entrypoint: &[&str],
        cmd: &[&str],
        command: &[&str],
        args: &[&str],
    ) -> ContainerConfig {
        let list = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let image = ImageConfig {
            entrypoint: list(entrypoint),
            cmd: list(cmd),
            ..Default::default()
        };
        ContainerConfig {
            image: RootImage {
                config: image,
                ..Default::default()
            },
            command: list(command),
            args: list(args),
            ..Default::default()
        }
    }

    #[test]
    fn command_and_args_replace_the_images() {
        let of = |a: &[&str], b: &[&str], c: &[&str], d: &[&str]| {
            arguments(&config(a, b, c, d)).map(|list| list.join(" "))
        };
        assert_eq!(of(&["e"], &["c"], &[], &[]).unwrap(), "e c");
        assert_eq!(of(&["e"], &["c"], &[], &["a"]).unwrap(), "e a");
        assert_eq!(of(&["e"], &["c"], &["x"], &[]).unwrap(), "x");
        assert_eq!(of(&["e"], &["c"], &["x"], &["a"]).unwrap(), "x a");
        assert_eq!(of(&[], &[], &[], &[]).unwrap_err(), "no command specified");
    }

    #[test]
    fn later_variables_replace_earlier_ones_in_place() {
        let mut config = config(&[], &[], &[], &[]);
        config.image.config.env = vec!["PATH=/bin".into(), "A=1".into(), "bad".into()];
        config.env = vec![("A".into(), "2".into()), ("B".into(), "=".into())];
        let text: Vec<_> = environment(&config, "host")
            .into_iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        assert_eq!(text, ["PATH=/bin", "HOSTNAME=host", "A=2", "B=="]);
    }

    #[test]
    fn programs_are_found_as_go_finds_them() {
        let path = [("PATH".to_owned(), "/nonexistent:/bin".to_owned())];
        assert_eq!(look_path("sh", &path).unwrap(), "/bin/sh");
        for (name, expected) in [
            ("foo", "exec: \"foo\": executable file not found in $PATH"),
            (
                "/foo",
                "exec: \"/foo\": stat /foo: no such file or directory",
            ),
            ("/bin", "exec: \"/bin\": is a directory"),
            ("", "exec: \"\": executable file not found in $PATH"),
        ] {
            assert_eq!(look_path(name, &path).unwrap_err(), expected);
        }
    }
}
