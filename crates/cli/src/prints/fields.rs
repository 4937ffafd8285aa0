//! The fields of documents that several commands print, in the words of the types they are of.

/// Fields: path and meaning. `*` is any key, `[]` any element, `**` whatever is below.
pub(crate) type Fields = &'static [(&'static str, &'static str)];

/// `driftless_client::types::Channel`
pub(crate) const CHANNEL: Fields = &[
    ("name", "its name"),
    ("sequence", "the journal entry that changed it last"),
    ("changed", "when that was"),
    ("snapshot", "its newest snapshot; `null` before the first push"),
    ("components.*", "the bundle of each component in that snapshot"),
    ("clusters", "number of clusters that follow it"),
    (
        "progress.connected",
        "those of them whose agent has a stream open, to any server",
    ),
    (
        "progress.waiting",
        "those that have not said that they work on the newest snapshot",
    ),
    ("progress.progressing", "those that have not applied all of it"),
    ("progress.applied", "those that have, and where it is not healthy yet"),
    ("progress.healthy", "those where it is healthy"),
    ("progress.failed", "those where something needs help"),
];

/// `driftless_client::types::Cluster`
pub(crate) const CLUSTER: Fields = &[
    ("name", "its name"),
    ("channel", "the channel it follows"),
    ("labels.*", "its labels"),
    ("vars.**", "its variables"),
    ("enrolled", "when it was last enrolled"),
    (
        "orders.pauses.cluster.*",
        "the pause of all of it: `until` when, for which `reason`, and its `author`; absent without one",
    ),
    ("orders.pauses.components.*.*", "the pauses of components, the same"),
    (
        "orders.reconcile",
        "how often another look at everything was asked for; absent if never",
    ),
    (
        "orders.consents.*.*",
        "consents to deletions of components: to which `deletions`, `until` when, and their `author`",
    ),
    (
        "changed",
        "what changed channel, labels, variables or orders last; `null` since it was enrolled",
    ),
    ("changed.sequence", "the journal entry"),
    ("changed.time", "when"),
    ("changed.author", "who"),
    ("joined", "has an agent used its join token?"),
    ("connected", "is its stream open?"),
    (
        "lastSeen",
        "when its stream was last seen open; `null` if never by this server",
    ),
    (
        "converged",
        "has it applied all of its channel's newest snapshot, by its current record?",
    ),
    ("status", "what it reported last; `null` until it did"),
    ("status.sequence", "the directive it accepted last; 0 before the first"),
    ("status.snapshot", "the snapshot it works on"),
    (
        "status.components.*.bundle",
        "the bundle it is at, or moves to; `null` while a removed component is pruned",
    ),
    ("status.components.*.desired", "objects that the bundle asks for"),
    (
        "status.components.*.applied",
        "those of them that were applied as the bundle has them",
    ),
    ("status.components.*.toPrune", "objects that still have to be deleted"),
    (
        "status.components.*.health",
        "the worst health of its objects: `Current`, `Unknown`, `InProgress`, `Terminating`, `NotFound` or `Failed`",
    ),
    (
        "status.components.*.problems[].**",
        "what stands in the way: `object`, `reason`, `message`, `since`, and whether it `blocks`",
    ),
    ("status.components.*.moreProblems", "number of further problems"),
    (
        "status.components.*.repairs.**",
        "what was put back since the agent started: the `count`, and of the `last` time when it was, which `object`, \
        and by which `manager` it had been changed; absent without",
    ),
    (
        "status.counters.*",
        "objects `applied`, `repaired` and `pruned`, and requests `failed`, since the agent started",
    ),
    ("status.problems[].**", "what stands in the way of the agent as a whole"),
    ("status.agentVersion", "version of the agent"),
    (
        "status.revision",
        "revision of the record by which it works: `changed.sequence`, or 0; absent by older agents",
    ),
    (
        "status.kubernetesVersion",
        "version of the cluster's API server; empty until known",
    ),
];

/// `output::changes::ComponentDiff`
pub(crate) const CHANGES: Fields = &[
    ("component", "the component"),
    ("before", "its bundle before; `null` when the component is new"),
    ("after", "its bundle after; `null` when the component was removed"),
    ("changes[].type", "`added`, `removed` or `changed`"),
    ("changes[].object.group", "API group; absent for the core group"),
    ("changes[].object.kind", "kind"),
    (
        "changes[].object.namespace",
        "namespace; absent for what is cluster-wide",
    ),
    ("changes[].object.name", "name"),
    ("changes[].fields[].path", "a field that changed"),
    (
        "changes[].fields[].before.**",
        "its value before; absent when it is new",
    ),
    (
        "changes[].fields[].after.**",
        "its value after; absent when it was removed",
    ),
    (
        "spec[].path",
        "what changed in how it is run: its selector, order, overlays, health rules or epoch; `spec` is absent where \
         nothing did",
    ),
    ("spec[].before.**", "that before; absent when it is new"),
    ("spec[].after.**", "that after; absent when it was removed"),
    (
        "groups[].clusters[]",
        "the clusters of a group that the change treats alike; `groups` is absent where all are treated alike",
    ),
    ("groups[].changes[].**", "what changes on them, as in `changes`"),
];

/// `commands::blame::Push`
pub(crate) const PUSH: Fields = &[
    ("snapshot", "the snapshot that the push made"),
    ("time", "when"),
    ("author", "who"),
    ("message", "why, in the author's words"),
];
