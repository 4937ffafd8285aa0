//! Orders by hand: one of many clusters at a time, decided and folded as one event.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Changed, Decision, Fleet, Refusal, append};
use crate::{event::Event, name::ClusterName, orders::Order};

impl Fleet {
    pub(super) fn decide_order(
        &self,
        clusters: &BTreeSet<ClusterName>,
        order: &Order,
        author: &str,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        self.check_known(clusters.iter())?;
        order.check(now)?;
        if let Order::Pause {
            component: Some(component),
            ..
        } = order
        {
            // A name that was mistyped would pause nothing. Of what was removed there may be something left to delete.
            for name in clusters {
                let channel = &self.clusters[name].channel;
                let setters = &self.channel(channel)?.setters;
                if !setters.contains_key(component) {
                    return Err(Refusal::UnknownComponent {
                        channel: channel.clone(),
                        component: component.clone(),
                        known: setters.keys().cloned().collect(),
                    });
                }
            }
        }
        let is_new = |name: &&ClusterName| {
            let before = &self.clusters[*name].orders;
            order.apply(before, author, now) != before.at(now)
        };
        let clusters: BTreeSet<_> = clusters.iter().filter(is_new).cloned().collect();
        if clusters.is_empty() {
            return Ok(Decision::Unchanged);
        }
        Ok(append(Event::ClustersOrdered {
            clusters,
            order: order.clone(),
            author: author.to_owned(),
        }))
    }

    /// Folds an order; says what does not fit.
    pub(super) fn fold_order(
        &mut self,
        clusters: &BTreeSet<ClusterName>,
        order: &Order,
        changed: &Changed,
    ) -> Result<(), &'static str> {
        for name in clusters {
            let cluster = self
                .clusters
                .get_mut(name)
                .ok_or("it asks something of an unknown cluster")?;
            cluster.orders = order.apply(&cluster.orders, &changed.author, changed.time);
            cluster.changed = Some(changed.clone());
        }
        Ok(())
    }
}
