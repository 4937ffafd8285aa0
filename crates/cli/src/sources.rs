//! Where manifests come from: files, folders, standard input, Kustomize, Helm, commands, and `driftless.yaml`.
//!
//! `push` and `diff` read with [`Flags::read`], which gives every component with the places of its objects, or tells
//! everything that is wrong. [`gather`] finds and renders, [`read`] parses; all of it runs on all cores, and no server
//! is asked.

pub(crate) mod files;
mod gather;
mod namespaces;
mod program;
mod read;
mod render;

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Result, bail};
use driftless_model::{
    bundle::{Bundle, Spec},
    intake::Placed,
    name::{ChannelName, ComponentName, DNS_LABEL_RULE, is_dns_label},
    selector::Selector,
};

pub(crate) use read::{Problems, Wanted};
pub(crate) use render::{Chart, Values, is_chart};

use crate::{
    failure::Advice,
    output,
    repository::{self, Repository, Written},
};

/// What `driftless push` and `driftless diff` read.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The component that the sources are of; without it the components of driftless.yaml are meant
    #[arg(long, value_name = "NAME")]
    pub(crate) component: Option<ComponentName>,
    /// The channel; with driftless.yaml the one that it names, unless given
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Option<ChannelName>,
    /// The file that lists components [default: driftless.yaml here or above, up to the root of a Git checkout]
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["component", "namespace", "exec", "helm_chart"])]
    file: Option<PathBuf>,
    /// Namespace of objects that name none [default: default]
    #[arg(short, long)]
    namespace: Option<String>,
    /// The clusters that run the component, as `region=eu,!canary` [default: all of the channel]
    #[arg(long, value_name = "SELECTOR", requires = "component")]
    selector: Option<Selector>,
    /// A component that has to be healthy first; may be given again
    #[arg(long, value_name = "NAME", requires = "component")]
    depends_on: Vec<ComponentName>,
    /// Number of the component's schema, which never falls
    #[arg(long, value_name = "NUMBER", requires = "component")]
    epoch: Option<u64>,
    #[command(flatten)]
    rendering: Rendering,
}

/// How sources are rendered.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Rendering")]
struct Rendering {
    /// Command for `sh -c` whose output is read as manifests; may be given again
    #[arg(long, value_name = "COMMAND", requires = "component")]
    exec: Vec<String>,
    /// Helm chart: folder, archive, oci://… or REPO/NAME; a PATH that is a chart needs no flag
    #[arg(long, value_name = "CHART", requires = "component")]
    helm_chart: Option<String>,
    /// Version of a chart that is not a file
    #[arg(long, value_name = "VERSION", requires = "component")]
    helm_version: Option<String>,
    /// Address of the chart's repository
    #[arg(long, value_name = "URL", requires = "component")]
    helm_repo: Option<String>,
    /// File with values for the chart; may be given again
    #[arg(long, value_name = "FILE", requires = "component")]
    values: Vec<String>,
    /// Value for the chart; may be given again
    #[arg(long, value_name = "KEY=VALUE", requires = "component")]
    set: Vec<String>,
    /// Value for the chart that stays a text; may be given again
    #[arg(long, value_name = "KEY=VALUE", requires = "component")]
    set_string: Vec<String>,
    /// Name of the chart's release [default: the component's]
    #[arg(long, value_name = "NAME", requires = "component")]
    release_name: Option<String>,
    /// Kubernetes version that the chart shall render for
    #[arg(long, value_name = "VERSION", requires = "component")]
    kube_version: Option<String>,
    /// API that the chart shall take for present, GROUP/VERSION/KIND; may be given again
    #[arg(long, value_name = "API", requires = "component")]
    api_versions: Vec<String>,
    /// Render the chart's CRDs too
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true
    )]
    include_crds: bool,
    /// Program that renders Kustomize folders [default: kustomize build, or else kubectl kustomize]
    #[arg(
        long,
        value_name = "COMMAND",
        env = "DRIFTLESS_KUSTOMIZE_COMMAND",
        hide_env_values = true
    )]
    kustomize_command: Option<String>,
}

/// Something that manifests come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file, a folder, or `-`.
    Path(PathBuf),
    /// A Kustomize folder.
    Kustomize(PathBuf),
    /// A chart.
    Chart(Chart),
    /// A command whose output is read.
    Exec(String),
}

/// All that was asked for, read.
#[derive(Debug)]
pub(crate) struct Desired {
    /// The channel that it is for.
    pub(crate) channel: ChannelName,
    /// The components.
    pub(crate) components: Vec<Component>,
    /// What it was read from, for the log.
    pub(crate) paths: Vec<PathBuf>,
    /// All names of `driftless.yaml`, where that was read.
    pub(crate) listed: Option<BTreeSet<ComponentName>>,
}

/// A component that was read.
#[derive(Debug)]
pub(crate) struct Component {
    /// What will be pushed.
    pub(crate) bundle: Bundle,
    /// Its manifests, each with where it was written.
    pub(crate) placed: Vec<Placed>,
    /// Where its spec was written, if in a file.
    pub(crate) written: Option<Written>,
    /// Namespace of objects that name none.
    pub(crate) namespace: String,
}

impl Flags {
    /// Do they name what to read?
    pub(crate) fn is_given(&self) -> bool {
        self.component.is_some() || self.file.is_some()
    }

    /// Reads everything. Problems are printed, all of them; the error only counts them and ends with `so`.
    pub(crate) fn read(self, named: &[String], so: &str) -> Result<Desired> {
        if self.component.is_some() {
            self.read_one(named, so)
        } else {
            self.read_repository(named, so)
        }
    }

    fn read_one(self, paths: &[String], so: &str) -> Result<Desired> {
        let Self {
            component,
            channel,
            file: _,
            namespace,
            selector,
            depends_on,
            epoch,
            rendering,
        } = self;
        let (Some(component), Some(channel)) = (component, channel) else {
            let hint = "name it with --channel, or name component and channel in driftless.yaml";
            return Err(Advice::new("which channel is it for?", hint).into());
        };
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        if !is_dns_label(&namespace) {
            bail!("namespace `{namespace}` is not valid: {DNS_LABEL_RULE}");
        }
        let chart_expected = rendering.is_for_helm();
        let (more, chart, kustomize) = rendering.sources();
        let mut sources: Vec<_> = paths.iter().map(|path| Source::Path(path.into())).collect();
        sources.extend(more);
        if sources.is_empty() {
            let hint = "give files, folders or `-`, or --helm-chart or --exec";
            return Err(Advice::new(format!("there is nothing to read for `{component}`"), hint).into());
        }
        let wanted = Wanted {
            component,
            folder: PathBuf::new(),
            sources,
            namespace,
            chart,
            chart_expected,
            kustomize,
            spec: Spec {
                selector: selector.unwrap_or_default(),
                depends_on: depends_on.into_iter().collect(),
                epoch,
                ..Spec::default()
            },
            written: None,
        };
        Ok(Desired {
            channel,
            components: told(read::read(vec![wanted], &program::Programs::default()), so)?,
            paths: paths.iter().map(PathBuf::from).collect(),
            listed: None,
        })
    }

    fn read_repository(self, named: &[String], so: &str) -> Result<Desired> {
        let Some(path) = self.file.or_else(repository::find) else {
            let hint = "name it with --component and --channel, or list it in driftless.yaml";
            let what = match named {
                [] => "there is nothing to read, and no driftless.yaml here or above".to_owned(),
                some => format!("which component is `{}` of?", some.join(" ")),
            };
            return Err(Advice::new(what, hint).into());
        };
        let Repository {
            path,
            channel,
            mut wanted,
        } = told(repository::load(&path), so)?;
        let listed: BTreeSet<_> = wanted.iter().map(|wanted| wanted.component.clone()).collect();
        for name in named {
            if !listed.iter().any(|known| known.as_str() == name) {
                let known: Vec<_> = listed.iter().map(ComponentName::as_str).collect();
                let guess = repository::guess(name, &known);
                let hint =
                    "files need --component and --channel; without those, components of driftless.yaml are meant";
                let message = format!("{} has no component `{name}`: {guess}", path.display());
                return Err(Advice::new(message, hint).into());
            }
        }
        wanted.retain(|wanted| named.is_empty() || named.iter().any(|name| name == wanted.component.as_str()));
        let Some(channel) = self.channel.or(channel) else {
            let hint = "write `channel: NAME` into it, or give --channel";
            return Err(Advice::new(format!("{} names no channel", path.display()), hint).into());
        };
        for wanted in &mut wanted {
            wanted.kustomize = self.rendering.kustomize_command.clone().or(wanted.kustomize.take());
        }
        Ok(Desired {
            channel,
            components: told(read::read(wanted, &program::Programs::default()), so)?,
            paths: vec![path],
            listed: Some(listed),
        })
    }
}

impl Rendering {
    /// Was anything said that is for charts alone?
    fn is_for_helm(&self) -> bool {
        let texts = [
            &self.helm_version,
            &self.helm_repo,
            &self.release_name,
            &self.kube_version,
        ];
        let lists = [&self.values, &self.set, &self.set_string, &self.api_versions];
        !self.include_crds || texts.into_iter().any(Option::is_some) || lists.into_iter().any(|list| !list.is_empty())
    }

    /// The sources that flags name, how charts are rendered, and what renders Kustomize folders.
    fn sources(self) -> (Vec<Source>, Chart, Option<String>) {
        let Self {
            exec,
            helm_chart,
            helm_version,
            helm_repo,
            values,
            set,
            set_string,
            release_name,
            kube_version,
            api_versions,
            include_crds,
            kustomize_command,
        } = self;
        let chart = Chart {
            chart: String::new(),
            version: helm_version,
            repo: helm_repo,
            values: values.into_iter().map(Values::File).collect(),
            set,
            set_string,
            release_name,
            kube_version,
            api_versions,
            skip_crds: !include_crds,
        };
        let charts = helm_chart.map(|name| {
            Source::Chart(Chart {
                chart: name,
                ..chart.clone()
            })
        });
        let sources = charts.into_iter().chain(exec.into_iter().map(Source::Exec)).collect();
        (sources, chart, kustomize_command)
    }
}

impl Desired {
    /// The dependencies that are neither pushed nor `there`, each told with its place.
    pub(crate) fn unknown_dependencies(&self, there: impl Fn(&ComponentName) -> bool) -> Vec<String> {
        let pushed: BTreeSet<_> = self
            .components
            .iter()
            .map(|component| &component.bundle.component)
            .collect();
        let mut unknown = Vec::new();
        for component in &self.components {
            let name = &component.bundle.component;
            for wanted in &component.bundle.spec().depends_on {
                let listed = self.listed.as_ref().is_some_and(|listed| listed.contains(wanted));
                if pushed.contains(wanted) || listed || there(wanted) {
                    continue;
                }
                let place = component
                    .written
                    .as_ref()
                    .map(|written| format!("{}: ", written.place("/dependsOn")));
                unknown.push(format!(
                    "{}component `{name}` depends on `{wanted}`, which is neither pushed nor in the channel",
                    place.unwrap_or_default()
                ));
            }
        }
        unknown
    }
}

/// Prints problems; the error counts them.
pub(crate) fn told<T>(outcome: Result<T, Problems>, so: &str) -> Result<T> {
    outcome.map_err(|Problems { lines, hint }| {
        for line in &lines {
            output::note(line);
        }
        let message = format!("{} in the manifests{so}", output::count(lines.len(), "problem"));
        match hint {
            Some(hint) => Advice::new(message, hint).into(),
            None => anyhow::anyhow!(message),
        }
    })
}
