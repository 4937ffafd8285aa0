//! A repository such as a platform team has: a folder per component, a file per object, and a `driftless.yaml`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use driftless_tests::child;
use tempfile::TempDir;

/// Written to disk.
pub(crate) struct Repository {
    home: TempDir,
    components: usize,
    pub(crate) manifests: usize,
    pub(crate) bytes: usize,
}

impl Repository {
    /// Writes `manifests` files in `components` folders.
    pub(crate) fn write(components: usize, manifests: usize) -> Result<Self> {
        let home = child::scratch("repository")?;
        let mut repository = Self {
            components,
            manifests,
            bytes: 0,
            home,
        };
        for number in 0..components {
            let name = name(number);
            let share = manifests / components + usize::from(number < manifests % components);
            let folder = repository.home.path().join("apps").join(&name);
            fs::create_dir_all(&folder)?;
            for index in 0..share {
                let text = object(&name, index, "1.0.0");
                repository.bytes += text.len();
                fs::write(folder.join(file(index)), text)?;
            }
        }
        let listed = "version: 1\nchannel: prod\ncomponents:\n- path: apps/*\n";
        fs::write(repository.home.path().join("driftless.yaml"), listed)?;
        Ok(repository)
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        self.home.path()
    }

    /// Gives one Deployment a new image.
    pub(crate) fn change_one(&self, run: usize) -> Result<()> {
        let name = name(run % self.components);
        let file = self.folder().join("apps").join(&name).join(file(DEPLOYMENT));
        Ok(fs::write(file, object(&name, DEPLOYMENT, &format!("1.0.{}", run + 1)))?)
    }
}

/// A component, and the folder of it.
fn name(component: usize) -> String {
    format!("app-{component:03}")
}

/// The file of an object.
fn file(index: usize) -> String {
    format!("{index:02}.yaml")
}

/// The folders of the components below `repository`, each with its files.
pub(crate) fn components(repository: &Path) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let sorted = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    let named = |folder: PathBuf| {
        let name = folder.file_name().context("a folder has a name")?;
        Ok((name.to_string_lossy().into_owned(), sorted(&folder)?))
    };
    sorted(&repository.join("apps"))?.into_iter().map(named).collect()
}

/// Which of every four objects is the Deployment.
const DEPLOYMENT: usize = 2;

/// Of every four objects one is a Deployment, with the other three around it; what it needs comes first, so that nothing
/// hangs in the air where four do not go into a component's share.
fn object(component: &str, index: usize, version: &str) -> String {
    let app = format!("{component}-{}", index / 4);
    let head = |api: &str, kind: &str| {
        format!(
            "apiVersion: {api}\nkind: {kind}\nmetadata:\n  name: {app}\n  namespace: {component}\n  labels:\n    \
             app.kubernetes.io/name: {app}\n    app.kubernetes.io/part-of: {component}\n"
        )
    };
    match index % 4 {
        0 => {
            let lines: String = (0..12)
                .map(|line| format!("    setting.{line} = value of {app}\n"))
                .collect();
            head("v1", "ConfigMap") + "data:\n  app.properties: |\n" + &lines
        }
        1 => head("v1", "ServiceAccount") + "automountServiceAccountToken: false\n",
        DEPLOYMENT => head("apps/v1", "Deployment") + &deployment(&app, version),
        _ => {
            head("v1", "Service")
                + &format!(
                    "spec:\n  type: ClusterIP\n  selector:\n    app: {app}\n  ports:\n  - name: http\n    port: 80\n    \
                     targetPort: 8080\n"
                )
        }
    }
}

fn deployment(app: &str, version: &str) -> String {
    let variables: String = (0..8)
        .map(|number| format!("        - name: SETTING_{number}\n          value: \"{app}-{number}\"\n"))
        .collect();
    format!(
        "spec:
  replicas: 2
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      app: {app}
  template:
    metadata:
      labels:
        app: {app}
    spec:
      serviceAccountName: {app}
      terminationGracePeriodSeconds: 30
      securityContext:
        runAsNonRoot: true
        runAsUser: 1000
      containers:
      - name: main
        image: registry.example.com/{app}:{version}
        ports:
        - name: http
          containerPort: 8080
        env:
{variables}        readinessProbe:
          httpGet: {{path: /ready, port: http}}
          periodSeconds: 5
        livenessProbe:
          httpGet: {{path: /live, port: http}}
          initialDelaySeconds: 10
        resources:
          requests: {{cpu: 100m, memory: 64Mi}}
          limits: {{memory: 128Mi}}
        volumeMounts:
        - name: config
          mountPath: /etc/{app}
          readOnly: true
      volumes:
      - name: config
        configMap:
          name: {app}
"
    )
}
