//! What the fields of an explanation are, for the reference.

use crate::prints::Part;

pub(in crate::commands::explain) const FIELDS: &[Part] = &[
    Part {
        at: "",
        fields: &[("cluster", "the cluster"), ("converged", "is all as it should be?")],
    },
    Part {
        at: "should.",
        fields: &[
            ("channel", "the channel it follows"),
            (
                "snapshot",
                "the channel's newest snapshot; `null` before the first push",
            ),
            ("snapshot.*", "`snapshot`, `time`, `author` and `message` of the push"),
            ("components", "number of components that run here"),
            ("notSelected.*", "components that do not, with their selectors"),
            ("objects", "number of objects that run here"),
            (
                "object.object.*",
                "the object asked for: `group`, `kind`, `namespace` and `name`",
            ),
            ("object.component", "the component it is of"),
            ("object.bundle", "the component's bundle in the channel"),
            (
                "object.set.*",
                "the push that set the component last: `snapshot`, `time`, `author`, `message`",
            ),
            ("object.selector", "the component's selector; empty for all clusters"),
            (
                "object.dependsOn[]",
                "components that have to be healthy before it is applied",
            ),
            (
                "object.overlays[].*",
                "overlays that changed it here, in order: `name` and `selector`",
            ),
            ("object.variables[].field", "a field that a variable was put into"),
            ("object.variables[].variable", "the variable"),
            (
                "object.variables[].value.**",
                "its value; `null` where the default was taken",
            ),
            (
                "object.manifest.**",
                "the object as it should be here; `null` where it should not be",
            ),
        ],
    },
    Part {
        at: "runs.",
        fields: &[
            ("joined", "has an agent joined?"),
            ("connected", "is it connected?"),
            ("lastSeen", "when it was last seen; `null` if never by this server"),
            (
                "agentVersion",
                "version of the agent; `null` before its first report, as the next",
            ),
            ("kubernetesVersion", "version of the cluster's API server"),
            ("snapshot", "the snapshot it works on"),
            ("bundle", "the bundle that it has of the object's component"),
            (
                "desired",
                "objects it should have applied, of the object's component or of all",
            ),
            ("applied", "those that it has"),
            ("health", "their worst health"),
            (
                "repaired",
                "objects put back after somebody changed or deleted them, since the agent started",
            ),
            (
                "repairs[].component",
                "a component of which objects were put back: the object's, or any; the latest first",
            ),
            ("repairs[].count", "how often that was, since the agent started"),
            ("repairs[].last", "when the last time was"),
            ("repairs[].object.*", "which object that was"),
            (
                "repairs[].manager",
                "the field manager that had changed it; absent where the API server keeps no trace",
            ),
        ],
    },
    Part {
        at: "causes[].",
        fields: &[
            (
                "reason",
                "`NoSnapshot`, `NotSelected`, `LeftOut`, `Collision`, `NotJoined`, `Disconnected`, `NotReported`, \
                `AgentProblem`, `Held`, `Behind`, `Problem`, `Progressing` or `Unhealthy`; the first cause comes first",
            ),
            ("component", "the component concerned, if it is about one"),
            ("object.*", "the object concerned, if it is about one"),
            ("message", "what it is"),
            ("since", "since when; `null` where that is not known"),
            ("next", "what happens next, or what to do"),
        ],
    },
];
