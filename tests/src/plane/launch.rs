//! The files and command lines of a control plane's parts. Decides nothing and starts nothing: [`super`]
//! runs what [`Launch::command`] gives, any number of times, on the same ports and data.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context as _, Result, bail};
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rcgen::KeyPair;

use super::{Component, Options};
use crate::{
    binaries::Binaries,
    identity::{Authority, Credential, write_kubeconfig},
};

/// Member of the one group that RBAC never refuses.
const ADMINISTRATOR: &str = "admin";
const ADMINISTRATORS: &str = "system:masters";
/// Good for this loopback server only, for as long as one test runs.
pub(super) const ADMINISTRATOR_TOKEN: &str = "administrator-of-a-test";
/// Far above what a fleet of agents on this machine asks for at once.
const IN_FLIGHT: u32 = 4000;

/// Everything needed to start each part again.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) options: Options,
    pub(super) server: String,
    pub(super) kubeconfig: PathBuf,
    pub(super) config: Config,
    pub(super) authority_file: PathBuf,
    pub(super) kubectl: PathBuf,
    pub(super) audit: Option<PathBuf>,
    binaries: Binaries,
    folder: PathBuf,
    ports: Ports,
}

/// The ports of one control plane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    etcd: u16,
    etcd_peer: u16,
    api_server: u16,
    manager: u16,
    scheduler: u16,
}

impl Ports {
    /// Ports that are free now. Another process may still take one before it is bound, which a
    /// failed start shows.
    pub(super) fn free() -> Result<Self> {
        Ok(Self {
            etcd: free_port()?,
            etcd_peer: free_port()?,
            api_server: free_port()?,
            manager: free_port()?,
            scheduler: free_port()?,
        })
    }
}

/// A port outside the range from which the kernel serves outgoing connections, so that none of those
/// takes it while a part is down for a restart. Test processes begin at different places.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id().wrapping_mul(61) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let port = FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}

impl Launch {
    /// Writes every file the parts need below `folder`.
    pub(super) async fn prepare(
        folder: &Path,
        binaries: &Binaries,
        options: &Options,
        authority: &Authority,
        ports: Ports,
    ) -> Result<Self> {
        let server = format!("https://127.0.0.1:{}", ports.api_server);
        let authority_file = folder.join("ca.crt");
        fs::write(&authority_file, authority.certificate())?;
        write_server_files(folder, authority)?;
        let audit = options.audit.map(|level| -> Result<PathBuf> {
            fs::write(folder.join("audit-policy.yaml"), level.policy())?;
            Ok(folder.join("audit.log"))
        });
        let kubeconfig = folder.join("admin.kubeconfig");
        let token = Credential::Token(ADMINISTRATOR_TOKEN);
        write_kubeconfig(&kubeconfig, &server, &authority_file, ADMINISTRATOR, token)?;
        // A user of its own for each part, so that the audit log tells them from the agent.
        for component in [Component::ControllerManager, Component::Scheduler, Component::Kwok] {
            let identity = authority.user(component.name(), &[ADMINISTRATORS])?;
            let path = folder.join(format!("{}.kubeconfig", component.name()));
            let credential = Credential::Certificate(&identity);
            write_kubeconfig(&path, &server, &authority_file, component.name(), credential)?;
        }
        let read = Kubeconfig::read_from(&kubeconfig)?;
        Ok(Self {
            options: options.clone(),
            config: Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?,
            server,
            kubeconfig,
            authority_file,
            kubectl: binaries.kubectl.clone(),
            audit: audit.transpose()?,
            binaries: binaries.clone(),
            folder: folder.to_owned(),
            ports,
        })
    }

    /// The command line of a part.
    pub(super) fn command(&self, component: Component) -> Result<Command> {
        Ok(match component {
            Component::Etcd => self.etcd(),
            Component::ApiServer => self.api_server(),
            Component::ControllerManager => self.manager()?,
            Component::Scheduler => self.scheduler()?,
            Component::Kwok => self.kwok()?,
        })
    }

    fn etcd(&self) -> Command {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        let mut command = self.base(&self.binaries.etcd);
        command
            .args(["--name=tests", "--unsafe-no-fsync", "--log-level=warn"])
            .arg(format!("--data-dir={}", self.file("etcd")))
            .args([
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
            ])
            .args([
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
            ])
            .arg(format!("--initial-cluster=tests={peer}"));
        command
    }

    fn api_server(&self) -> Command {
        let mut command = self.base(&self.binaries.api_server);
        command
            .args([
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
            ])
            .arg(format!("--secure-port={}", self.ports.api_server))
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd))
            .arg(format!("--tls-cert-file={}", self.file("server.crt")))
            .arg(format!("--tls-private-key-file={}", self.file("server.key")))
            .arg(format!("--client-ca-file={}", self.file("ca.crt")))
            .arg(format!("--token-auth-file={}", self.file("tokens.csv")))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!(
                "--service-account-key-file={}",
                self.file("service-account.pub")
            ))
            .arg(format!(
                "--service-account-signing-key-file={}",
                self.file("service-account.key")
            ))
            .args([
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=Node,RBAC",
            ])
            .args(["--allow-privileged=true", "--profiling=false"])
            .arg(format!("--max-requests-inflight={IN_FLIGHT}"))
            .arg(format!("--max-mutating-requests-inflight={IN_FLIGHT}"));
        if !self.options.runs_workloads() {
            // It refuses Pods until a controller, which is absent, has made their ServiceAccount.
            command.arg("--disable-admission-plugins=ServiceAccount");
        }
        if let Some(log) = &self.audit {
            command
                .arg(format!("--audit-policy-file={}", self.file("audit-policy.yaml")))
                .arg(format!("--audit-log-path={}", log.display()))
                // Written before the request ends, and never rotated away from its reader.
                .args(["--audit-log-mode=blocking", "--audit-log-maxsize=1000000"]);
        }
        command.args(&self.options.api_server_flags);
        command
    }

    fn manager(&self) -> Result<Command> {
        let mut command = self.base(&self.binaries.need_controllers()?.manager);
        command
            .args(["--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false"])
            .arg(format!("--secure-port={}", self.ports.manager))
            .arg(format!(
                "--kubeconfig={}",
                self.file("kube-controller-manager.kubeconfig")
            ))
            .arg(format!("--root-ca-file={}", self.file("ca.crt")))
            .arg(format!(
                "--service-account-private-key-file={}",
                self.file("service-account.key")
            ))
            // A fake node that is late under load is not a lost node.
            .arg("--node-monitor-grace-period=10m")
            .args([
                "--kube-api-qps=500",
                "--kube-api-burst=1000",
                "--concurrent-deployment-syncs=20",
            ]);
        Ok(command)
    }

    fn scheduler(&self) -> Result<Command> {
        let mut command = self.base(&self.binaries.need_controllers()?.scheduler);
        command
            .args(["--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false"])
            .arg(format!("--secure-port={}", self.ports.scheduler))
            .arg(format!("--kubeconfig={}", self.file("kube-scheduler.kubeconfig")))
            .args(["--kube-api-qps=500", "--kube-api-burst=1000"]);
        Ok(command)
    }

    fn kwok(&self) -> Result<Command> {
        let kwok = self.binaries.need_kwok()?;
        let mut command = self.base(&kwok.program);
        command
            .arg(format!("--kubeconfig={}", self.file("kwok.kubeconfig")))
            .arg("--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake");
        for set in ["node/fast", "node/heartbeat", "pod/fast"] {
            for stage in stage_files(&kwok.stages.join(set))? {
                command.arg(format!("--config={}", stage.display()));
            }
        }
        Ok(command)
    }

    /// A program with a home of its own and nothing of the caller's Kubernetes settings.
    fn base(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.folder)
            .env("HOME", &self.folder)
            .env_remove("KUBECONFIG");
        command
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// Writes the certificate that the API server shows.
pub(super) fn write_serving_files(folder: &Path, authority: &Authority) -> Result<()> {
    // 10.96.0.1 is the first address of the service range: the API server as Pods see it.
    let names = [
        "127.0.0.1",
        "10.96.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ];
    let server = authority.server(&names)?;
    fs::write(folder.join("server.crt"), server.certificate)?;
    fs::write(folder.join("server.key"), server.key)?;
    Ok(())
}

fn write_server_files(folder: &Path, authority: &Authority) -> Result<()> {
    write_serving_files(folder, authority)?;
    let signing = KeyPair::generate()?;
    let tokens = format!("{ADMINISTRATOR_TOKEN},{ADMINISTRATOR},{ADMINISTRATOR},{ADMINISTRATORS}\n");
    fs::write(folder.join("service-account.key"), signing.serialize_pem())?;
    fs::write(folder.join("service-account.pub"), signing.public_key_pem())?;
    fs::write(folder.join("tokens.csv"), tokens)?;
    Ok(())
}

/// The stages of one set, in the order of their names; `kustomization.yaml` is none.
fn stage_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("no kwok stages in {}", folder.display()))? {
        let path = entry?.path();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml");
        if is_yaml && path.file_name().is_some_and(|name| name != "kustomization.yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
