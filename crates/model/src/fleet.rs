//! The fleet state: the fold of the journal, and the rules by which intents become events.
//!
//! [`Fleet::decide`] checks what somebody wants against the state and says which event that makes;
//! [`Fleet::apply`] folds an event that is in the journal. Writers decide before they append, everybody applies
//! what they read, so every server holds the same state after the same entry. Both are deterministic: the time is
//! the entry's.

use std::collections::BTreeMap;

use imbl::OrdMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    canonical,
    cluster::{self, Change},
    directive::{self, Directive},
    event::{Event, JoinToken, PushKey},
    hash::ObjectHash,
    journal::Entry,
    name::{ChannelName, ClusterName, ComponentName, Labels, Vars},
    orders::{Order, Orders},
    shared::Shared,
    snapshot::{self, Components, Provenance},
    view::ClusterFacts,
};

mod channel;
mod clusters;
mod intent;
mod ordered;
mod recent;
mod refusal;

pub use channel::{Channel, Setter};
pub use clusters::{Changed, MAX_EVENT_BYTES, RETIRED_REMEMBERED, Retired};
pub use intent::{Append, Decision, Expected, Intent};
pub use recent::{Done, MAX_REMEMBERED, REMEMBERED_FOR, Recent};
pub use refusal::Refusal;

/// Everything that the journal says about the fleet. A clone is cheap; it copies what is then changed in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// The channels by name.
    pub channels: BTreeMap<ChannelName, Shared<Channel>>,
    /// The enrolled clusters by name.
    pub clusters: Shared<BTreeMap<ClusterName, Cluster>>,
    /// The clusters that were retired lately.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub retired: Shared<BTreeMap<ClusterName, Retired>>,
}

/// An enrolled cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The channel it follows.
    pub channel: ChannelName,
    /// Its labels.
    pub labels: Labels,
    /// Its variables.
    #[serde(default, skip_serializing_if = "Vars::is_empty")]
    pub vars: Vars,
    /// When it was last enrolled.
    pub enrolled: Timestamp,
    /// What people asked of it by hand.
    #[serde(default, skip_serializing_if = "Orders::is_empty")]
    pub orders: Orders,
    /// What changed channel, labels, variables or orders last; `None` since it was enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Changed>,
    /// How far its joining has come.
    pub membership: Membership,
}

/// Whether a cluster has joined yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase", deny_unknown_fields)]
pub enum Membership {
    /// Waiting for its agent to use the token.
    Invited {
        /// The token.
        join: JoinToken,
    },
    /// The agent used its token and holds a certificate.
    Joined {
        /// The token it used, so that a second use can be told from a wrong token.
        token: ObjectHash,
        /// The sha256 of its public key.
        key: ObjectHash,
        /// When it joined.
        time: Timestamp,
    },
}

/// What a push comes to.
enum Publishing {
    /// These components change.
    Change(BTreeMap<ComponentName, Option<ObjectHash>>, Option<PushKey>),
    Unchanged,
    Repeated(Done),
}

impl Fleet {
    /// Decides an intent at `now` and folds the event that it makes, which will be in entry `seq`:
    /// [`Fleet::decide`] and then [`Fleet::apply_event`], at the cost of one of them.
    ///
    /// # Errors
    /// The [`Refusal`] says what stands against it; unless it is [`Refusal::Invalid`], the state is as it was.
    pub fn carry_out(&mut self, intent: &Intent, seq: u64, now: Timestamp) -> Result<Decision, Refusal> {
        let Intent::Publish {
            channel: name,
            components,
            expected,
            provenance,
            relied,
            epochs,
            nonce,
        } = intent
        else {
            let decision = self.decide(intent, now)?;
            if let Decision::Append(append) = &decision {
                self.apply_event(&append.event, seq, now)?;
            }
            return Ok(decision);
        };
        let (components, key) =
            match self.decide_publish(name, components, expected.as_ref(), provenance, nonce.as_ref())? {
                Publishing::Change(components, key) => (components, key),
                Publishing::Unchanged => return Ok(Decision::Unchanged),
                Publishing::Repeated(Done { seq, snapshot, .. }) => return Ok(Decision::Repeated { seq, snapshot }),
            };
        let epochs: BTreeMap<_, _> = epochs
            .iter()
            .filter(|(component, _)| components.contains_key(*component))
            .map(|(component, epoch)| (component.clone(), *epoch))
            .collect();
        let channel = self.channel(name)?;
        channel.check_epochs(&components, &epochs)?;
        if relied
            .iter()
            .any(|(component, bundle)| channel.components.get(component) != bundle.as_ref())
        {
            return Err(Refusal::Overtaken(name.clone()));
        }
        let channel = self.channels.get_mut(name).expect("it was found when that was decided");
        channel.epochs.extend(epochs.clone());
        let snapshot = channel.advance(&components, provenance, now, seq);
        if let Some(key) = key {
            channel.remember(key, seq);
        }
        let event = Event::Published {
            channel: name.clone(),
            components,
            snapshot: snapshot.hash(),
            provenance: provenance.clone(),
            epochs,
            key,
        };
        Ok(Decision::Append(Box::new(Append {
            event,
            snapshot: Some(snapshot),
        })))
    }

    /// Checks an intent against the state at `now`, and says which event carries it out, if one has to.
    ///
    /// # Errors
    /// The [`Refusal`] says what stands against it.
    pub fn decide(&self, intent: &Intent, now: Timestamp) -> Result<Decision, Refusal> {
        match intent {
            Intent::CreateChannel { channel, author } => {
                if self.channels.contains_key(channel) {
                    return Err(Refusal::ChannelExists(channel.clone()));
                }
                Ok(append(Event::ChannelCreated {
                    channel: channel.clone(),
                    author: author.clone(),
                }))
            }
            // On a copy, since which snapshot it makes is known only once it is made.
            Intent::Publish { .. } => self.clone().carry_out(intent, 0, now),
            Intent::EnrollCluster {
                cluster,
                channel,
                labels,
                vars,
                join,
                again,
                author,
            } => {
                self.channel(channel)?;
                if self.clusters.contains_key(cluster) && !again {
                    return Err(Refusal::ClusterExists(cluster.clone()));
                }
                let record = cluster::Record {
                    channel: channel.clone(),
                    labels: labels.clone(),
                    vars: vars
                        .iter()
                        .map(|(name, value)| (name.clone(), cluster::as_stored(value)))
                        .collect(),
                };
                let with_name = |problem| (cluster.clone(), problem);
                record
                    .check()
                    .map_err(|problems| Refusal::Clusters(problems.into_iter().map(with_name).collect()))?;
                Ok(append(Event::ClusterEnrolled {
                    cluster: cluster.clone(),
                    channel: channel.clone(),
                    labels: record.labels,
                    vars: record.vars,
                    join: join.clone(),
                    author: author.clone(),
                }))
            }
            Intent::JoinCluster { token, key } => self.decide_join(token, key, now),
            Intent::ChangeClusters { changes, author } => self.decide_change(changes, author),
            Intent::OrderClusters {
                clusters,
                order,
                author,
            } => self.decide_order(clusters, order, author, now),
            Intent::RetireClusters { clusters, author } => self.decide_retire(clusters, author),
        }
    }

    fn decide_publish(
        &self,
        name: &ChannelName,
        components: &BTreeMap<ComponentName, Option<ObjectHash>>,
        expected: Option<&Expected>,
        provenance: &Provenance,
        nonce: Option<&ObjectHash>,
    ) -> Result<Publishing, Refusal> {
        let channel = self.channel(name)?;
        let key = nonce.map(|nonce| PushKey {
            nonce: *nonce,
            request: request_hash(components, expected, provenance),
        });
        // Before all else: what stands against it now did not when it was carried out.
        if let Some(done) = key.as_ref().and_then(|key| channel.recent.get(&key.nonce)) {
            if Some(done.key) != key {
                return Err(Refusal::KeyReused {
                    channel: name.clone(),
                    snapshot: done.snapshot,
                    time: done.time,
                });
            }
            return Ok(Publishing::Repeated(done.clone()));
        }
        let differing = components
            .iter()
            .filter(|(component, bundle)| channel.components.get(*component) != bundle.as_ref());
        let components: BTreeMap<_, _> = differing.map(|(name, bundle)| (name.clone(), *bundle)).collect();
        if components.is_empty() {
            return Ok(Publishing::Unchanged);
        }
        if let Some(expected) = expected {
            for component in components.keys() {
                if channel.components.get(component) != expected.components.get(component) {
                    return Err(Refusal::Conflict {
                        channel: name.clone(),
                        component: component.clone(),
                        expected: expected.parent,
                        winner: channel.setters.get(component).cloned().map(Box::new),
                    });
                }
            }
        }
        Ok(Publishing::Change(components, key))
    }

    fn decide_join(&self, token: &ObjectHash, key: &ObjectHash, now: Timestamp) -> Result<Decision, Refusal> {
        for (name, cluster) in &self.clusters {
            match &cluster.membership {
                Membership::Invited { join } if join.hash == *token => {
                    if join.expires <= now {
                        return Err(Refusal::TokenExpired {
                            cluster: name.clone(),
                            expired: join.expires,
                        });
                    }
                    let (cluster, token, key) = (name.clone(), *token, *key);
                    return Ok(append(Event::ClusterJoined { cluster, token, key }));
                }
                // The same agent asks again because the answer to its first call was lost.
                Membership::Joined {
                    token: used,
                    key: known,
                    ..
                } if used == token && known == key => {
                    return Ok(Decision::Unchanged);
                }
                Membership::Joined { token: used, time, .. } if used == token => {
                    return Err(Refusal::TokenUsed {
                        cluster: name.clone(),
                        used: *time,
                    });
                }
                Membership::Invited { .. } | Membership::Joined { .. } => {}
            }
        }
        Err(Refusal::UnknownToken)
    }

    /// Folds one entry of the journal.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] when an event does not fit the state: the journal holds only valid ones, so the bucket
    /// was altered, or was written by a newer version. The state is then half-folded and must be dropped.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Refusal> {
        entry
            .events
            .iter()
            .try_for_each(|event| self.apply_event(event, entry.seq, entry.time))
    }

    /// Folds one event of entry `seq`, made at `time`. See [`Fleet::apply`].
    ///
    /// # Errors
    /// As [`Fleet::apply`].
    pub fn apply_event(&mut self, event: &Event, seq: u64, time: Timestamp) -> Result<(), Refusal> {
        let invalid = |reason: &str| Refusal::Invalid {
            seq,
            reason: reason.to_owned(),
        };
        match event {
            Event::ChannelCreated { channel, .. } => {
                let created = Channel {
                    sequence: seq,
                    changed: time,
                    snapshot: None,
                    components: Components::new(),
                    setters: OrdMap::new(),
                    epochs: OrdMap::new(),
                    recent: Recent::default(),
                };
                if self.channels.insert(channel.clone(), created.into()).is_some() {
                    return Err(invalid("it creates a channel that exists"));
                }
            }
            Event::Published {
                channel,
                components,
                snapshot,
                provenance,
                epochs,
                key,
            } => {
                let channel = self
                    .channels
                    .get_mut(channel)
                    .ok_or_else(|| invalid("it publishes to no channel"))?;
                if channel.check_epochs(components, epochs).is_err() {
                    return Err(invalid("it lowers a schema epoch"));
                }
                channel.epochs.extend(epochs.clone());
                if channel.advance(components, provenance, time, seq).hash() != *snapshot {
                    return Err(invalid("its snapshot is not what its components make"));
                }
                if key.is_some_and(|key| !channel.remember(key, seq)) {
                    return Err(invalid("it repeats a push that was carried out before"));
                }
            }
            Event::ClusterEnrolled {
                cluster,
                channel,
                labels,
                vars,
                join,
                ..
            } => {
                if !self.channels.contains_key(channel) {
                    return Err(invalid("it enrols a cluster into no channel"));
                }
                let membership = Membership::Invited { join: join.clone() };
                // One that is enrolled anew is the same cluster: nobody lifted its pauses.
                let orders = self.clusters.get(cluster).map(|before| before.orders.at(time));
                let record = Cluster {
                    channel: channel.clone(),
                    labels: labels.clone(),
                    vars: vars.clone(),
                    orders: orders.unwrap_or_default(),
                    enrolled: time,
                    changed: None,
                    membership,
                };
                self.clusters.insert(cluster.clone(), record);
                if self.retired.contains_key(cluster) {
                    self.retired.remove(cluster);
                }
            }
            Event::ClusterJoined { cluster, token, key } => {
                let record = self
                    .clusters
                    .get_mut(cluster)
                    .ok_or_else(|| invalid("an unknown cluster joins"))?;
                record.membership = Membership::Joined {
                    token: *token,
                    key: *key,
                    time,
                };
            }
            Event::ClustersChanged { clusters, author } => {
                let author = author.clone();
                self.fold_change(clusters, &Changed { seq, time, author })
                    .map_err(invalid)?;
            }
            Event::ClustersOrdered {
                clusters,
                order,
                author,
            } => {
                let author = author.clone();
                self.fold_order(clusters, order, &Changed { seq, time, author })
                    .map_err(invalid)?;
            }
            Event::ClustersRetired { clusters, author } => {
                let author = author.clone();
                self.fold_retirement(clusters, &Retired { time, author })
                    .map_err(invalid)?;
            }
        }
        Ok(())
    }

    /// The channel with this name.
    ///
    /// # Errors
    /// [`Refusal::UnknownChannel`], which lists the ones there are.
    pub fn channel(&self, name: &ChannelName) -> Result<&Channel, Refusal> {
        let channel = self.channels.get(name).map(|channel| &**channel);
        channel.ok_or_else(|| Refusal::UnknownChannel {
            channel: name.clone(),
            known: self.channels.keys().cloned().collect(),
        })
    }

    /// The cluster with this name.
    ///
    /// # Errors
    /// [`Refusal::UnknownCluster`].
    pub fn cluster(&self, name: &ClusterName) -> Result<&Cluster, Refusal> {
        self.clusters
            .get(name)
            .ok_or_else(|| Refusal::UnknownCluster(name.clone()))
    }

    /// What views depend on of each cluster that follows a channel, in the order of their names.
    pub fn facts(&self, channel: &ChannelName) -> impl Iterator<Item = ClusterFacts> {
        let followers = self
            .clusters
            .iter()
            .filter(move |(_, cluster)| cluster.channel == *channel);
        followers.map(|(name, cluster)| ClusterFacts {
            name: name.clone(),
            channel: cluster.channel.clone(),
            labels: cluster.labels.clone(),
            vars: cluster.vars.clone(),
        })
    }

    /// The current orders of a channel.
    ///
    /// # Errors
    /// [`Refusal::UnknownChannel`].
    pub fn directive(&self, name: &ChannelName) -> Result<Directive, Refusal> {
        let channel = self.channel(name)?;
        Ok(Directive {
            format: directive::FORMAT,
            channel: name.clone(),
            sequence: channel.sequence,
            snapshot: channel.snapshot,
        })
    }
}

/// Hash of all that a push asks for, its channel aside: keys are remembered per channel.
fn request_hash(
    components: &BTreeMap<ComponentName, Option<ObjectHash>>,
    expected: Option<&Expected>,
    provenance: &Provenance,
) -> ObjectHash {
    // In brackets, so that nothing expected and nothing there differ.
    let expected = expected.map(|expected| [expected.parent]);
    ObjectHash::of(&canonical::document(&(components, expected, provenance)))
}

fn is_empty(retired: &Shared<BTreeMap<ClusterName, Retired>>) -> bool {
    retired.is_empty()
}

fn append(event: Event) -> Decision {
    Decision::Append(Box::new(Append { event, snapshot: None }))
}

#[cfg(test)]
mod tests;
