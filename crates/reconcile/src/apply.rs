//! One apply: what is sent, and what is sent again.
//!
//! Run by a worker. Nearly always one request. Where others decide fields of the object it is read first, so that
//! theirs stay theirs.

use bytes::Bytes;
use driftless_model::{
    canonical, field,
    ignored::{self as fields_of_others, Path},
};
use serde_json::Value;

use crate::{
    api::{self, Api, Failure, Refusal},
    applyset::{self, Member},
    change, ignored,
};

/// Tries at an object that others change at the same time.
const TRIES: u32 = 3;

/// An apply to be carried out.
pub(crate) struct Apply {
    /// Sends it, as whom it shall be sent.
    pub(crate) api: Api,
    /// Reads, as ourselves.
    pub(crate) reader: Api,
    pub(crate) path: String,
    pub(crate) manager: String,
    pub(crate) member: Member,
    /// Take fields from other managers?
    pub(crate) force: bool,
    /// Fields that were taken from us: in a dispute over these alone they are taken back.
    pub(crate) taken: Box<[String]>,
    /// Is it unknown what was applied last? What others have set since then was taken from us.
    pub(crate) unrecorded: bool,
}

impl Apply {
    /// Sends it. Gives the object as it is then.
    pub(crate) async fn carry_out(self) -> Result<Value, Failure> {
        let mut tries = 1;
        loop {
            let (body, fixed) = self.body().await?;
            match self.send(body).await {
                // Somebody was faster: what was read is not what is there.
                Err(failure) if fixed && tries < TRIES && failure.is_outrun() => tries += 1,
                answer => return answer,
            }
        }
    }

    /// What is sent, and whether it holds for what was read alone.
    async fn body(&self) -> Result<(Bytes, bool), Failure> {
        if fields_of_others::is_concerned(self.member.manifest.canonical()) {
            let mut body = self.member.value();
            let ignored = fields_of_others::read(&body).unwrap_or_default();
            if !ignored.is_empty() {
                let fixed = self.leave_to_others(&mut body, &ignored).await?;
                return Ok((canonical::to_vec(&body).into(), fixed));
            }
        }
        Ok((self.member.body().into(), false))
    }

    /// Leaves ignored fields to whoever has them. Says whether the body holds for what was read alone.
    async fn leave_to_others(&self, body: &mut Value, ignored: &[Path]) -> Result<bool, Failure> {
        let live = match self.reader.get(&self.path).await {
            Ok(bytes) => api::parse(&bytes)?,
            Err(failure) if failure.code() == Some(404) => return Ok(false),
            Err(failure) => return Err(failure),
        };
        let fixed = ignored::settle(body, &live, &self.manager, ignored);
        if fixed && let Some(revision) = field::at(&live, "/metadata/resourceVersion") {
            body["metadata"]["resourceVersion"] = revision.clone();
        }
        Ok(fixed)
    }

    async fn send(&self, body: Bytes) -> Result<Value, Failure> {
        let answer = self
            .api
            .apply(&self.path, &self.manager, self.force, body.clone())
            .await;
        if let Err(Failure::Refused(refusal)) = &answer
            && (refusal.is_over(&self.taken) || self.recovers(refusal).await?)
        {
            return self.api.apply(&self.path, &self.manager, true, body).await;
        }
        answer
    }

    /// Was all of what is in dispute taken from us while nobody led, or before what was applied could be recorded?
    async fn recovers(&self, refusal: &Refusal) -> Result<bool, Failure> {
        if !self.unrecorded || !refusal.is_field_conflict() {
            return Ok(false);
        }
        let live: Value = api::parse(&self.reader.get(&self.path).await?)?;
        // What is no member was let go of.
        let is_ours = live["metadata"]["labels"][applyset::PART_OF_LABEL] == *self.member.set;
        Ok(is_ours && refusal.is_over(&change::taken_since(&self.member.value(), &live, &self.manager)))
    }
}
