//! The YAML that brings an agent into a cluster: `deploy/agent.yaml`, filled in.
//!
//! A value is only ever put where the template has a whole scalar, and in a form that YAML cannot read as anything
//! else: a name in double quotes, the join file as an indented block of plain ASCII. The agent's rights are documents of
//! their own, one file for each [`Rbac`].

use driftless_model::join::JoinFile;

use crate::scalar::{ascii, quoted};

/// The template. `${…}` stands for a value; nothing else in it may look like that.
const TEMPLATE: &str = include_str!("../../../../../../deploy/agent.yaml");

/// What the agent may do in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Rbac {
    /// What it needs itself: see objects, tell Events, and act as ServiceAccounts called `driftless-deployer`, which
    /// components name; more by ClusterRoles with the label `driftless.dev/aggregate-to-agent: "true"`
    Minimal,
    /// Anything
    ClusterAdmin,
}

impl Rbac {
    fn documents(self) -> &'static str {
        match self {
            Self::Minimal => include_str!("../../../../../../deploy/rbac-minimal.yaml"),
            Self::ClusterAdmin => include_str!("../../../../../../deploy/rbac-cluster-admin.yaml"),
        }
    }
}

/// The manifests for the agent of `join`'s cluster, with this image and these rights.
pub(crate) fn text(join: &JoinFile, image: &str, rbac: Rbac) -> String {
    let mut out = String::with_capacity(TEMPLATE.len() + 4096);
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after
            .split_once('}')
            .expect("every placeholder of the template is closed");
        out.push_str(before);
        let indent = before.rsplit('\n').next().unwrap_or_default().len();
        match name {
            "cluster" => out.push_str(&quoted(join.cluster.as_str())),
            "image" => out.push_str(&quoted(image)),
            "rbac" => out.push_str(rbac.documents().trim_end()),
            "join" => out.push_str(&block(&join.encode(), indent)),
            other => unreachable!("the template asks for `{other}`, which a test would have found"),
        }
        rest = after;
    }
    out + rest
}

/// The lines of a JSON document behind a `|`: the first goes where the placeholder is.
fn block(json: &str, indent: usize) -> String {
    let lines: Vec<_> = json.lines().map(ascii).collect();
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

#[cfg(test)]
mod tests {
    use driftless_model::{intake, join, manifest::Manifest, yaml};
    use serde_json::Value;

    use super::*;

    fn join(server: &str, ca: &str) -> JoinFile {
        JoinFile {
            format: join::FORMAT,
            server: server.to_owned(),
            ca: ca.to_owned(),
            cluster: "on".parse().unwrap(),
            token: "dlj_s3cret".to_owned(),
        }
    }

    fn documents(text: &str) -> Vec<Value> {
        let read = yaml::documents(text, &yaml::Limits::default()).unwrap();
        read.into_iter().map(|document| document.value).collect()
    }

    fn of_kind(documents: &[Value], kind: &str) -> Value {
        documents
            .iter()
            .find(|document| document["kind"] == kind)
            .cloned()
            .unwrap()
    }

    #[test]
    fn whatever_the_values_hold_the_agent_gets_them_unchanged() {
        let hostile = "a: [b\n--- \"\\u0041${image}\n\u{2028}\u{85}é🙂 # 'x'\t";
        let join = join(hostile, hostile);
        let documents = documents(&text(&join, "r/i:1 #\" ${join}", Rbac::Minimal));
        let secret = of_kind(&documents, "Secret");
        assert_eq!(
            JoinFile::decode(secret["stringData"]["join"].as_str().unwrap()).unwrap(),
            join
        );
        let pod = of_kind(&documents, "DaemonSet")["spec"]["template"].clone();
        assert_eq!(pod["spec"]["containers"][0]["image"], "r/i:1 #\" ${join}");
        assert_eq!(pod["metadata"]["annotations"]["driftless.dev/cluster"], "on");
    }

    #[test]
    fn everything_but_the_secret_could_be_pushed() {
        for (rbac, count) in [(Rbac::Minimal, 8), (Rbac::ClusterAdmin, 4)] {
            let text = text(&join("https://s:1", "PEM"), "i", rbac);
            let without_secret: Vec<_> = documents(&text)
                .into_iter()
                .filter(|object| object["kind"] != "Secret")
                .collect();
            assert_eq!(without_secret.len(), count);
            for object in without_secret {
                Manifest::new(object, "default").unwrap();
            }
            let refused = intake::read(
                &[intake::Text {
                    name: "-".to_owned(),
                    content: text,
                }],
                "default",
            )
            .unwrap_err();
            assert_eq!(refused.len(), 1, "{refused:?}");
        }
    }

    #[test]
    fn minimal_rights_read_no_secrets_and_write_nothing_outside_of_the_own_namespace() {
        let documents = documents(Rbac::Minimal.documents());
        let roles = documents.iter().filter(|object| object["kind"] == "ClusterRole");
        let rules: Vec<_> = roles.filter_map(|role| role["rules"].as_array()).flatten().collect();
        assert!(rules.len() > 10);
        for rule in rules {
            let names = |field: &str| -> Vec<String> {
                serde_json::from_value(rule.get(field).cloned().unwrap_or_default()).unwrap_or_default()
            };
            let resources = names("resources");
            assert!(
                !names("apiGroups").iter().chain(&resources).any(|it| it == "*"),
                "{rule}"
            );
            match names("verbs").iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["impersonate"] => assert_eq!(names("resourceNames"), ["driftless-deployer"]),
                ["create"] => assert_eq!(resources, ["events"]),
                ["get", "list", "watch"] => {
                    let leaks = |it: &String| it == "secrets" || it.contains('/');
                    assert!(!resources.iter().any(leaks), "{rule}");
                }
                _ => panic!("{rule}"),
            }
        }
    }

    #[test]
    fn agent_has_no_more_rights_in_its_pod_than_it_needs() {
        let documents = documents(&text(&join("https://s:1", "PEM"), "i", Rbac::Minimal));
        let pod = of_kind(&documents, "DaemonSet")["spec"]["template"]["spec"].clone();
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        let container = pod["containers"][0]["securityContext"].clone();
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["capabilities"]["drop"][0], "ALL");
    }
}
