//! Holds `yaml` to kubectl: real manifests and a file of traps, read by both.
//!
//! The golden files say what kubectl read when they were written, so that this has teeth where no kubectl is;
//! where one is found, it reads the same files now. `kubectl patch --local` with an empty merge patch prints
//! what it read, of any kind, and asks no server.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use driftless_model::{canonical, yaml};
use serde_json::{Deserializer, Value};

const REQUIRE: &str = "DRIFTLESS_REQUIRE_KUBERNETES";

/// Texts that the two readers do not both take: `true` where kubectl refuses too, `false` where it would lose
/// or change something and we say so instead.
const REFUSED: &[(&str, bool)] = &[
    ("v: .inf", true),
    ("v: .nan", true),
    ("~: 1", true),
    ("[a]: 1", true),
    ("18446744073709551615: 1", true),
    ("v: !!int x", true),
    ("v: !!timestamp 5", true),
    ("v: *nowhere", true),
    ("v: &v [*v]", true),
    ("v: {<<: 1}", true),
    ("v: {<<: }", true),
    ("v: [:5]", true),
    ("v: [http://a/b?c]", true),
    ("v: |\n  \tx", true),
    ("v:\n\t- x", true),
    ("v: @x", true),
    ("v: {{ .Values.x }}", true),
    ("v: [1", true),
    ("v: \"open", true),
    ("v: \u{1}", true),
    ("--- {a: 1}", true),
    ("%YAML 1.1\n---\nv: 1", true),
    ("v: 1\nv: 2", false),
    ("v: {a: 1, a: 2}", false),
    ("v: [b:]", false),
    ("...\nv: 1", false),
    ("v: \"\u{2028}\"", false),
    ("v: !!binary /w==", false),
    ("v: \u{feff}x", false),
];

#[test]
fn manifests_read_as_their_golden_files_say() {
    for golden in golden_files() {
        let mut lines = Vec::new();
        for file in manifests_of(&golden) {
            for value in ours(&fs::read(&file).unwrap()).unwrap_or_else(|error| panic!("{}:{error}", file.display())) {
                lines.extend(canonical::to_vec(&value));
                lines.push(b'\n');
            }
        }
        if std::env::var_os("DRIFTLESS_UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &lines).unwrap();
        }
        let expected = fs::read(&golden).unwrap();
        let pairs = expected
            .split(|byte| *byte == b'\n')
            .zip(lines.split(|byte| *byte == b'\n'));
        for (number, (expected, actual)) in (1..).zip(pairs) {
            let (expected, actual) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(actual));
            assert_eq!(actual, expected, "{}:{number}", golden.display());
        }
        assert_eq!(lines.len(), expected.len(), "{}", golden.display());
    }
}

#[test]
fn kubectl_reads_the_same_values() {
    let Some(kubectl) = kubectl_or_skip() else { return };
    for golden in golden_files() {
        for file in manifests_of(&golden) {
            let text = fs::read(&file).unwrap();
            let theirs = kubectl
                .read(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let ours: Vec<Value> = ours(&text).unwrap().into_iter().flat_map(flatten).collect();
            assert_eq!(ours.len(), theirs.len(), "{}", file.display());
            for (mine, its) in ours.iter().zip(&theirs) {
                if let Some(path) = difference(mine, its) {
                    panic!("{} {}: {path}", file.display(), mine["metadata"]["name"]);
                }
            }
        }
    }
}

#[test]
fn refused_texts_are_refused() {
    for (text, _) in REFUSED {
        assert!(ours(trap(text).as_bytes()).is_err(), "taken: {text}");
    }
}

#[test]
fn kubectl_refuses_what_is_said_to_be_refused() {
    let Some(kubectl) = kubectl_or_skip() else { return };
    for (text, refused) in REFUSED {
        let read = kubectl.read(trap(text).as_bytes());
        assert_eq!(read.is_err(), *refused, "{text}: {read:?}");
    }
}

/// `text` inside an object that kubectl takes.
fn trap(text: &str) -> String {
    format!("apiVersion: traps.example/v1\nkind: Trap\nmetadata: {{name: trap}}\n{text}\n")
}

fn ours(bytes: &[u8]) -> Result<Vec<Value>, yaml::Error> {
    let documents = yaml::documents(&yaml::decode(bytes)?, &yaml::Limits::default())?;
    Ok(documents.into_iter().map(|document| document.value).collect())
}

/// kubectl prints the items of a list one by one.
fn flatten(value: Value) -> Vec<Value> {
    let list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match value["items"].as_array() {
        Some(items) if list => items.clone(),
        _ => vec![value],
    }
}

/// Where two values differ, if they do. kubectl keeps integers beyond `i64` as doubles once it has read them.
fn difference(mine: &Value, its: &Value) -> Option<String> {
    match (mine, its) {
        (Value::Number(a), Value::Number(b)) if a.as_i64().is_none() => {
            (a.as_f64() != b.as_f64()).then(|| format!(": {mine} here, {its} in kubectl"))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .zip(0..)
            .find_map(|((a, b), at)| difference(a, b).map(|rest| format!("/{at}{rest}"))),
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => a
            .iter()
            .find_map(|(key, field)| difference(field, &b[key]).map(|rest| format!("/{key}{rest}"))),
        _ => (mine != its).then(|| format!(": {mine} here, {its} in kubectl")),
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn golden_files() -> Vec<PathBuf> {
    ["traps", "online-boutique", "kube-prometheus"]
        .map(|name| fixtures().join(format!("{name}.golden.jsonl")))
        .to_vec()
}

/// The manifests behind a golden file: one file or the files of a folder, in order of their names.
fn manifests_of(golden: &Path) -> Vec<PathBuf> {
    let folder = golden.with_extension("").with_extension("");
    let Ok(entries) = fs::read_dir(&folder) else {
        return vec![folder.with_extension("yaml")];
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a fixture").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

struct Kubectl(PathBuf);

impl Kubectl {
    /// What kubectl reads from `text`.
    fn read(&self, text: &[u8]) -> Result<Vec<Value>, String> {
        let mut child = Command::new(&self.0)
            .args([
                "patch",
                "--local",
                "--type=merge",
                "--patch={}",
                "--output=json",
                "--filename=-",
            ])
            .env("KUBECONFIG", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut stdin = child.stdin.take().expect("stdin was asked for");
        let text = text.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(&text));
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        // A kubectl that stops reading early says why on its own stderr.
        let _ = writer.join();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Deserializer::from_slice(&output.stdout)
            .into_iter::<Value>()
            .map(|value| value.map(canonical::normalize).map_err(|error| error.to_string()))
            .collect()
    }
}

/// A kubectl that works without a server: where controller-runtime's tests keep theirs, where our control
/// plane's script puts it, or on the path.
fn kubectl_or_skip() -> Option<Kubectl> {
    let found = candidates().into_iter().map(Kubectl).find(|kubectl| {
        kubectl
            .read(trap("v: 0644").as_bytes())
            .is_ok_and(|values| values.len() == 1 && values[0]["v"] == 420)
    });
    if found.is_none() {
        let required = std::env::var(REQUIRE).is_ok_and(|value| value == "1");
        assert!(
            !required,
            "{REQUIRE}=1 but no kubectl was found: build one with tests/kubernetes"
        );
        // Not `eprintln!`: the test runner would keep it to itself.
        let warning = "\n*** SKIPPED: no kubectl found, so YAML was compared with golden files only ***\n\n";
        std::io::stderr().write_all(warning.as_bytes()).expect("stderr is open");
    }
    found
}

fn candidates() -> Vec<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let tools = folder("DRIFTLESS_TOOLS").or_else(|| {
        let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        cache.map(|cache| cache.join("driftless/tools"))
    });
    let mut folders: Vec<PathBuf> = folder("KUBEBUILDER_ASSETS").into_iter().collect();
    if let Some(entries) = tools.and_then(|tools| fs::read_dir(tools).ok()) {
        folders.extend(entries.flatten().map(|entry| entry.path().join("bin")));
    }
    folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    folders
        .into_iter()
        .map(|folder| folder.join("kubectl"))
        .filter(|path| path.is_file())
        .collect()
}
