//! The form of `driftless.yaml`, said once: what it may hold, of which shape, and what each part means.
//!
//! [`check`](super::check) holds a file against it, [`schema`](super::schema) makes of it the JSON schema for editors
//! and the reference page. A field that is not here does not exist.

/// The shape of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Any text.
    Text,
    /// A DNS label.
    Name,
    /// A ServiceAccount, `namespace/name`.
    Account,
    /// A whole number, not negative.
    Whole,
    /// `true` or `false`.
    Flag,
    /// Exactly this number.
    Version(u64),
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// Clusters or objects by their labels, in either spelling of Kubernetes.
    Selector,
    /// An object whose fields are not ours to judge.
    Object,
    /// Anything at all.
    Any,
    /// A text, number, flag or null.
    Scalar,
    /// A list.
    List(&'static Self),
    /// An object with names of the user's own.
    Map(&'static Self),
    /// An object with fields of ours.
    Record(&'static Record),
    /// Either of two, told apart by their types.
    Either(&'static Self, &'static Self),
}

/// An object with fields of ours.
#[derive(Debug)]
pub(crate) struct Record {
    /// What the schema and the reference call it.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) doc: &'static str,
    /// Its fields, in the order in which one writes them.
    pub(crate) fields: &'static [Field],
    /// Of these fields at least one has to be there, or exactly one.
    pub(crate) one_of: Option<(Count, &'static [&'static str])>,
}

/// How many of some fields have to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    AtLeastOne,
    ExactlyOne,
}

/// A field of a record.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) required: bool,
    pub(crate) doc: &'static str,
}

const fn may(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field {
        name,
        shape,
        required: false,
        doc,
    }
}

const fn must(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field {
        name,
        shape,
        required: true,
        doc,
    }
}

const TEXTS: Shape = Shape::List(&Shape::Text);

/// The whole file.
pub(crate) static FILE: Record = Record {
    name: "file",
    doc: "Several components of one repository, pushed together to one channel.",
    fields: &[
        must("version", Shape::Version(1), "The version of this form: 1."),
        may(
            "channel",
            Shape::Name,
            "The channel to push to; `--channel` wins over it.",
        ),
        may(
            "defaults",
            Shape::Record(&DEFAULTS),
            "What holds for every component that does not say otherwise.",
        ),
        must("components", Shape::List(&Shape::Record(&COMPONENT)), "The components."),
    ],
    one_of: None,
};

static DEFAULTS: Record = Record {
    name: "defaults",
    doc: "What holds for every component that does not say otherwise.",
    fields: &[
        may(
            "namespace",
            Shape::Name,
            "Namespace of objects that name none; `default` unless given.",
        ),
        may("selector", Shape::Selector, "The clusters that run the components."),
        may(
            "kubeVersion",
            Shape::Text,
            "What Helm charts shall take for the cluster's version.",
        ),
        may(
            "apiVersions",
            TEXTS,
            "What Helm charts shall take for the cluster's APIs, as `GROUP/VERSION/KIND`.",
        ),
        may(
            "kustomizeCommand",
            Shape::Text,
            "What renders Kustomize folders, split at spaces, the folder appended. Unless given: `kustomize build`, or \
             `kubectl kustomize` where there is no kustomize.",
        ),
    ],
    one_of: None,
};

static COMPONENT: Record = Record {
    name: "component",
    doc: "One component: where its manifests come from, and how it is run. Paths are relative to the file.",
    fields: &[
        may(
            "name",
            Shape::Text,
            "The component's name; unless given, the last part of `path` or `kustomize`. With a pattern in `path` a `*` \
             in it stands for what the pattern found: `team-a-*`.",
        ),
        may(
            "path",
            Shape::Text,
            "A file; a folder of *.yaml, *.yml and *.json in and below it; a Kustomize folder; or a Helm chart. With `*` \
             or `?` in it, every match is a component of its own, except those that another entry names.",
        ),
        may(
            "exclude",
            TEXTS,
            "Patterns of what the pattern in `path` shall leave out.",
        ),
        may("paths", TEXTS, "Several of what `path` takes, without patterns."),
        may("kustomize", Shape::Text, "A Kustomize folder."),
        may("helm", Shape::Record(&HELM), "A Helm chart."),
        may(
            "exec",
            Shape::Text,
            "A command for `sh -c` that prints manifests, run in the file's folder.",
        ),
        may("namespace", Shape::Name, "Namespace of objects that name none."),
        may(
            "selector",
            Shape::Selector,
            "The clusters that run it; without one, all of the channel.",
        ),
        may(
            "dependsOn",
            Shape::List(&Shape::Name),
            "Components that have to be healthy before it is applied.",
        ),
        may(
            "overlays",
            Shape::List(&Shape::Record(&OVERLAY)),
            "What differs on some clusters, applied in order.",
        ),
        may(
            "health",
            Shape::List(&Shape::Record(&HEALTH)),
            "How to tell the health of kinds of its own.",
        ),
        may(
            "epoch",
            Shape::Whole,
            "Number of its schema, of databases and the like. It never falls: a push that would lower it is refused.",
        ),
        may(
            "adopt",
            Shape::Flag,
            "May it take over objects that another tool owns? Without it such an object is told, and left alone.",
        ),
        may(
            "drift",
            Shape::Choice(&["repair", "report", "ignore"]),
            "What becomes of an object that somebody else changed: it is put back (`repair`, unless given), told and left \
             as it is (`report`), or nobody's concern (`ignore`), until the desired state changes.",
        ),
        may(
            "prune",
            Shape::Record(&PRUNE),
            "How objects that left the component are deleted.",
        ),
        may(
            "serviceAccount",
            Shape::Account,
            "As whom the agent applies and deletes its objects, as `namespace/name`; as itself unless given.",
        ),
        may("allow", Shape::Record(&ALLOW), "What it may hold."),
    ],
    one_of: Some((Count::AtLeastOne, &["path", "paths", "kustomize", "helm", "exec"])),
};

static PRUNE: Record = Record {
    name: "prune",
    doc: "How objects that left the component are deleted.",
    fields: &[
        may(
            "propagation",
            Shape::Choice(&["background", "foreground", "orphan"]),
            "What becomes of what they own: deleted after them (`background`, unless given), before them (`foreground`), or \
             left (`orphan`).",
        ),
        may(
            "definitions",
            Shape::Flag,
            "May a CustomResourceDefinition go while there are objects of its kind, and take them with it?",
        ),
        may(
            "budget",
            Shape::Record(&BUDGET),
            "How much may go without a person's consent.",
        ),
    ],
    one_of: None,
};

static BUDGET: Record = Record {
    name: "budget",
    doc: "How many objects of a component may be deleted without a person's consent: more than `objects` and more than \
          `percent` of the component need it. Namespaces and CustomResourceDefinitions always do.",
    fields: &[
        may("objects", Shape::Whole, "So many always may; 10 unless given."),
        may(
            "percent",
            Shape::Whole,
            "So many of a hundred always may; 20 unless given.",
        ),
    ],
    one_of: None,
};

static ALLOW: Record = Record {
    name: "allow",
    doc: "What a component may hold. What is not given is not limited.",
    fields: &[
        may(
            "kinds",
            TEXTS,
            "Kinds, as `Deployment.apps`; those of the core group without a group.",
        ),
        may(
            "namespaces",
            TEXTS,
            "Namespaces. Objects without one are not allowed where there are some here.",
        ),
    ],
    one_of: None,
};

static HELM: Record = Record {
    name: "helm",
    doc: "A Helm chart, rendered by `helm template`. Hooks of tests, deletions and rollbacks are left out.",
    fields: &[
        must(
            "chart",
            Shape::Text,
            "A folder, an archive, `oci://…`, or a chart of a repository that helm knows.",
        ),
        may("version", Shape::Text, "Version of a chart that is not a file."),
        may("repo", Shape::Text, "Address of the chart's repository."),
        may(
            "values",
            Shape::List(&Shape::Either(&Shape::Text, &Shape::Object)),
            "Files with values, or values as they are; later ones win.",
        ),
        may(
            "set",
            Shape::Map(&Shape::Scalar),
            "Single values by their path, as `image.tag: v1`. Texts stay texts.",
        ),
        may(
            "releaseName",
            Shape::Text,
            "Name of the release; the component's unless given.",
        ),
        may(
            "kubeVersion",
            Shape::Text,
            "What the chart shall take for the cluster's version.",
        ),
        may(
            "apiVersions",
            TEXTS,
            "What the chart shall take for the cluster's APIs, as `GROUP/VERSION/KIND`.",
        ),
        may(
            "includeCrds",
            Shape::Flag,
            "With the chart's CRDs; `true` unless given.",
        ),
    ],
    one_of: None,
};

static OVERLAY: Record = Record {
    name: "overlay",
    doc: "What differs on some clusters: first objects are left out, then added, then patched.",
    fields: &[
        must("name", Shape::Text, "What `driftless explain` and errors call it."),
        may(
            "selector",
            Shape::Selector,
            "The clusters; without one, all that run the component.",
        ),
        may("remove", Shape::List(&Shape::Record(&TARGET)), "Objects to leave out."),
        may(
            "add",
            Shape::List(&Shape::Either(&Shape::Text, &Shape::Object)),
            "Objects to add, or files of them. An object that is there already is replaced.",
        ),
        may(
            "patches",
            Shape::List(&Shape::Record(&PATCH)),
            "Changes to objects, in order.",
        ),
    ],
    one_of: None,
};

static PATCH: Record = Record {
    name: "patch",
    doc: "A change to some objects.",
    fields: &[
        must("target", Shape::Record(&TARGET), "The objects."),
        may(
            "json",
            Shape::Either(&Shape::Text, &Shape::List(&Shape::Record(&OPERATION))),
            "A JSON patch (RFC 6902), or a file with one.",
        ),
        may(
            "merge",
            Shape::Either(&Shape::Text, &Shape::Object),
            "A JSON merge patch (RFC 7396), or a file with one: `null` removes a field, lists are replaced whole.",
        ),
    ],
    one_of: Some((Count::ExactlyOne, &["json", "merge"])),
};

static OPERATION: Record = Record {
    name: "operation",
    doc: "One step of a JSON patch (RFC 6902).",
    fields: &[
        must(
            "op",
            Shape::Choice(&["add", "remove", "replace", "move", "copy", "test"]),
            "What to do.",
        ),
        must(
            "path",
            Shape::Text,
            "JSON pointer to the field, as `/spec/replicas`; `~1` stands for `/`.",
        ),
        may("from", Shape::Text, "JSON pointer to what to move or copy."),
        may("value", Shape::Any, "What to add, replace by or test for."),
    ],
    one_of: None,
};

static TARGET: Record = Record {
    name: "target",
    doc: "Chooses objects of the component. What is not given is not asked.",
    fields: &[
        may("group", Shape::Text, "API group; the empty text means the core group."),
        may("kind", Shape::Text, "Kind."),
        may("namespace", Shape::Text, "Namespace."),
        may("name", Shape::Text, "Name."),
        may("labelSelector", Shape::Selector, "Labels of the object."),
    ],
    one_of: Some((
        Count::AtLeastOne,
        &["group", "kind", "namespace", "name", "labelSelector"],
    )),
};

static HEALTH: Record = Record {
    name: "health",
    doc: "How to tell the health of objects of one kind: CEL expressions over `self`, the live object.",
    fields: &[
        may("group", Shape::Text, "API group; the core group unless given."),
        must("kind", Shape::Text, "Kind."),
        must("healthy", Shape::Text, "True when the object is healthy."),
        may("failed", Shape::Text, "True when it never will be without help."),
    ],
    one_of: None,
};
