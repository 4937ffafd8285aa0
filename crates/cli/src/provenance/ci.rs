//! The run of a CI system that a push is part of, from the environment variables that the systems document.
//!
//! Tekton, Argo Workflows and others set none of their own; there a step sets `DRIFTLESS_CI=tekton` and, of
//! `DRIFTLESS_CI_RUN`, `DRIFTLESS_CI_ACTOR` and `DRIFTLESS_CI_PIPELINE`, what it knows. They win everywhere.

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Run {
    /// Which system.
    pub(super) system: String,
    /// Where its page is.
    pub(super) url: Option<String>,
    /// Who or what started it.
    pub(super) actor: Option<String>,
    /// Workflow, pipeline or job, as its system names it.
    pub(super) pipeline: Option<String>,
    /// What it checked out, where git does not tell.
    pub(super) commit: Option<String>,
    pub(super) branch: Option<String>,
}

/// A system, by the variable that only it sets, and the variables of a run: the first that is there counts.
struct System {
    name: &'static str,
    marker: &'static str,
    url: &'static [&'static str],
    actor: &'static [&'static str],
    pipeline: &'static [&'static str],
    commit: &'static [&'static str],
    branch: &'static [&'static str],
}

const SYSTEMS: [System; 6] = [
    System {
        name: "github-actions",
        marker: "GITHUB_ACTIONS",
        url: &[],
        actor: &["GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR"],
        pipeline: &["GITHUB_WORKFLOW"],
        commit: &["GITHUB_SHA"],
        branch: &["GITHUB_HEAD_REF", "GITHUB_REF_NAME"],
    },
    System {
        name: "gitlab-ci",
        marker: "GITLAB_CI",
        url: &["CI_JOB_URL", "CI_PIPELINE_URL"],
        actor: &["GITLAB_USER_LOGIN"],
        pipeline: &["CI_PIPELINE_NAME", "CI_PROJECT_PATH"],
        commit: &["CI_COMMIT_SHA"],
        branch: &["CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_REF_NAME"],
    },
    System {
        name: "circleci",
        marker: "CIRCLECI",
        url: &["CIRCLE_BUILD_URL"],
        actor: &["CIRCLE_USERNAME"],
        pipeline: &["CIRCLE_JOB"],
        commit: &["CIRCLE_SHA1"],
        branch: &["CIRCLE_BRANCH", "CIRCLE_TAG"],
    },
    System {
        name: "buildkite",
        marker: "BUILDKITE",
        url: &["BUILDKITE_BUILD_URL"],
        actor: &["BUILDKITE_BUILD_CREATOR", "BUILDKITE_BUILD_AUTHOR"],
        pipeline: &["BUILDKITE_PIPELINE_SLUG"],
        commit: &["BUILDKITE_COMMIT"],
        branch: &["BUILDKITE_BRANCH"],
    },
    System {
        name: "azure-pipelines",
        marker: "TF_BUILD",
        url: &[],
        actor: &["BUILD_REQUESTEDFOR"],
        pipeline: &["BUILD_DEFINITIONNAME"],
        commit: &["BUILD_SOURCEVERSION"],
        branch: &["BUILD_SOURCEBRANCH"],
    },
    System {
        name: "jenkins",
        marker: "JENKINS_URL",
        url: &["RUN_DISPLAY_URL", "BUILD_URL"],
        actor: &["BUILD_USER_ID", "BUILD_USER"],
        pipeline: &["JOB_NAME"],
        commit: &["GIT_COMMIT"],
        branch: &["CHANGE_BRANCH", "BRANCH_NAME", "GIT_BRANCH"],
    },
];

/// The run that this process is part of.
pub(super) fn run(env: &impl Fn(&str) -> Option<String>) -> Option<Run> {
    let first = |names: &[&str]| names.iter().find_map(|name| env(name));
    let system = SYSTEMS
        .iter()
        .find(|system| env(system.marker).is_some_and(|value| value != "false"));
    let own = env("DRIFTLESS_CI");
    let mut run = system.map(|system| Run {
        system: system.name.to_owned(),
        url: first(system.url).or_else(|| composed(system.name, env)),
        actor: first(system.actor),
        pipeline: first(system.pipeline),
        commit: first(system.commit),
        branch: first(system.branch).map(|branch| branch.trim_start_matches("refs/heads/").to_owned()),
    });
    if let Some(name) = own {
        run.get_or_insert_default().system = name;
    }
    let mut run = run?;
    run.url = env("DRIFTLESS_CI_RUN").or(run.url);
    run.actor = env("DRIFTLESS_CI_ACTOR").or(run.actor);
    run.pipeline = env("DRIFTLESS_CI_PIPELINE").or(run.pipeline);
    Some(run)
}

/// The address of a run whose system gives only its parts.
fn composed(system: &str, env: &impl Fn(&str) -> Option<String>) -> Option<String> {
    match system {
        "github-actions" => {
            let (server, repository, id) = (
                env("GITHUB_SERVER_URL")?,
                env("GITHUB_REPOSITORY")?,
                env("GITHUB_RUN_ID")?,
            );
            let attempt = env("GITHUB_RUN_ATTEMPT").filter(|attempt| attempt != "1");
            let attempt = attempt
                .map(|attempt| format!("/attempts/{attempt}"))
                .unwrap_or_default();
            Some(format!("{server}/{repository}/actions/runs/{id}{attempt}"))
        }
        "azure-pipelines" => {
            let (collection, project) = (env("SYSTEM_COLLECTIONURI")?, env("SYSTEM_TEAMPROJECT")?);
            let id = env("BUILD_BUILDID")?;
            let (collection, project) = (collection.trim_end_matches('/'), project.replace(' ', "%20"));
            Some(format!("{collection}/{project}/_build/results?buildId={id}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Variables<'a> = &'a [(&'a str, &'a str)];

    fn found(variables: Variables<'_>) -> Option<[String; 6]> {
        let env = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let text = |value: Option<String>| value.unwrap_or_default();
        run(&env).map(|run| {
            let [url, actor, pipeline] = [run.url, run.actor, run.pipeline].map(text);
            [run.system, url, actor, pipeline, text(run.commit), text(run.branch)]
        })
    }

    #[test]
    fn runs_are_told_by_what_their_systems_set() {
        let cases: [(Variables<'_>, [&str; 6]); 7] = [
            (
                &[
                    ("GITHUB_ACTIONS", "true"),
                    ("GITHUB_SERVER_URL", "https://github.com"),
                    ("GITHUB_REPOSITORY", "a/b"),
                    ("GITHUB_RUN_ID", "7"),
                    ("GITHUB_RUN_ATTEMPT", "2"),
                    ("GITHUB_ACTOR", "ann"),
                    ("GITHUB_WORKFLOW", "release"),
                    ("GITHUB_SHA", "c0"),
                    ("GITHUB_REF_NAME", "main"),
                ],
                [
                    "github-actions",
                    "https://github.com/a/b/actions/runs/7/attempts/2",
                    "ann",
                    "release",
                    "c0",
                    "main",
                ],
            ),
            (
                &[
                    ("GITLAB_CI", "true"),
                    ("CI_JOB_URL", "https://gitlab.com/a/b/-/jobs/7"),
                    ("GITLAB_USER_LOGIN", "ann"),
                    ("CI_PROJECT_PATH", "a/b"),
                    ("CI_COMMIT_SHA", "c0"),
                    ("CI_COMMIT_REF_NAME", "main"),
                ],
                [
                    "gitlab-ci",
                    "https://gitlab.com/a/b/-/jobs/7",
                    "ann",
                    "a/b",
                    "c0",
                    "main",
                ],
            ),
            (
                &[
                    ("CIRCLECI", "true"),
                    ("CIRCLE_BUILD_URL", "https://circleci.com/gh/a/b/7"),
                    ("CIRCLE_USERNAME", "ann"),
                    ("CIRCLE_JOB", "release"),
                    ("CIRCLE_SHA1", "c0"),
                    ("CIRCLE_BRANCH", "main"),
                ],
                [
                    "circleci",
                    "https://circleci.com/gh/a/b/7",
                    "ann",
                    "release",
                    "c0",
                    "main",
                ],
            ),
            (
                &[
                    ("BUILDKITE", "true"),
                    ("BUILDKITE_BUILD_URL", "https://buildkite.com/a/b/builds/7"),
                    ("BUILDKITE_BUILD_CREATOR", "Ann"),
                    ("BUILDKITE_PIPELINE_SLUG", "b"),
                    ("BUILDKITE_COMMIT", "c0"),
                    ("BUILDKITE_BRANCH", "main"),
                ],
                [
                    "buildkite",
                    "https://buildkite.com/a/b/builds/7",
                    "Ann",
                    "b",
                    "c0",
                    "main",
                ],
            ),
            (
                &[
                    ("TF_BUILD", "True"),
                    ("SYSTEM_COLLECTIONURI", "https://dev.azure.com/a/"),
                    ("SYSTEM_TEAMPROJECT", "b c"),
                    ("BUILD_BUILDID", "7"),
                    ("BUILD_REQUESTEDFOR", "Ann"),
                    ("BUILD_DEFINITIONNAME", "release"),
                    ("BUILD_SOURCEVERSION", "c0"),
                    ("BUILD_SOURCEBRANCH", "refs/heads/main"),
                ],
                [
                    "azure-pipelines",
                    "https://dev.azure.com/a/b%20c/_build/results?buildId=7",
                    "Ann",
                    "release",
                    "c0",
                    "main",
                ],
            ),
            (
                &[
                    ("JENKINS_URL", "https://ci.example/"),
                    ("BUILD_URL", "https://ci.example/job/a/7/"),
                    ("JOB_NAME", "a"),
                    ("GIT_COMMIT", "c0"),
                    ("BRANCH_NAME", "main"),
                ],
                ["jenkins", "https://ci.example/job/a/7/", "", "a", "c0", "main"],
            ),
            (
                &[
                    ("DRIFTLESS_CI", "tekton"),
                    ("DRIFTLESS_CI_RUN", "https://tekton.example/r/7"),
                    ("DRIFTLESS_CI_PIPELINE", "release"),
                ],
                ["tekton", "https://tekton.example/r/7", "", "release", "", ""],
            ),
        ];
        for (variables, expected) in cases {
            assert_eq!(found(variables), Some(expected.map(str::to_owned)), "{variables:?}");
        }
        assert_eq!(found(&[("CI", "true")]), None);
    }
}
