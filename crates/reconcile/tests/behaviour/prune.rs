//! What left the desired state goes, if it is ours and did not ask to stay.

use std::{sync::Arc, time::Duration};

use driftless_model::{
    bundle::{
        Spec,
        upkeep::{Budget, Propagation},
    },
    orders::{Consent, Orders},
};
use serde_json::{Value, json};

use crate::rig::*;

#[tokio::test(start_paused = true)]
async fn removed_manifest_is_pruned_once_and_others_objects_are_not() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let kept = {
        let mut kept = config_map("kept", "1");
        kept["metadata"]["annotations"] = json!({"driftless.dev/prune": "disabled"});
        kept
    };
    let all = [
        namespace("shop"),
        config_map("a", "1"),
        config_map("b", "1"),
        kept.clone(),
    ];
    running.converge(&view(&[("shop", &all)])).await;
    other.create(&config_map("theirs", "1")).await;
    let mut copied = config_map("copied", "1");
    copied["metadata"]["labels"] =
        json!({"driftless.dev/component": "shop", "applyset.kubernetes.io/part-of": "applyset-theirs-v1"});
    other.create(&copied).await;
    running.converge(&view(&[("shop", &all[..2])])).await;
    let report = running.until("pruned", |report| report.counters.pruned == 1).await;
    assert_eq!(status(&report, "shop").to_prune, 0);
    assert!(other.get(&config_map("b", "")).await.is_none());
    for there in [config_map("a", ""), config_map("theirs", ""), copied, kept] {
        assert!(other.get(&there).await.is_some(), "{there}");
    }
    assert_eq!(cluster.requests().count("delete", "configmaps"), 1);
}

#[tokio::test(start_paused = true)]
async fn removed_component_goes_with_its_parent_and_its_ground_last() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let objects = [namespace("shop"), definition(), widget("w"), config_map("a", "1")];
    running
        .converge(&view(&[("shop", &objects), ("stays", &[namespace("stays")])]))
        .await;
    let stays = view(&[("stays", &[namespace("stays")])]);
    running.handle.set_desired(stays.clone());
    running.consent("shop").await;
    let report = running.converge(&stays).await;
    assert_eq!(report.counters.pruned, 4);
    assert!(other.get(&parent("shop")).await.is_none());
    assert!(other.get(&namespace("shop")).await.is_none());
    let requests = cluster.requests();
    let deleted: Vec<_> = requests
        .log()
        .filter(|it| it.verb == "delete")
        .map(|it| it.resource.clone())
        .collect();
    let at = |resource: &str| deleted.iter().position(|it| it == resource).expect("it was deleted");
    assert!(
        at("widgets") < at("customresourcedefinitions") && at("configmaps") < at("namespaces"),
        "{deleted:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn component_removed_while_nobody_watched_is_pruned_after_a_restart() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    running
        .converge(&view(&[
            ("shop", &[config_map("a", "1")]),
            ("ground", &[namespace("shop")]),
        ]))
        .await;
    running.stop().await;
    let running = Running::start(cluster.client());
    running.converge(&view(&[("ground", &[namespace("shop")])])).await;
    assert!(other.get(&config_map("a", "")).await.is_none());
    assert!(other.get(&parent("shop")).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn object_that_moves_to_another_component_is_never_deleted() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let ground = [namespace("shop")];
    running
        .converge(&view(&[
            ("a", &[config_map("x", "1")]),
            ("b", &[]),
            ("ground", &ground),
        ]))
        .await;
    let before = other.get(&config_map("x", "")).await.unwrap();
    running
        .converge(&view(&[
            ("a", &[]),
            ("b", &[config_map("x", "1")]),
            ("ground", &ground),
        ]))
        .await;
    running
        .converge(&view(&[("c", &[config_map("x", "1")]), ("ground", &ground)]))
        .await;
    let after = other.get(&config_map("x", "")).await.unwrap();
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(after["metadata"]["labels"]["driftless.dev/component"], "c");
    assert!(other.get(&parent("a")).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_pruned_while_the_new_is_not_applied() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    running
        .converge(&view(&[("shop", &[namespace("shop"), config_map("old", "1")])]))
        .await;
    running
        .handle
        .set_desired(view(&[("shop", &[namespace("shop"), widget("new")])]));
    let report = running.until("told", |report| problem(report, "shop").is_some()).await;
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(status(&report, "shop").to_prune, 1);
    assert!(other.get(&config_map("old", "")).await.is_some());
    other.create(&definition()).await;
    running.until("pruned", |report| report.counters.pruned == 1).await;
}

#[tokio::test(start_paused = true)]
async fn parent_is_narrowed_after_the_prune() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let elsewhere = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "elsewhere"}});
    let all = [
        namespace("shop"),
        namespace("elsewhere"),
        config_map("a", "1"),
        elsewhere,
    ];
    running.converge(&view(&[("shop", &all)])).await;
    let left = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
    running.handle.set_desired(left.clone());
    running.consent("shop").await;
    running.converge(&left).await;
    time_passes(Duration::from_secs(30)).await;
    let annotations = &other.get(&parent("shop")).await.unwrap()["metadata"]["annotations"];
    assert_eq!(
        annotations["applyset.kubernetes.io/contains-group-kinds"],
        "ConfigMap,Namespace"
    );
    assert_eq!(annotations["applyset.kubernetes.io/additional-namespaces"], "shop");
}

fn many(count: usize) -> Vec<Value> {
    let maps = (0..count).map(|number| config_map(&format!("n{number:02}"), "1"));
    std::iter::once(namespace("shop")).chain(maps).collect()
}

#[tokio::test(start_paused = true)]
async fn more_than_the_budget_goes_only_with_consent_to_exactly_that() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let all = many(30);
    running.converge(&view(&[("shop", &all)])).await;
    running.handle.set_desired(view(&[("shop", &all[..20])]));
    let blocked = running.until_blocked("shop").await;
    assert_eq!((blocked.objects, blocked.sample.len()), (11, 10));
    time_passes(Duration::from_secs(600)).await;
    let report = running.handle.report().borrow().clone();
    let told = problem(&report, "shop").expect("it is told");
    assert_eq!(told.reason, "PruneBlocked");
    assert!(
        told.message
            .starts_with("11 of 31 objects left the component and would be deleted, ConfigMap shop/n19, ")
            && told.message.contains("and 8 more")
            && told.message.contains("`driftless approve-prune <cluster> shop`"),
        "{}",
        told.message
    );
    assert_eq!(cluster.requests().count("delete", "configmaps"), 0);

    // Consent to other objects than these is none.
    let fewer = view(&[("shop", &all[..19])]);
    running.handle.set_desired(fewer.clone());
    running
        .until("one more to wait", |report| status(report, "shop").to_prune == 12)
        .await;
    running.handle.set_orders(Arc::new(Orders {
        consents: [(
            "shop".parse().unwrap(),
            Consent {
                deletions: blocked.deletions,
                until: "2100-01-01T00:00:00Z".parse().expect("a time"),
                author: "ann".to_owned(),
            },
        )]
        .into(),
        ..Orders::default()
    }));
    time_passes(Duration::from_secs(600)).await;
    assert_eq!(cluster.requests().count("delete", "configmaps"), 0);

    running.consent("shop").await;
    let report = running.converge(&fewer).await;
    assert_eq!(report.counters.pruned, 12);
    assert!(status(&report, "shop").prune_blocked.is_none());
    assert!(other.get(&config_map("n18", "")).await.is_none());
    assert!(other.get(&config_map("n17", "")).await.is_some());

    // The next deletions are measured anew.
    running.handle.set_desired(view(&[("shop", &all[..1])]));
    assert_eq!(running.until_blocked("shop").await.objects, 18);
}

#[tokio::test(start_paused = true)]
async fn budget_is_kept_across_a_restart_in_which_objects_come_to_light_one_by_one() {
    let (cluster, _) = simulated();
    let running = Running::start(cluster.client());
    let all = many(30);
    running.converge(&view(&[("shop", &all)])).await;
    running.stop().await;
    let running = Running::start(cluster.client());
    running.handle.set_desired(view(&[("shop", &all[..10])]));
    assert_eq!(running.until_blocked("shop").await.objects, 21);
    time_passes(Duration::from_secs(600)).await;
    assert_eq!(cluster.requests().count("delete", "configmaps"), 0);
}

#[tokio::test(start_paused = true)]
async fn component_may_have_a_budget_of_its_own_and_few_objects_need_none() {
    let (cluster, _) = simulated();
    let running = Running::start(cluster.client());
    let all = many(30);
    let budget = |objects, percent| move |spec: &mut Spec| spec.prune.budget = Some(Budget { objects, percent });
    running.converge(&view(&[("shop", &all)])).await;
    let report = running.converge(&view(&[("shop", &all[..21])])).await;
    assert_eq!(report.counters.pruned, 10);
    let strict = keeping(&view(&[("shop", &all[..20])]), "shop", budget(0, 0));
    running.handle.set_desired(strict);
    assert_eq!(running.until_blocked("shop").await.objects, 1);
    let wide = keeping(&view(&[("shop", &all[..1])]), "shop", budget(100, 20));
    let report = running.converge(&wide).await;
    assert_eq!(report.counters.pruned, 30);
}

#[tokio::test(start_paused = true)]
async fn consent_that_is_asked_for_by_an_object_holds_back_no_other() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let mut asks = config_map("asks", "1");
    asks["metadata"]["annotations"] = json!({"argocd.argoproj.io/sync-options": "Prune=confirm"});
    let all = [namespace("shop"), config_map("a", "1"), asks.clone()];
    running.converge(&view(&[("shop", &all)])).await;
    let left = view(&[("shop", &all[..1])]);
    running.handle.set_desired(left.clone());
    let report = running
        .until("told", |report| {
            report.counters.pruned == 1 && problem(report, "shop").is_some()
        })
        .await;
    let told = problem(&report, "shop").unwrap();
    assert_eq!(told.reason, "PruneNeedsConfirmation");
    assert_eq!(told.object.as_ref().unwrap().to_string(), "ConfigMap shop/asks");
    assert!(other.get(&asks).await.is_some() && other.get(&config_map("a", "")).await.is_none());
    running.consent("shop").await;
    running.converge(&left).await;
    assert!(other.get(&asks).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn old_objects_stay_until_the_new_ones_are_healthy() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let web = |image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]}}}})
    };
    let objects = |image: &str| [namespace("shop"), web(image), config_map("old", "1")];
    running.converge(&view(&[("shop", &objects("web:1"))])).await;
    running
        .handle
        .set_desired(view(&[("shop", &objects("web:broken")[..2])]));
    let report = running
        .until("told", |report| {
            status(report, "shop")
                .problems
                .iter()
                .any(|it| it.reason == "PruneWaits")
        })
        .await;
    assert_eq!(status(&report, "shop").to_prune, 1);
    time_passes(Duration::from_secs(600)).await;
    assert!(other.get(&config_map("old", "")).await.is_some());
    running.converge(&view(&[("shop", &objects("web:2")[..2])])).await;
    assert!(other.get(&config_map("old", "")).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn definition_goes_when_nothing_of_its_kind_is_left_or_the_component_says_so() {
    for says_so in [false, true] {
        let (cluster, other) = simulated();
        let running = Running::start(cluster.client());
        let with = |objects: &[Value]| {
            keeping(&view(&[("shop", objects)]), "shop", |spec| {
                spec.prune.definitions = says_so
            })
        };
        running.converge(&with(&[namespace("shop"), definition()])).await;
        other.create(&widget("theirs")).await;
        let left = with(&[namespace("shop")]);
        running.handle.set_desired(left.clone());
        running.consent("shop").await;
        if !says_so {
            let report = running
                .until("told", |report| {
                    problem(report, "shop").is_some_and(|it| it.reason == "DefinitionInUse")
                })
                .await;
            let message = &problem(&report, "shop").unwrap().message;
            assert!(message.contains("shop/theirs; delete them"), "{message}");
            time_passes(Duration::from_secs(60)).await;
            assert!(other.get(&widget("theirs")).await.is_some());
            other.delete(&widget("theirs")).await;
        }
        running.converge(&left).await;
        assert!(other.get(&definition()).await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_object_owns_goes_or_stays_as_the_component_says() {
    for (propagation, stays) in [
        (Propagation::Background, false),
        (Propagation::Foreground, false),
        (Propagation::Orphan, true),
    ] {
        let (cluster, other) = simulated();
        let running = Running::start(cluster.client());
        let with = |objects: &[Value]| {
            keeping(&view(&[("shop", objects)]), "shop", |spec| {
                spec.prune.propagation = propagation;
            })
        };
        running
            .converge(&with(&[namespace("shop"), config_map("owner", "1")]))
            .await;
        let owner = other.get(&config_map("owner", "")).await.unwrap();
        let mut owned = config_map("owned", "1");
        owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner",
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true}]);
        other.create(&owned).await;
        running.converge(&with(&[namespace("shop")])).await;
        time_passes(Duration::from_secs(60)).await;
        assert_eq!(other.get(&owned).await.is_some(), stays, "{propagation:?}");
    }
}
