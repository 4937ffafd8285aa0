//! From HTTP to operations and back: paths, verbs, queries, bodies, media types.
//!
//! [`Cluster::handle`](crate::cluster) calls [`respond`] for each request, from the `kube` client or from a socket. What an
//! operation does is elsewhere; how it is worded in HTTP is only here.

mod query;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::{Method, Response, StatusCode, header};
use http_body::Frame;
use serde_json::{Value, json};

use crate::cluster::Shared;
use crate::delete::DeleteOptions;
use crate::patch::Patch;
use crate::read::{Form, ListOptions, text_of};
use crate::scale;
use crate::select::Selector;
use crate::state::{State, Target, WriteOptions};
use crate::status::Refusal;
use crate::watch::{Watch, WatchOptions};
use crate::write::Written;

pub(crate) use query::{Place, parameters, place};

/// A response's body: all there is, or a watch.
pub(crate) enum Body {
    Whole(Option<Bytes>),
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => stream
                .as_mut()
                .poll_next(context)
                .map(|line| line.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }
}

/// A request with its body read.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) accept: String,
    pub(crate) content_type: String,
    pub(crate) agent: String,
    /// Whom it acts as; empty for itself. Who may do what is not simulated.
    pub(crate) user: String,
    pub(crate) body: Bytes,
}

impl Call {
    fn asked(&self, key: &str) -> Option<&str> {
        self.query
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn is(&self, key: &str) -> bool {
        self.query
            .get(key)
            .is_some_and(|value| matches!(value.as_str(), "true" | "1" | ""))
    }

    /// The verb, as RBAC and the request log call it.
    pub(crate) fn verb(&self, has_name: bool) -> &'static str {
        match self.method {
            Method::GET | Method::HEAD if self.is("watch") => "watch",
            Method::GET | Method::HEAD if has_name => "get",
            Method::GET | Method::HEAD => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH if self.content_type.starts_with("application/apply-patch") => "apply",
            Method::PATCH => "patch",
            Method::DELETE if has_name => "delete",
            Method::DELETE => "deletecollection",
            _ => "other",
        }
    }

    /// Does it accept the metadata of lists first? The API server then gives nothing else.
    fn wants_only_lists(&self) -> bool {
        self.accept.starts_with("application/json;as=PartialObjectMetadataList")
    }

    fn form(&self) -> Form {
        if self.accept.contains("as=PartialObjectMetadata") {
            Form::Metadata
        } else {
            Form::Whole
        }
    }

    /// The body as JSON; YAML is read where its media type allows it.
    fn document(&self) -> Result<Value, Refusal> {
        if let Ok(value) = serde_json::from_slice(&self.body) {
            return Ok(value);
        }
        if self.content_type.contains("yaml") {
            let text = std::str::from_utf8(&self.body)
                .map_err(|_| Refusal::bad_request("error decoding YAML: the body is not UTF-8"))?;
            return query::yaml(text);
        }
        if self.content_type.contains("protobuf") || self.content_type.contains("cbor") {
            return Err(Refusal::unsupported("application/json, application/yaml"));
        }
        let problem = serde_json::from_slice::<Value>(&self.body).err();
        let problem = problem.map(|error| error.to_string()).unwrap_or_default();
        Err(Refusal::bad_request(format!(
            "the object provided is unrecognized (must be of type of the resource): couldn't get version/kind; json parse error: {problem}"
        )))
    }

    fn write_options(&self) -> Result<WriteOptions, Refusal> {
        let agent = self.agent.split('/').next().unwrap_or_default();
        let manager = match self.asked("fieldManager") {
            Some(manager) => manager.to_owned(),
            None if self.content_type.starts_with("application/apply-patch") => String::new(),
            None if agent.is_empty() => "unknown".to_owned(),
            None => agent.to_owned(),
        };
        if manager.len() > 128 {
            return Err(Refusal::bad_request(
                "fieldManager: Too long: may not be more than 128 bytes",
            ));
        }
        let dry_run = match self.asked("dryRun") {
            None => false,
            Some("All") => true,
            Some(other) => {
                let message = format!("Unsupported value: [{other:?}]: supported values: \"All\"");
                let kind = match self.method {
                    Method::POST => "CreateOptions",
                    Method::PATCH => "PatchOptions",
                    _ => "UpdateOptions",
                };
                return Err(Refusal::options(kind, "dryRun", "FieldValueNotSupported", &message));
            }
        };
        let strict = self.asked("fieldValidation") == Some("Strict");
        Ok(WriteOptions {
            manager,
            dry_run,
            force: self.is("force"),
            strict,
        })
    }

    fn selector(&self) -> Result<Selector, Refusal> {
        Selector::parse(self.asked("labelSelector"), self.asked("fieldSelector"))
    }

    fn list_options(&self) -> Result<ListOptions, Refusal> {
        let limit = self.asked("limit").and_then(|limit| limit.parse().ok()).unwrap_or(0);
        let (after, version) = (self.asked("continue"), self.asked("resourceVersion"));
        Ok(ListOptions {
            selector: self.selector()?,
            limit,
            after: after.map(str::to_owned),
            version: version.map(str::to_owned),
            form: self.form(),
        })
    }

    fn watch_options(&self, name: &str) -> Result<WatchOptions, Refusal> {
        let mut fields = self.asked("fieldSelector").unwrap_or_default().to_owned();
        if !name.is_empty() {
            fields = format!("metadata.name={name},{fields}");
        }
        let seconds = self.asked("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
        Ok(WatchOptions {
            selector: Selector::parse(self.asked("labelSelector"), Some(&fields))?,
            version: self.asked("resourceVersion").map(str::to_owned),
            bookmarks: self.is("allowWatchBookmarks"),
            initial: self.asked("sendInitialEvents").map(|value| value == "true"),
            timeout: seconds.map(Duration::from_secs),
            form: self.form(),
        })
    }
}

fn json_response(code: u16, body: impl Into<Bytes>) -> Response<Body> {
    typed_response(code, "application/json", body)
}

fn typed_response(code: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut out = Response::new(Body::Whole(Some(body.into())));
    *out.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = header::HeaderValue::from_str(content_type) {
        out.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    out
}

/// A response that is no JSON.
pub(crate) fn typed_text(code: u16, text: &'static str) -> Response<Body> {
    typed_response(code, "text/plain; charset=utf-8", text)
}

/// The response to a request that was refused.
pub(crate) fn refused(refusal: &Refusal) -> Response<Body> {
    let mut out = json_response(refusal.code, refusal.document().to_string());
    if let Some(seconds) = refusal.seconds() {
        out.headers_mut()
            .insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    }
    out
}

fn written(written: Written, call: &Call) -> Response<Body> {
    let body = match call.form() {
        Form::Whole => written.object.to_string(),
        Form::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": written.object["metadata"],
        })
        .to_string(),
    };
    let mut out = json_response(if written.created { 201 } else { 200 }, body);
    for warning in &written.warnings {
        if let Ok(value) = header::HeaderValue::from_str(&format!("299 - {warning:?}")) {
            out.headers_mut().append(header::WARNING, value);
        }
    }
    out
}

/// Documents of the server itself.
pub(crate) fn fixed(shared: &Arc<Shared>, call: &Call) -> Response<Body> {
    if call.method != Method::GET && call.method != Method::HEAD {
        return refused(&Refusal::not_allowed());
    }
    let path = call.path.trim_end_matches('/');
    if matches!(path, "/healthz" | "/readyz" | "/livez") {
        return typed_text(200, "ok");
    }
    let documents = shared.documents();
    let aggregated = "apidiscovery.k8s.io";
    if call.accept.contains(aggregated)
        && let Some(document) = documents.get(&format!("+{path}"))
    {
        return typed_response(
            200,
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            document.clone(),
        );
    }
    match documents.get(path) {
        Some(document) => json_response(200, document.clone()),
        None => typed_text(404, "404 page not found\n"),
    }
}

/// Carries out one request for objects.
pub(crate) fn respond(
    shared: &Arc<Shared>,
    state: &mut State,
    target: Target,
    call: &Call,
) -> Result<Response<Body>, Refusal> {
    let named = !target.name.is_empty();
    let verb = call.verb(named);
    allowed(&target, verb)?;
    if target.subresource == "scale" {
        return scale::respond(state, &target, call.body_patch(), verb, &call.write_options()?)
            .map(|(code, body)| json_response(code, body.to_string()));
    }
    if !target.subresource.is_empty() && !matches!(target.subresource.as_str(), "status" | "finalize") {
        return Err(Refusal::no_resource());
    }
    match verb {
        "watch" => {
            let options = call.watch_options(&target.name)?;
            let watch = Watch::open(shared, state, target, options)?;
            let mut out = Response::new(Body::Stream(Box::pin(watch.into_stream())));
            out.headers_mut().insert(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static("application/json"),
            );
            Ok(out)
        }
        "get" if call.wants_only_lists() => Err(Refusal::not_acceptable()),
        "get" => state.get(&target, call.form()).map(|body| json_response(200, body)),
        "list" => state
            .list(&target, &call.list_options()?)
            .map(|body| json_response(200, body)),
        "create" => create(state, &target, call),
        "update" => {
            let object = call.document()?;
            let made = state.replace(&target, object, &call.write_options()?)?;
            Ok(written(made, call))
        }
        "patch" | "apply" => {
            let made = state.patch(&target, &call.body_patch()?, &call.write_options()?)?;
            Ok(written(made, call))
        }
        "delete" => {
            let options = delete_options(call)?;
            state
                .delete(&target, &options)
                .map(|body| json_response(200, body.to_string()))
        }
        "deletecollection" => {
            let (options, selector) = (delete_options(call)?, call.selector()?);
            let gone = state.delete_collection(&target, &options, |object| selector.matches(object));
            let mut body = format!(
                "{{\"kind\":{:?},\"apiVersion\":{:?},\"metadata\":{{\"resourceVersion\":\"{}\"}},\"items\":[",
                target.kind.list_kind,
                target.api_version(),
                state.store.version()
            )
            .into_bytes();
            for (at, object) in gone.iter().enumerate() {
                if at > 0 {
                    body.push(b',');
                }
                text_of(object, &target.kind, target.version, Form::Whole, true, &mut body);
            }
            body.extend_from_slice(b"]}");
            Ok(json_response(200, body))
        }
        _ => Err(Refusal::not_allowed()),
    }
}

impl Call {
    fn body_patch(&self) -> Result<Patch, Refusal> {
        let media = self.content_type.split(';').next().unwrap_or_default().trim();
        if self.method != Method::PATCH {
            return self.document().map(Patch::Merge);
        }
        match media {
            "application/json-patch+json" => self.document().map(Patch::Json),
            "application/merge-patch+json" => self.document().map(Patch::Merge),
            "application/strategic-merge-patch+json" => self.document().map(Patch::Strategic),
            "application/apply-patch+yaml" => self.document().map(Patch::Apply),
            _ => Err(Refusal::no_patch()),
        }
    }
}

fn delete_options(call: &Call) -> Result<DeleteOptions, Refusal> {
    let body = if call.body.is_empty() {
        Value::Null
    } else {
        call.document()?
    };
    DeleteOptions::parse(&body, |key| call.asked(key).map(str::to_owned))
}

fn allowed(target: &Target, verb: &str) -> Result<(), Refusal> {
    let letter = match verb {
        "create" => 'c',
        "delete" => 'd',
        "deletecollection" => 'D',
        "get" => 'g',
        "list" => 'l',
        "patch" | "apply" => 'p',
        "update" => 'u',
        "watch" => 'w',
        _ => return Err(Refusal::not_allowed()),
    };
    let by_subresource = !target.subresource.is_empty() && matches!(letter, 'g' | 'p' | 'u' | 'c');
    let named = !target.name.is_empty();
    let fits = match letter {
        'c' => !named || by_subresource,
        'u' | 'p' => named,
        _ => true,
    };
    if fits && (by_subresource || target.kind.verbs.contains(letter)) {
        Ok(())
    } else {
        Err(Refusal::not_allowed())
    }
}

fn create(state: &mut State, target: &Target, call: &Call) -> Result<Response<Body>, Refusal> {
    let object = call.document()?;
    let (kind, api_version) = (
        object["kind"].as_str().unwrap_or_default(),
        object["apiVersion"].as_str().unwrap_or_default(),
    );
    if !kind.is_empty() && (kind != target.kind.kind || api_version != target.api_version()) {
        let internal = if target.kind.group.is_empty() {
            "core"
        } else {
            &target.kind.group
        };
        return Err(Refusal::bad_request(format!(
            "{kind} in version {api_version:?} cannot be handled as a {wanted}: converting ({api_version}.{kind}) to ({internal}.{wanted}): unknown conversion",
            wanted = target.kind.kind
        )));
    }
    if !target.kind.verbs.contains('l') {
        return query::review(target, object).map(|body| json_response(201, body.to_string()));
    }
    let made = state.create(target, object, &call.write_options()?)?;
    Ok(written(made, call))
}
