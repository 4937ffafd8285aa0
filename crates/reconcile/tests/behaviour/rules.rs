//! A component's own idea of health.

use std::sync::Arc;

use driftless_model::{bundle::HealthRule, status::Health, view::View};
use serde_json::json;

use crate::rig::*;

/// The widget, and when it is healthy.
fn ruled(healthy: &str) -> Arc<View> {
    let objects = [namespace("shop"), definition(), widget("w")];
    let rule = HealthRule {
        group: "example.com".to_owned(),
        kind: "Widget".to_owned(),
        healthy: healthy.to_owned(),
        failed: Some("has(self.status) && self.status.phase == 'Broken'".to_owned()),
    };
    keeping(&view(&[("shop", &objects)]), "shop", |spec| spec.health = vec![rule])
}

#[tokio::test(start_paused = true)]
async fn health_rule_of_the_bundle_judges_live_objects_and_a_new_rule_judges_them_anew() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let is = |health| move |report: &driftless_reconcile::Report| status(report, "shop").health == health;
    running
        .converge(&ruled("has(self.status) && self.status.phase == 'Issued'"))
        .await;
    let report = running.until("waiting", is(Health::InProgress)).await;
    let told = &status(&report, "shop").problems[0];
    assert!(
        told.message.contains("by its component's health rule not yet"),
        "{told:?}"
    );
    other.patch(&widget("w"), json!({"status": {"phase": "Broken"}})).await;
    running.until("failed", is(Health::Failed)).await;
    other.patch(&widget("w"), json!({"status": {"phase": "Issued"}})).await;
    running.until("healthy", is(Health::Current)).await;
    // Nobody touches the object.
    running.handle.set_desired(ruled("self.spec.nope"));
    let report = running.until("unknown", is(Health::Unknown)).await;
    let told = &status(&report, "shop").problems[0];
    assert!(told.message.contains("health rule `self.spec.nope`"), "{told:?}");
}
