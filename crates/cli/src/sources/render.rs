//! Sources that another program renders: Kustomize folders, Helm charts, and commands of the user's own.
//!
//! The programs are the user's, found by PATH and started without a shell; only a command of `--exec` is given to
//! one. What they print becomes texts named after them, so that a problem in it points somewhere useful.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use driftless_model::intake::Text;
use serde_json::Value;

use super::program::{Failure, Programs, Stderr};
use crate::output;

const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
const GET_KUSTOMIZE: &str = "install kustomize (https://kubectl.docs.kubernetes.io/installation/kustomize) or kubectl \
    (https://kubernetes.io/docs/tasks/tools), or name another program with --kustomize-command";
const GET_HELM: &str = "install Helm 3 or newer (https://helm.sh/docs/intro/install)";

/// A Helm chart, and what it is rendered with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Chart {
    /// A folder, an archive, `oci://…`, or a chart of a repository that helm knows.
    pub(crate) chart: String,
    /// Version of a chart that is not a file.
    pub(crate) version: Option<String>,
    /// Address of the chart's repository.
    pub(crate) repo: Option<String>,
    /// In order; later ones win.
    pub(crate) values: Vec<Values>,
    /// `KEY=VALUE`, as `helm --set` takes it.
    pub(crate) set: Vec<String>,
    /// As `set`, for texts.
    pub(crate) set_string: Vec<String>,
    /// The component's name unless given.
    pub(crate) release_name: Option<String>,
    /// What the chart shall take for the cluster's version.
    pub(crate) kube_version: Option<String>,
    /// What the chart shall take for the cluster's APIs.
    pub(crate) api_versions: Vec<String>,
    /// Leave out the CRDs.
    pub(crate) skip_crds: bool,
}

/// Values of a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Values {
    /// A file.
    File(String),
    /// As written in `driftless.yaml`.
    Inline(Value),
}

/// What cannot be rendered, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unrendered {
    /// One or more lines.
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Unrendered {
    fn new(message: String) -> Self {
        Self { message, hint: None }
    }
}

/// What rendering needs to know besides the source itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renderer<'a> {
    pub(crate) programs: &'a Programs,
    /// Where programs run and what paths are relative to; empty for the current folder.
    pub(crate) folder: &'a Path,
    /// Instead of `kustomize build`.
    pub(crate) kustomize: Option<&'a str>,
}

/// Does Kustomize have to render this folder?
pub(crate) fn is_kustomization(folder: &Path) -> bool {
    KUSTOMIZATIONS.iter().any(|name| folder.join(name).is_file())
}

/// Is this a chart, as a folder or an archive?
pub(crate) fn is_chart(path: &Path) -> bool {
    let archive = path
        .to_str()
        .is_some_and(|text| text.ends_with(".tgz") || text.ends_with(".tar.gz"));
    path.join("Chart.yaml").is_file() || (archive && path.is_file())
}

impl Renderer<'_> {
    /// The objects of a Kustomize folder.
    pub(crate) fn kustomize(&self, folder: &Path) -> Result<Text, Unrendered> {
        let shown = folder.display();
        let given = self.kustomize.map(|words| words.split_whitespace().collect::<Vec<_>>());
        let commands = match &given {
            Some(words) => vec![words.as_slice()],
            None => vec![&["kustomize", "build"][..], &["kubectl", "kustomize"][..]],
        };
        for words in &commands {
            let Some((program, arguments)) = words.split_first() else {
                continue;
            };
            let mut command = self.command(program);
            command.args(arguments).arg(path_argument(folder));
            let line = format!("{} {shown}", words.join(" "));
            match self.programs.run(command, Stderr::Kept) {
                Err(Failure::Missing) => {}
                Err(failure) => return Err(failed(&line, &failure)),
                Ok((printed, said)) => {
                    pass_on(&said);
                    return text(line, printed);
                }
            }
        }
        let names: Vec<_> = commands.iter().filter_map(|words| words.first()).collect();
        let tried = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
        Err(Unrendered {
            message: format!(
                "{shown}: there is no {} to render this Kustomize folder",
                tried.join(" or ")
            ),
            hint: Some(match given {
                Some(_) => "name a program that is there with --kustomize-command".to_owned(),
                None => GET_KUSTOMIZE.to_owned(),
            }),
        })
    }

    /// The objects of a chart, a text for each of its templates.
    pub(crate) fn helm(&self, chart: &Chart, component: &str, namespace: &str) -> Result<Vec<Text>, Unrendered> {
        let release = chart.release_name.as_deref().unwrap_or(component);
        let line = format!("helm template {release} {}", chart.chart);
        let mut command = self.command("helm");
        command.args(["template", "--namespace", namespace]);
        command.arg(if chart.skip_crds {
            "--skip-crds"
        } else {
            "--include-crds"
        });
        let mut written = Vec::new();
        for values in &chart.values {
            let file = match values {
                Values::File(file) => PathBuf::from(file),
                Values::Inline(value) => {
                    let file = write(value).map_err(|error| {
                        Unrendered::new(format!("{}: its values cannot be written: {error}", chart.chart))
                    })?;
                    written.push(file);
                    written.last().map(|file| file.path().to_owned()).unwrap_or_default()
                }
            };
            command.arg("--values").arg(file);
        }
        let one = |name, value: &Option<String>| value.clone().map(|value| (name, value));
        let many = |name, values: &[String]| values.iter().map(|value| (name, value.clone())).collect::<Vec<_>>();
        let options = [
            one("--version", &chart.version).into_iter().collect(),
            one("--repo", &chart.repo).into_iter().collect(),
            many("--set", &chart.set),
            many("--set-string", &chart.set_string),
            one("--kube-version", &chart.kube_version).into_iter().collect(),
            many("--api-versions", &chart.api_versions),
        ];
        for (name, value) in options.concat() {
            command.args([name, &value]);
        }
        // Names that begin with `-` are names all the same.
        command.args(["--", release, &chart.chart]);
        match self.programs.run(command, Stderr::Kept) {
            Ok((printed, said)) => {
                pass_on(&said);
                Ok(by_template(text(line, printed)?))
            }
            Err(Failure::Missing) => Err(Unrendered {
                message: format!("{}: there is no `helm` to render this chart", chart.chart),
                hint: Some(GET_HELM.to_owned()),
            }),
            Err(failure) => Err(failed(&line, &failure)),
        }
    }

    /// What a command prints.
    pub(crate) fn exec(&self, script: &str) -> Result<Text, Unrendered> {
        let mut command = self.command("sh");
        command.args(["-c", script]);
        let line = format!("exec {}", shortened(script));
        match self.programs.run(command, Stderr::PassedThrough) {
            Ok((printed, _)) => text(line, printed),
            Err(Failure::Missing) => Err(Unrendered {
                message: format!("{line}: there is no `sh` to run it"),
                hint: None,
            }),
            Err(failure) => Err(failed(&line, &failure)),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if !self.folder.as_os_str().is_empty() {
            command.current_dir(self.folder);
        }
        command
    }
}

/// A path that no program takes for an option.
fn path_argument(path: &Path) -> PathBuf {
    if path.as_os_str().as_encoded_bytes().starts_with(b"-") {
        Path::new(".").join(path)
    } else {
        path.to_owned()
    }
}

fn write(value: &Value) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("values-").suffix(".yaml").tempfile()?;
    file.write_all(value.to_string().as_bytes())?;
    Ok(file)
}

/// Warnings of a program that succeeded.
fn pass_on(said: &str) {
    if !said.is_empty() {
        output::note(said);
    }
}

fn failed(line: &str, failure: &Failure) -> Unrendered {
    let reason = match failure {
        Failure::Missing => "there is no such program".to_owned(),
        Failure::Io(error) => error.to_string(),
        Failure::TooMuch(limit) => format!("it printed more than {} MiB", limit >> 20),
        Failure::Failed(status, said) => {
            let ended = status.code().map_or_else(
                || format!("was ended by a signal ({status})"),
                |code| format!("failed with exit code {code}"),
            );
            let said: String = said.lines().map(|line| format!("\n    {line}")).collect();
            return Unrendered::new(format!("{line}: {ended}{said}"));
        }
    };
    Unrendered::new(format!("{line}: {reason}"))
}

fn text(name: String, printed: Vec<u8>) -> Result<Text, Unrendered> {
    match String::from_utf8(printed) {
        Ok(content) => Ok(Text { name, content }),
        Err(_) => Err(Unrendered::new(format!("{name}: what it printed is not UTF-8"))),
    }
}

/// A command's first line, and not too much of it.
fn shortened(script: &str) -> String {
    const LONGEST: usize = 60;
    let first = script.trim().lines().next().unwrap_or_default();
    match first.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &first[..end]),
        None => first.to_owned(),
    }
}

/// Splits what helm printed by the templates that its comments name: each text is what `helm template --show-only`
/// prints of that template, with its lines.
fn by_template(printed: Text) -> Vec<Text> {
    let mut texts: Vec<Text> = Vec::new();
    let mut at = None;
    let mut lines = printed.content.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let source = lines.peek().and_then(|next| next.strip_prefix("# Source: "));
        if let Some(source) = source.filter(|_| line.trim_end() == "---") {
            let name = format!("{}: {}", printed.name, source.trim());
            at = texts.iter().position(|text| text.name == name);
            if at.is_none() {
                texts.push(Text {
                    name,
                    content: String::new(),
                });
                at = Some(texts.len() - 1);
            }
        }
        let index = at.unwrap_or_else(|| {
            texts.push(Text {
                name: printed.name.clone(),
                content: String::new(),
            });
            texts.len() - 1
        });
        at = Some(index);
        texts[index].content.push_str(line);
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(content: &str) -> Vec<(String, String)> {
        let text = Text {
            name: "helm template shop .".to_owned(),
            content: content.to_owned(),
        };
        by_template(text)
            .into_iter()
            .map(|text| (text.name, text.content))
            .collect()
    }

    #[test]
    fn templates_are_told_apart_with_the_lines_that_helm_shows() {
        let found = printed(
            "---\n# Source: shop/a.yaml\na: 1\n---\n# Source: shop/b.yaml\nb: 1\n---\n# Source: shop/a.yaml\na: 2\n---\na: 3\n",
        );
        let name = |path: &str| format!("helm template shop .: shop/{path}");
        let expected = [
            (
                name("a.yaml"),
                "---\n# Source: shop/a.yaml\na: 1\n---\n# Source: shop/a.yaml\na: 2\n---\na: 3\n".to_owned(),
            ),
            (name("b.yaml"), "---\n# Source: shop/b.yaml\nb: 1\n".to_owned()),
        ];
        assert_eq!(found, expected);
        assert_eq!(
            printed("a: 1\n"),
            [("helm template shop .".to_owned(), "a: 1\n".to_owned())]
        );
        assert!(printed("").is_empty());
    }

    #[test]
    fn path_is_never_an_option() {
        assert_eq!(path_argument(Path::new("-x")), Path::new("./-x"));
        assert_eq!(path_argument(Path::new("a/-x")), Path::new("a/-x"));
    }

    #[test]
    fn long_commands_are_shortened_where_they_are_named() {
        assert_eq!(shortened("  echo a\necho b"), "echo a");
        assert_eq!(shortened(&"é".repeat(100)).chars().count(), 61);
    }

    #[test]
    fn failing_command_says_so_and_what_it_was() {
        let programs = Programs::default();
        let renderer = Renderer {
            programs: &programs,
            folder: Path::new(""),
            kustomize: Some("driftless-no-such-program build"),
        };
        let failure = renderer.exec("exit 7").unwrap_err();
        assert_eq!(failure.message, "exec exit 7: failed with exit code 7");
        let failure = renderer.kustomize(Path::new("shop")).unwrap_err();
        assert_eq!(
            failure.message,
            "shop: there is no `driftless-no-such-program` to render this Kustomize folder"
        );
        assert_eq!(renderer.exec("echo 'a: 1'").unwrap().content, "a: 1\n");
    }
}
