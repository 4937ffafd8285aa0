//! Clusters from the command line: labels, variables, moves, files, retirement.

use anyhow::Result;
use serde_json::{Value, json};

use crate::desk::Desk;

/// Channels `prod` and `dev`, and clusters `edge-1` to `edge-3` in `prod`.
async fn fleet() -> Result<Desk> {
    let desk = Desk::ready().await?;
    desk.succeeds(&["channel", "create", "dev"]).await?;
    for name in ["edge-1", "edge-2", "edge-3"] {
        let words = [
            "cluster",
            "enroll",
            name,
            "--channel",
            "prod",
            "--label",
            "region=eu",
            "--var",
            "replicas=3",
            "--join-file",
            "join",
        ];
        desk.succeeds(&words).await?;
    }
    Ok(desk)
}

async fn cluster(desk: &Desk, name: &str) -> Result<Value> {
    let all: Value = desk.runs(&["clusters", "-o", "json"]).await?.json()?;
    let found = all
        .as_array()
        .and_then(|all| all.iter().find(|cluster| cluster["name"] == name).cloned());
    Ok(found.unwrap_or(Value::Null))
}

#[tokio::test]
async fn labels_are_set_as_kubectl_does() -> Result<()> {
    let desk = fleet().await?;
    let told = desk
        .runs(&["cluster", "label", "edge-1", "edge-2", "tier=edge", "region-"])
        .await?;
    assert_eq!(
        told.stdout,
        "edge-1  - label region=eu\nedge-1  + label tier=edge\nedge-2  - label region=eu\nedge-2  + label tier=edge\n",
        "{}",
        told.stderr
    );
    assert!(
        told.stderr.starts_with("2 clusters changed (journal entry "),
        "{}",
        told.stderr
    );
    assert_eq!(desk.succeeds(&["cluster", "label", "edge-1"]).await?, "tier=edge\n");
    assert_eq!(
        desk.succeeds(&["cluster", "label", "edge-1", "edge-3"]).await?,
        "edge-1  tier=edge\nedge-3  region=eu\n"
    );

    let refused = desk.runs(&["cluster", "label", "--all", "tier=core"]).await?;
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        refused.stderr,
        "cluster `edge-1`: label `tier` is `edge` already: `--overwrite` replaces it\n\
         cluster `edge-2`: label `tier` is `edge` already: `--overwrite` replaces it\n\
         error: 2 problems: nothing was changed\n\
         hint: all clusters change together, or none does\n"
    );
    let dry = desk
        .runs(&[
            "cluster",
            "label",
            "-l",
            "tier=edge",
            "tier=core",
            "--overwrite",
            "--dry-run",
        ])
        .await?;
    assert_eq!(
        dry.stdout,
        "edge-1  ~ label tier: edge → core\nedge-2  ~ label tier: edge → core\n"
    );
    assert_eq!(dry.stderr, "2 clusters would change (--dry-run)\n");
    let names = desk
        .succeeds(&[
            "cluster",
            "label",
            "--channel",
            "prod",
            "tier=core",
            "--overwrite",
            "-o",
            "name",
        ])
        .await?;
    assert_eq!(names, "cluster/edge-1\ncluster/edge-2\ncluster/edge-3\n");
    let again = desk.runs(&["cluster", "label", "--all", "tier=core"]).await?;
    assert_eq!(again.stderr, "nothing to change; 3 are as asked already\n");

    let listed = desk
        .succeeds(&["cluster", "list", "-l", "region in (eu)", "-L", "region,tier"])
        .await?;
    assert_eq!(
        listed,
        "NAME    CHANNEL  STATE    HEALTH  OBJECTS  SEEN  KUBERNETES  REGION  TIER\n\
         edge-3  prod     invited  -       -        -     -           eu      core\n"
    );
    Ok(())
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_words() -> Result<()> {
    let desk = fleet().await?;
    let told = async |words: &[&str]| -> Result<String> {
        let mut all = vec!["cluster"];
        all.extend(words);
        let refused = desk.runs(&all).await?;
        assert_ne!(refused.status.code(), Some(0), "{}", refused.stdout);
        Ok(refused.stderr)
    };
    assert_eq!(
        told(&["label", "edge-9", "a=b"]).await?,
        "error: there is no cluster `edge-9`: `driftless clusters` lists them, `driftless cluster enroll edge-9` adds it\n"
    );
    assert_eq!(
        told(&["label", "a=b"]).await?,
        "error: no clusters are given\nhint: name them, or choose some with -l SELECTOR, --channel NAME or --all\n"
    );
    assert_eq!(
        told(&["label", "edge-1", "--all", "a=b"]).await?,
        "error: clusters are both named and chosen\nhint: give names, or choose with -l, --channel and --all\n"
    );
    assert_eq!(
        told(&["label", "edge-1", "driftless.dev/x=y"]).await?,
        "cluster `edge-1`: label `driftless.dev/x` is Driftless' own: choose a key without the prefix `driftless.dev/`\n\
         error: 1 problem: nothing was changed\nhint: all clusters change together, or none does\n"
    );
    assert_eq!(
        told(&["vars", "edge-1", "a b=1"]).await?,
        "error: variable name `a b` is not valid: use letters, digits, `_` or `-`, begin with a letter or `_`, and put \
         dots between the names of maps\n"
    );
    assert_eq!(
        told(&["vars", "edge-1", "replicas.x=1"]).await?,
        "cluster `edge-1`: variable `replicas.x` cannot be set, since `replicas` is no map: set `replicas` as a whole\n\
         error: 1 problem: nothing was changed\nhint: all clusters change together, or none does\n"
    );
    assert_eq!(
        told(&["move", "edge-1", "--to", "stage"]).await?,
        "error: there is no channel `stage` (there are `dev`, `prod`): create it with `driftless channel create stage`\n"
    );
    assert_eq!(
        told(&["retire", "edge-1"]).await?,
        "error: nobody is there to ask: retire 1 cluster (edge-1)?\nhint: --yes retires without asking\n"
    );
    Ok(())
}

#[tokio::test]
async fn variables_are_yaml_scalars_files_or_texts() -> Result<()> {
    let desk = fleet().await?;
    desk.write("db.yaml", "host: a\nport: 5432\n")?;
    let told = desk
        .succeeds(&[
            "cluster",
            "vars",
            "edge-1",
            "replicas=5",
            "name=shop",
            "db=@db.yaml",
            "db.user=u",
        ])
        .await?;
    assert_eq!(
        told,
        "edge-1  + var db={\"host\":\"a\",\"port\":5432,\"user\":\"u\"}\n\
         edge-1  + var name=shop\nedge-1  ~ var replicas: 3 → 5\n"
    );
    desk.succeeds(&["cluster", "vars", "edge-1", "--string", "version=1.10", "db.host-"])
        .await?;
    assert_eq!(
        cluster(&desk, "edge-1").await?["vars"],
        json!({"db": {"port": 5432, "user": "u"}, "name": "shop", "replicas": 5, "version": "1.10"})
    );
    assert_eq!(
        desk.succeeds(&["cluster", "vars", "edge-1"]).await?,
        "db={\"port\":5432,\"user\":\"u\"}\nname=shop\nreplicas=5\nversion=\"1.10\"\n"
    );
    Ok(())
}

#[tokio::test]
async fn clusters_move_and_retire() -> Result<()> {
    let desk = fleet().await?;
    let moved = desk
        .runs(&["cluster", "move", "edge-1", "edge-2", "--to", "dev"])
        .await?;
    assert_eq!(
        moved.stdout,
        "edge-1  ~ channel: prod → dev\nedge-2  ~ channel: prod → dev\n"
    );
    assert!(
        moved
            .stderr
            .starts_with("warning: channel `dev` has no snapshot yet: what runs on the clusters goes on"),
        "{}",
        moved.stderr
    );
    desk.succeeds(&["cluster", "move", "edge-1", "--to", "prod"]).await?;
    assert_eq!(cluster(&desk, "edge-1").await?["channel"], "prod");
    assert_eq!(cluster(&desk, "edge-1").await?["changed"]["author"], "admin");
    let sorted = desk
        .succeeds(&["cluster", "list", "--sort-by", "channel", "-o", "name"])
        .await?;
    assert_eq!(sorted, "cluster/edge-2\ncluster/edge-1\ncluster/edge-3\n");
    let retired = desk.runs(&["cluster", "retire", "edge-1", "--yes"]).await?;
    assert_eq!(retired.stdout, "edge-1: retired\n");
    assert!(
        retired.stderr.contains("`kubectl delete namespace driftless-system`"),
        "{}",
        retired.stderr
    );
    assert_eq!(cluster(&desk, "edge-1").await?, Value::Null);
    Ok(())
}

#[tokio::test]
async fn many_clusters_come_from_a_file() -> Result<()> {
    let desk = fleet().await?;
    desk.write(
        "clusters.csv",
        "name,channel,labels.region,vars.replicas\nedge-1,dev,us,5\nedge-2,,,\nedge-3,prod,eu,3\n",
    )?;
    let dry = desk
        .runs(&["cluster", "apply", "-f", "clusters.csv", "--dry-run"])
        .await?;
    let expected = "edge-1  ~ channel: prod → dev\nedge-1  ~ label region: eu → us\nedge-1  ~ var replicas: 3 → 5\n\
                    edge-2  - label region=eu\nedge-2  - var replicas=3\n";
    assert_eq!(dry.stdout, expected, "{}", dry.stderr);
    assert_eq!(
        dry.stderr,
        "2 clusters would change; 1 is as asked already (--dry-run)\n"
    );
    assert_eq!(cluster(&desk, "edge-1").await?["channel"], "prod");
    let applied = desk.runs(&["cluster", "apply", "-f", "clusters.csv"]).await?;
    assert_eq!(applied.stdout, expected, "{}", applied.stderr);
    let again = desk.runs(&["cluster", "apply", "-f", "clusters.csv"]).await?;
    assert_eq!(again.stderr, "nothing to change; 3 are as asked already\n");

    desk.write(
        "bad.csv",
        "name,channel,labels.region\nedge-1,stage,eu\nedge-9,prod,eu\nedge-2,prod,e u\nedge-1,prod,eu\n",
    )?;
    let bad = desk.runs(&["cluster", "apply", "-f", "bad.csv"]).await?;
    assert_eq!(
        bad.stderr,
        "bad.csv:2: there is no channel `stage`: create it with `driftless channel create stage`\n\
         bad.csv:3: cluster `edge-9` is not enrolled: --enroll --join-dir FOLDER enrols it\n\
         bad.csv:4: label value `e u` is not valid: use up to 63 letters, digits, `-`, `_` or `.`, and start and end with \
         a letter or digit\n\
         bad.csv:5: cluster `edge-1` is on line 2 already\n\
         error: bad.csv has 4 problems: nothing was changed\n\
         hint: all clusters change together, or none does\n"
    );

    desk.write(
        "new.yaml",
        "- name: edge-9\n  channel: dev\n  vars: {replicas: 1}\n- name: edge-2\n  labels: {only: this}\n",
    )?;
    let words = ["cluster", "apply", "-f", "new.yaml", "--enroll", "--join-dir", "joins"];
    let enrolled = desk.runs(&words).await?;
    assert_eq!(enrolled.stdout, "edge-2  + label only=this\n", "{}", enrolled.stderr);
    assert!(
        enrolled.stderr.contains("edge-9  + is enrolled into channel dev\n"),
        "{}",
        enrolled.stderr
    );
    assert_eq!(cluster(&desk, "edge-9").await?["vars"], json!({"replicas": 1}));
    let join = std::fs::read_to_string(desk.home.path().join("joins/edge-9.join"))?;
    assert!(driftless_model::join::JoinFile::decode(&join).is_ok(), "{join}");
    Ok(())
}
