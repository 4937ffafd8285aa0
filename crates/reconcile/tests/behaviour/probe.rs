//! What would be is told as the API server sees it, and asking changes nothing.

use std::sync::Arc;

use driftless_model::{
    bundle::upkeep::Budget,
    manifest::ManifestId,
    prospect::{Outcome, Prospect},
    view::View,
};
use driftless_reconcile::{Settings, probe::Prober};
use driftless_sim::Cluster;
use serde_json::{Value, json};

use crate::rig::*;

fn prober(cluster: &Cluster) -> Prober {
    Prober::new(cluster.client(), Arc::new(|| true), &Settings::default())
}

async fn ask(cluster: &Cluster, view: &View) -> Prospect {
    prober(cluster).ask(view, None).await.expect("it is answered")
}

fn outcome<'a>(prospect: &'a Prospect, component: &str, kind: &str, name: &str) -> Option<&'a Outcome> {
    let component = prospect.components.get(&component.parse().expect("a name"))?;
    let is_it = |id: &&ManifestId| id.kind == kind && id.name == name;
    let id = component.objects.keys().find(is_it)?;
    component.objects.get(id)
}

fn refused<'a>(prospect: &'a Prospect, component: &str, kind: &str, name: &str) -> &'a str {
    match outcome(prospect, component, kind, name) {
        Some(Outcome::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Changes with everything that a cluster holds.
fn all_of(cluster: &Cluster) -> u64 {
    cluster.version()
}

#[tokio::test(start_paused = true)]
async fn first_push_is_told_object_by_object_and_nothing_is_written() {
    let (cluster, other) = simulated();
    other.create(&namespace("old")).await;
    let before = all_of(&cluster);
    let mut in_old = config_map("there", "1");
    in_old["metadata"]["namespace"] = json!("old");
    let desired = view(&[(
        "shop",
        &[
            namespace("shop"),
            definition(),
            config_map("a", "1"),
            widget("w"),
            in_old,
        ],
    )]);
    let prospect = ask(&cluster, &desired).await;
    let told = |kind, name| outcome(&prospect, "shop", kind, name);
    assert_eq!(told("Namespace", "shop"), Some(&Outcome::Created(None)));
    assert_eq!(told("ConfigMap", "there"), Some(&Outcome::Created(None)));
    let unasked = |outcome: Option<&Outcome>, words: &str| match outcome {
        Some(Outcome::Created(Some(why))) => assert!(why.contains(words), "{why}"),
        other => panic!("{other:?}"),
    };
    unasked(told("ConfigMap", "a"), "Namespace shop comes with the same snapshot");
    unasked(told("Widget", "w"), "CustomResourceDefinition widgets.example.com");
    assert_eq!(all_of(&cluster), before);
}

#[tokio::test(start_paused = true)]
async fn fields_that_would_change_are_told_with_what_is_live() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let running = Running::start(cluster.client());
    let objects = [config_map("a", "1"), config_map("b", "1"), config_map("c", "1")];
    running.converge(&view(&[("shop", &objects)])).await;
    time_passes(std::time::Duration::from_secs(5)).await;
    running.stop().await;
    let same = ask(&cluster, &view(&[("shop", &objects)])).await;
    let shop = &same.components[&"shop".parse().unwrap()];
    assert_eq!((shop.unchanged, shop.objects.len()), (3, 0), "{same:?}");

    // By hand, while nobody looks: `a` is to be repaired, `c` leaves.
    other
        .patch(&config_map("a", ""), json!({"data": {"key": "theirs"}}))
        .await;
    let before = all_of(&cluster);
    let next = view(&[("shop", &[config_map("a", "1"), config_map("b", "2")])]);
    let prospect = ask(&cluster, &next).await;
    for (name, before, after) in [("a", "theirs", "1"), ("b", "1", "2")] {
        let Some(Outcome::Changed { fields, more: 0 }) = outcome(&prospect, "shop", "ConfigMap", name) else {
            panic!("{prospect:?}");
        };
        assert_eq!(fields.len(), 1, "{fields:?}");
        assert_eq!(fields[0].path, "data.key");
        assert_eq!(
            (fields[0].before.clone(), fields[0].after.clone()),
            (Some(json!(before)), Some(json!(after)))
        );
    }
    assert_eq!(
        outcome(&prospect, "shop", "ConfigMap", "c"),
        Some(&Outcome::Pruned(None))
    );
    assert_eq!(all_of(&cluster), before);
}

#[tokio::test(start_paused = true)]
async fn objects_that_would_be_refused_are_named_and_the_others_told_all_the_same() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    other.apply(&config_map("theirs", "1"), "somebody").await;
    let mut helm = config_map("helm", "1");
    helm["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    helm["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "web"});
    other.create(&helm).await;
    let mut invalid = config_map("invalid", "1");
    invalid["data"]["key"] = json!(5);
    let mut elsewhere = config_map("elsewhere", "1");
    elsewhere["metadata"]["namespace"] = json!("nowhere");
    let objects = [
        config_map("fine", "1"),
        config_map("theirs", "2"),
        config_map("helm", "1"),
        invalid,
        elsewhere,
        widget("w"),
    ];
    let prospect = ask(&cluster, &view(&[("shop", &objects)])).await;
    assert_eq!(
        outcome(&prospect, "shop", "ConfigMap", "fine"),
        Some(&Outcome::Created(None))
    );
    for (kind, name, words) in [
        ("ConfigMap", "theirs", "`somebody` owns .data.key: leave the fields out"),
        (
            "ConfigMap",
            "helm",
            "belongs to Helm's release `web`: set `adopt: true`",
        ),
        ("ConfigMap", "invalid", "the API server answered: "),
        ("ConfigMap", "elsewhere", "create the namespace, or push it together"),
        ("Widget", "w", "does not serve kind Widget in example.com/v1"),
    ] {
        let why = refused(&prospect, "shop", kind, name);
        assert!(why.contains(words), "{name}: {why}");
        assert!(!why.contains("tried again"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn value_of_a_secret_is_never_told() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let secret = |data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}, "data": data});
    // As if it had been ours once, with data.
    other
        .apply(&secret(json!({"password": "aHVudGVyMg=="})), "driftless")
        .await;
    let mut bare = secret(json!({}));
    bare.as_object_mut().unwrap().remove("data");
    let prospect = ask(&cluster, &view(&[("shop", &[bare])])).await;
    let Some(Outcome::Changed { fields, .. }) = outcome(&prospect, "shop", "Secret", "s") else {
        panic!("{prospect:?}");
    };
    let secret = fields.iter().find(|field| field.path.starts_with("data")).unwrap();
    assert_eq!((&secret.before, &secret.after), (&None, &None));
    assert!(!format!("{prospect:?}").contains("aHVudGVyMg"), "{prospect:?}");
}

#[tokio::test(start_paused = true)]
async fn deletions_beyond_the_budget_say_that_they_wait_and_kept_objects_stay() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let running = Running::start(cluster.client());
    let names: Vec<_> = (0..12).map(|n| format!("c{n:02}")).collect();
    let mut objects: Vec<_> = names.iter().map(|name| config_map(name, "1")).collect();
    let mut kept = config_map("kept", "1");
    kept["metadata"]["annotations"] = json!({"driftless.dev/prune": "disabled"});
    objects.push(kept);
    running.converge(&view(&[("shop", &objects)])).await;
    running.stop().await;
    let prospect = ask(&cluster, &view(&[("shop", &objects[..1])])).await;
    let Some(Outcome::Pruned(Some(why))) = outcome(&prospect, "shop", "ConfigMap", "c05") else {
        panic!("{prospect:?}");
    };
    assert!(why.contains("driftless approve-prune <cluster> shop"), "{why}");
    assert!(matches!(
        outcome(&prospect, "shop", "ConfigMap", "kept"),
        Some(Outcome::Left(_))
    ));
    // Of a component that is not there at all any more.
    let prospect = ask(&cluster, &View::default()).await;
    let shop = &prospect.components[&"shop".parse().unwrap()];
    assert_eq!((shop.bundle, shop.objects.len()), (None, 13));
}

#[tokio::test(start_paused = true)]
async fn one_component_is_asked_about_alone_and_must_be_there() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let desired = view(&[("cart", &[config_map("a", "1")]), ("shop", &[config_map("b", "1")])]);
    let prospect = prober(&cluster)
        .ask(&desired, Some(&"cart".parse().unwrap()))
        .await
        .unwrap();
    let names: Vec<_> = prospect.components.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["cart"]);
    let error = prober(&cluster)
        .ask(&desired, Some(&"none".parse().unwrap()))
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("component `none` is neither"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn agent_that_does_not_lead_and_api_server_that_is_away_are_told() {
    let (cluster, _) = simulated();
    let idle = Prober::new(cluster.client(), Arc::new(|| false), &Settings::default());
    let error = idle.ask(&View::default(), None).await.unwrap_err();
    assert!(error.to_string().contains("does not lead any more"), "{error}");
    cluster.faults().cut_off();
    let error = prober(&cluster).ask(&View::default(), None).await.unwrap_err();
    assert!(error.to_string().contains("could not be reached"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn hooks_of_a_new_version_are_told_in_their_order_and_not_run() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let job = |name: &str, annotations: Value| {
        json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a:1"}]}}}})
    };
    let argo = |name: &str, when: &str, wave: &str| {
        job(
            name,
            json!({"argocd.argoproj.io/hook": when, "argocd.argoproj.io/sync-wave": wave}),
        )
    };
    let all = |value: &str| {
        view(&[(
            "shop",
            &[
                config_map("a", value),
                argo("after", "PostSync", "0"),
                argo("cry", "SyncFail", "0"),
                argo("late", "PreSync", "1"),
                argo("early", "PreSync", "0"),
                argo("never", "Skip", "0"),
                job("install", json!({"helm.sh/hook": "pre-install"})),
                job("upgrade", json!({"helm.sh/hook": "pre-upgrade"})),
            ],
        )])
    };
    let hooks = |prospect: &Prospect| {
        let shop = &prospect.components[&"shop".parse().unwrap()];
        assert!(shop.objects.keys().all(|id| id.kind == "ConfigMap"), "{shop:?}");
        let told = shop
            .hooks
            .iter()
            .map(|hook| format!("{:?} {}", hook.phase, hook.object.name));
        told.collect::<Vec<_>>().join(", ")
    };
    let before = all_of(&cluster);
    let told = hooks(&ask(&cluster, &all("1")).await);
    assert_eq!(
        told,
        "PreSync early, PreSync install, PreSync late, PostSync after, SyncFail cry"
    );
    assert_eq!(all_of(&cluster), before);

    // What follows is an upgrade, also where nothing had hooks before.
    let running = Running::start(cluster.client());
    running.converge(&view(&[("shop", &[config_map("a", "0")])])).await;
    time_passes(std::time::Duration::from_secs(30)).await;
    running.stop().await;
    let upgrade = "PreSync early, PreSync upgrade, PreSync late, PostSync after, SyncFail cry";
    assert_eq!(hooks(&ask(&cluster, &all("1")).await), upgrade);

    // What has run for a version does not run for it again.
    let running = Running::start(cluster.client());
    running.converge(&all("1")).await;
    time_passes(std::time::Duration::from_secs(30)).await;
    running.stop().await;
    assert_eq!(hooks(&ask(&cluster, &all("1")).await), "");
    assert_eq!(hooks(&ask(&cluster, &all("2")).await), upgrade);
}

#[tokio::test(start_paused = true)]
async fn component_that_left_is_weighed_by_the_budget_that_it_had() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let running = Running::start(cluster.client());
    let budget = |view: &Arc<View>, name: &str, objects| {
        keeping(view, name, |spec| {
            spec.prune.budget = Some(Budget { objects, percent: 0 })
        })
    };
    let many: Vec<_> = (0..12).map(|n| config_map(&format!("c{n:02}"), "1")).collect();
    let both = view(&[("few", &[config_map("a", "1"), config_map("b", "1")]), ("many", &many)]);
    let both = budget(&budget(&both, "few", 1), "many", 100);
    running.converge(&both).await;
    time_passes(std::time::Duration::from_secs(30)).await;
    running.stop().await;
    let prospect = ask(&cluster, &View::default()).await;
    let waits = |component, name| match outcome(&prospect, component, "ConfigMap", name) {
        Some(Outcome::Pruned(why)) => why.is_some(),
        other => panic!("{other:?}"),
    };
    assert!(waits("few", "a"));
    assert!(!waits("many", "c05"));
}
