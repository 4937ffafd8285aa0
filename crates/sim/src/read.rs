//! Get and list: objects as JSON text, whole or only their metadata.
//!
//! Methods of [`State`], called by `http`. Lists answer from the present, whatever version a client may ask for.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::select::Selector;
use crate::state::{State, Target};
use crate::status::Refusal;
use crate::store::Stored;

/// How much of an object a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    #[default]
    Whole,
    Metadata,
}

/// A list's query.
#[derive(Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) selector: Selector,
    pub(crate) limit: usize,
    pub(crate) after: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) form: Form,
}

/// Where a list that was cut goes on.
fn token(version: u64, last: &Stored) -> String {
    let text = json!({"v": "meta.k8s.io/v1", "rv": version, "start": [last.key.0, last.key.1]}).to_string();
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(text)
}

fn read_token(token: &str) -> Option<(u64, (String, String))> {
    let text = base64::engine::general_purpose::STANDARD_NO_PAD
        .decode(token.trim_end_matches('='))
        .ok()?;
    let value: Value = serde_json::from_slice(&text).ok()?;
    let part = |at: usize| value["start"][at].as_str().map(str::to_owned);
    Some((value["rv"].as_u64()?, (part(0)?, part(1)?)))
}

/// JSON text of one object.
pub(crate) fn text_of(object: &Stored, kind: &Kind, version: usize, form: Form, in_list: bool, out: &mut Vec<u8>) {
    match form {
        Form::Whole => object.text(kind, version, in_list, out),
        Form::Metadata => {
            let metadata = &object.value()["metadata"];
            let part = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            });
            out.extend_from_slice(part.to_string().as_bytes());
        }
    }
}

impl State {
    /// One object.
    pub(crate) fn get(&self, target: &Target, form: Form) -> Result<Vec<u8>, Refusal> {
        let found = self.find(target)?;
        let mut out = Vec::new();
        text_of(&found, &target.kind, target.version, form, false, &mut out);
        Ok(out)
    }

    /// A list document.
    pub(crate) fn list(&self, target: &Target, options: &ListOptions) -> Result<Vec<u8>, Refusal> {
        options.selector.check(&target.kind)?;
        let mut version = self.store.version();
        if let Some(wanted) = options.version.as_deref().filter(|wanted| !wanted.is_empty()) {
            let Ok(wanted) = wanted.parse::<u64>() else {
                return Err(Refusal::bad_request(format!(
                    "invalid resource version: resourceVersion: Invalid value: {wanted:?}: strconv.ParseUint: parsing {wanted:?}: invalid syntax"
                )));
            };
            if wanted > version {
                let message = format!("Timeout: Too large resource version: {wanted}, current: {version}");
                return Err(Refusal::new(504, "Timeout", message).retry_after(1));
            }
        }
        let after = match &options.after {
            None => None,
            Some(text) => {
                let (at, key) = read_token(text).ok_or_else(|| {
                    Refusal::bad_request("continue key is not valid: encoded start key is not understood")
                })?;
                if at < self.store.floor() {
                    return Err(Refusal::expired(
                        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
                    ));
                }
                version = at;
                Some(key)
            }
        };
        let mut chosen = self
            .store
            .all(&target.kind.store)
            .filter(|object| target.namespace.is_empty() || object.key.0 == target.namespace)
            .filter(|object| after.as_ref().is_none_or(|after| object.key > *after))
            .filter(|object| options.selector.matches(object));
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let mut items = Vec::new();
        let mut last = None;
        for object in chosen.by_ref().take(limit) {
            if last.is_some() {
                items.push(b',');
            }
            text_of(object, &target.kind, target.version, options.form, true, &mut items);
            last = Some(object);
        }
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if target.kind.custom {
            metadata["continue"] = json!("");
        }
        let rest = chosen.count();
        if let Some(last) = last.filter(|_| rest > 0) {
            metadata["continue"] = json!(token(version, last));
            metadata["remainingItemCount"] = json!(rest);
        }
        let (kind, api_version) = match options.form {
            Form::Whole => (target.kind.list_kind.as_str(), target.api_version()),
            Form::Metadata => ("PartialObjectMetadataList", "meta.k8s.io/v1".to_owned()),
        };
        let head = format!("{{\"kind\":{kind:?},\"apiVersion\":{api_version:?},\"metadata\":{metadata},\"items\":[");
        Ok([head.as_bytes(), &items, b"]}"].concat())
    }
}
