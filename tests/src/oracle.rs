//! Upstream's own API server over etcd, to compare with: started on loopback inside a network
//! namespace, with its data in a directory that is removed in the end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::api::ApiAccess;
use crate::eventually::eventually;
use crate::netns::NetworkNamespace;
use crate::programs;

/// The administrator's token.
const TOKEN: &str = "oracle-administrator";

/// A running kube-apiserver with its etcd.
#[derive(Debug)]
pub struct Oracle {
    directory: PathBuf,
    etcd: Child,
    server: Child,
    access: ApiAccess,
}

impl Oracle {
    /// Where the storage of [`Oracle::start_on`] listens.
    pub const STORAGE_PORT: u16 = 12379;

    /// Starts both; `around` starts each process, so that a measurement can pin it to a core.
    pub fn start(
        directory: &Path,
        network: &NetworkNamespace,
        around: impl Fn(&mut Command) -> std::io::Result<Child> + Sync,
    ) -> Result<Oracle> {
        let mut etcd = Command::new(programs::program("etcd")?);
        etcd.args(etcd_arguments(&directory.join("oracle")));
        Oracle::start_on(etcd, directory, network, around)
    }

    /// Like [`Oracle::start`], with this command in etcd's place.
    pub fn start_on(
        mut storage: Command,
        directory: &Path,
        network: &NetworkNamespace,
        around: impl Fn(&mut Command) -> std::io::Result<Child> + Sync,
    ) -> Result<Oracle> {
        let directory = directory.join("oracle");
        // A run that was killed may have left one.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        let log = File::create(directory.join("log"))?;
        let launch = |command: &mut Command| -> Result<Child> {
            command.stdin(Stdio::null());
            command.stdout(log.try_clone()?).stderr(log.try_clone()?);
            let program = command.get_program().to_owned();
            network
                .enter(|| around(command))?
                .with_context(|| format!("could not start {}", program.display()))
        };
        let etcd = launch(&mut storage)?;
        write_keys(&directory)?;
        let mut server = Command::new(programs::program("kube-apiserver")?);
        let server = launch(server.args(server_arguments(&directory)))?;
        let certificate = directory.join("certs/apiserver.crt");
        let access = eventually("kube-apiserver is ready", || {
            let ca = fs::read(&certificate).context("no certificate yet")?;
            let token = Some(TOKEN.to_string());
            let access = ApiAccess::new("https://127.0.0.1:16443", &ca, None, token)?;
            let answer = network.enter(|| access.connect()?.request("GET", "/readyz", b""))??;
            match answer.status {
                200 => Ok(access),
                status => bail!("readyz: {status}"),
            }
        })?;
        Ok(Oracle {
            directory,
            etcd,
            server,
            access,
        })
    }

    /// Administrator's access.
    pub fn access(&self) -> &ApiAccess {
        &self.access
    }

    /// Both processes.
    pub fn processes(&self) -> [u32; 2] {
        [self.server.id(), self.etcd.id()]
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.etcd] {
            // Both may have ended by themselves.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn etcd_arguments(directory: &Path) -> Vec<String> {
    let data = directory.join("etcd");
    [
        "--data-dir",
        &data.to_string_lossy(),
        "--listen-client-urls=http://127.0.0.1:12379",
        "--advertise-client-urls=http://127.0.0.1:12379",
        "--listen-peer-urls=http://127.0.0.1:12380",
        "--log-level=error",
    ]
    .map(str::to_string)
    .to_vec()
}

fn server_arguments(directory: &Path) -> Vec<String> {
    let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
    vec![
        "--etcd-servers=http://127.0.0.1:12379".into(),
        format!("--cert-dir={}", file("certs")),
        "--secure-port=16443".into(),
        "--bind-address=127.0.0.1".into(),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--authorization-mode=Node,RBAC".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        format!("--service-account-key-file={}", file("sa.key")),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
    ]
}

fn write_keys(directory: &Path) -> Result<()> {
    fs::write(
        directory.join("tokens.csv"),
        format!("{TOKEN},admin,admin,system:masters\n"),
    )?;
    let output = Command::new("openssl")
        .args(["genrsa", "-out"])
        .arg(directory.join("sa.key"))
        .arg("2048")
        .output()
        .context("running openssl")?;
    if !output.status.success() {
        bail!(
            "openssl genrsa: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
