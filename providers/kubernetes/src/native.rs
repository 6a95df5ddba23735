//! A workload's own scaler, a HorizontalPodAutoscaler or KEDA's ScaledObject: what it is set to, and how its right to act
//! is suspended.
//!
//! An HPA has no switch of its own. `selectPolicy: Disabled` in both directions of its behavior is the nearest there is:
//! it follows no metric then. Its minReplicas and maxReplicas hold all the same, and are shown as the group's own bounds.
//! A ScaledObject is paused by the annotation `autoscaling.keda.sh/paused`, upon which KEDA takes away the HPA that it
//! made; that HPA is not touched, since KEDA sets back what others write to it, and as long as it is there KEDA has not
//! obeyed. `paused-replicas` is taken away in the same write: beside it KEDA goes on setting that number.
//!
//! Each write is a merge patch of nothing but its switches, under the resourceVersion just read.

use crate::call::Call;
use crate::cluster::Cluster;
use crate::errors::{Effect, Failure, unanswered};
use crate::kinds::Kind;
use crate::listing::Listed;
use crate::names::Name;
use crate::scaler::{DISABLED, PAUSED, PAUSED_AT, Sort, is_paused, pauses};
use crate::scalers::aims_at;
use crate::shapes::{Object, OwnerReference, Scaler};
use contract::native::{NativePolicy, Needed, Switch};
use contract::{ProviderError, Undo};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// Attempts: an HPA's status is written every 15 s, and each time its version is another.
const ATTEMPTS: u32 = 4;
/// How often is looked whether KEDA has obeyed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const UP: &str = "spec.behavior.scaleUp.selectPolicy";
const DOWN: &str = "spec.behavior.scaleDown.selectPolicy";
/// What counts where no policy is selected.
const DEFAULT: &str = "Max";

/// An autoscaler with everything that was answered of it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Value")]
struct Whole {
    scaler: Scaler,
    object: Value,
}

impl TryFrom<Value> for Whole {
    type Error = serde_json::Error;

    fn try_from(object: Value) -> Result<Self, Self::Error> {
        Ok(Self { scaler: Scaler::deserialize(&object)?, object })
    }
}

impl Object for Whole {
    fn meta(&self) -> &crate::shapes::Meta {
        self.scaler.meta()
    }
}

impl Whole {
    fn controller(&self) -> Option<&OwnerReference> {
        self.meta().controller()
    }

    /// How a switch of this object stands.
    fn stands(&self, switch: &Switch) -> Result<Option<&str>, ProviderError> {
        let behavior = &self.object["spec"]["behavior"];
        Ok(match &*switch.setting {
            UP => behavior["scaleUp"]["selectPolicy"].as_str(),
            DOWN => behavior["scaleDown"]["selectPolicy"].as_str(),
            key @ (PAUSED | PAUSED_AT) => self.annotation(key),
            other => {
                let what = format!("{other} is no switch of {}: was the record edited?", switch.what);
                return Err(ProviderError::Invalid { what: what.into() });
            }
        })
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.meta().annotations.as_ref()?.get(key).map(String::as_str)
    }

    fn switch(&self, sort: Sort, setting: &str, becomes: Option<&str>) -> Result<Switch, ProviderError> {
        let what = sort.name(&self.scaler).into();
        let mut switch = Switch { what, setting: setting.into(), was: None, becomes: becomes.map(Box::from) };
        switch.was = self.stands(&switch)?.map(Box::from);
        Ok(switch)
    }
}

/// A position in a switch's own words: what the API fills in means the same as nothing.
fn position<'a>(switch: &'a Switch, now: Option<&'a str>) -> Option<&'a str> {
    let usual = |position: Option<&str>| position.is_none_or(|position| position == DEFAULT);
    let is_policy = [UP, DOWN].contains(&&*switch.setting);
    if is_policy && usual(now) && usual(switch.was.as_deref()) { switch.was.as_deref() } else { now }
}

/// Everything that scales a group beside skala, as it was just read.
struct Standing {
    hpas: Vec<Whole>,
    scaled: Vec<Whole>,
}

impl Standing {
    fn all(&self) -> impl Iterator<Item = (Sort, &Whole)> {
        let keda = self.scaled.iter().map(|scaled| (Sort::Keda, scaled));
        keda.chain(self.hpas.iter().map(|hpa| (Sort::Hpa, hpa)))
    }

    fn find(&self, what: &str) -> Option<(Sort, &Whole)> {
        self.all().find(|(sort, whole)| sort.name(&whole.scaler) == what)
    }

    /// What has to be switched so that nothing of it may act.
    ///
    /// # Errors
    /// `Invalid` for an HPA that somebody else keeps as it is, `Conflict` while KEDA has not obeyed.
    fn undo(&self) -> Result<Undo, ProviderError> {
        let mut switches = Vec::new();
        for scaled in self.scaled.iter().filter(|scaled| !is_paused(&scaled.scaler)) {
            if !scaled.annotation(PAUSED).is_some_and(pauses) {
                switches.push(scaled.switch(Sort::Keda, PAUSED, Some("true"))?);
            }
            if scaled.annotation(PAUSED_AT).is_some() {
                switches.push(scaled.switch(Sort::Keda, PAUSED_AT, None)?);
            }
        }
        for hpa in self.hpas.iter().filter(|hpa| Sort::Hpa.read(&hpa.scaler).foreign.is_some()) {
            if let Some(owner) = hpa.controller() {
                self.kept_by(hpa, owner)?;
                continue;
            }
            for setting in [DOWN, UP] {
                let switch = hpa.switch(Sort::Hpa, setting, Some(DISABLED))?;
                if switch.was.as_deref() != Some(DISABLED) {
                    switches.push(switch);
                }
            }
        }
        Ok(Undo { switches })
    }

    /// Of an HPA that acts and is another object's: fine when that is a ScaledObject that is about to be paused.
    fn kept_by(&self, hpa: &Whole, owner: &OwnerReference) -> Result<(), ProviderError> {
        let name = Sort::Hpa.name(&hpa.scaler);
        let keeper = format!("{} {}", owner.kind, owner.name);
        let scaled = self.scaled.iter().find(|scaled| owner.kind == "ScaledObject" && scaled.meta().name == owner.name);
        match scaled.map(|scaled| is_paused(&scaled.scaler)) {
            Some(false) => Ok(()),
            Some(true) => {
                let why = "is paused, and its HPA is still there: KEDA has not obeyed yet. Ask again. A KEDA of before 2.12 \
                           does not know the annotation: upgrade it, or delete the ScaledObject by hand";
                Err(ProviderError::Conflict { what: format!("{keeper} {why} ({name})").into() })
            }
            None => {
                let why = "would set back what is written to it: suspend it there, by hand";
                Err(ProviderError::Invalid { what: format!("{name} belongs to {keeper}, which {why}").into() })
            }
        }
    }
}

/// A switch, and the position that it is brought to.
type Change<'a> = (&'a Switch, Option<&'a str>);

/// The changes of one object.
fn patch(whole: &Whole, changes: &[Change<'_>]) -> Value {
    let mut patch = json!({"metadata": {"resourceVersion": whole.meta().resource_version}});
    for (switch, to) in changes {
        match &*switch.setting {
            UP => patch["spec"]["behavior"]["scaleUp"]["selectPolicy"] = (*to).into(),
            DOWN => patch["spec"]["behavior"]["scaleDown"]["selectPolicy"] = (*to).into(),
            key => patch["metadata"]["annotations"][key] = (*to).into(),
        }
    }
    // The API fills in a whole behavior as soon as there is any. Where there was none, none comes back, unless somebody has
    // written more into it meanwhile.
    let gone = |setting: &str| changes.iter().any(|(switch, to)| &*switch.setting == setting && to.is_none());
    if gone(UP) && gone(DOWN) && is_filled_in(&whole.object["spec"]["behavior"]) {
        patch["spec"]["behavior"] = Value::Null;
    }
    patch
}

/// Whether a behavior has nothing that the API does not fill in by itself, but for its switches.
fn is_filled_in(behavior: &Value) -> bool {
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let usual = |way: &str, usual: &[&Value]| {
        let fields = behavior[way].as_object().into_iter().flatten();
        fields.filter(|(_, value)| !value.is_null()).all(|(key, value)| match (way, key.as_str()) {
            (_, "selectPolicy") => true,
            ("scaleUp", "stabilizationWindowSeconds") => *value == json!(0),
            (_, "policies") => value.as_array().is_some_and(|policies| {
                policies.len() == usual.len() && policies.iter().all(|policy| usual.contains(&policy))
            }),
            _ => false,
        })
    };
    usual("scaleUp", &[&pods, &percent]) && usual("scaleDown", &[&percent])
}

impl Cluster {
    async fn standing(&self, name: &Name, kind: &Kind, deadline: Instant) -> Result<Standing, ProviderError> {
        let read = deadline.min(Instant::now() + self.deadlines.read);
        let places = BTreeSet::from([&*name.namespace]);
        let source = Sort::Hpa.source();
        let (hpas, scaled) =
            futures_util::join!(self.list::<Whole>(&source, &places, read), self.list_keda::<Whole>(&places, read));
        let of = |sort: Sort, listed: Listed<Whole>| match listed.broken.into_values().next() {
            Some(error) => Err(error),
            None => {
                let own = |whole: &Whole| aims_at(&sort.read(&whole.scaler).target, name, Some(kind));
                Ok(listed.items.into_iter().filter(own).collect())
            }
        };
        Ok(Standing { hpas: of(Sort::Hpa, hpas)?, scaled: of(Sort::Keda, scaled)? })
    }

    /// What scales a group that is there.
    async fn standing_of(&self, id: &str, deadline: Instant) -> Result<(Name, Kind, Standing), ProviderError> {
        let name = Name::parse(id)?;
        let kind = self.kind(&name.resource, deadline).await?;
        self.read_one(&name, &kind, deadline).await?;
        let standing = self.standing(&name, &kind, deadline).await?;
        Ok((name, kind, standing))
    }

    pub async fn native_policy(&self, id: &str) -> Result<NativePolicy, ProviderError> {
        let (_, _, standing) = self.standing_of(id, Instant::now() + self.deadlines.write).await?;
        let documents: Vec<Value> = standing.all().map(|(sort, whole)| document(sort, whole)).collect();
        if documents.is_empty() {
            return Ok(NativePolicy::named(format!("{id}, which has no autoscaler,")));
        }
        // What the cluster answered and nobody here understands is no policy.
        native::kubernetes::policy(id, &documents)
            .map_err(|error| ProviderError::Transport { what: error.to_string().into(), source: None })
    }

    pub async fn native_undo(&self, id: &str) -> Result<Undo, ProviderError> {
        self.standing_of(id, Instant::now() + self.deadlines.write).await?.2.undo()
    }

    pub async fn suspend_native(&self, id: &str, undo: &Undo) -> Result<(), ProviderError> {
        let deadline = Instant::now() + self.deadlines.write;
        let (name, kind, standing) = self.standing_of(id, deadline).await?;
        let known = |new: &Switch| undo.switches.iter().any(|one| one.what == new.what && one.setting == new.setting);
        if let Ok(more) = standing.undo()
            && let Some(new) = more.switches.iter().find(|switch| !known(switch))
        {
            let what = format!("{id}: {} may act and was not when this was prepared", new.what);
            return Err(ProviderError::Conflict { what: what.into() });
        }
        self.switch(&name, &kind, undo, true, deadline).await?;
        loop {
            let left = match self.standing(&name, &kind, deadline).await?.undo() {
                Ok(left) => left,
                // KEDA takes a moment to obey.
                Err(ProviderError::Conflict { .. }) if Instant::now() + LOOK_EVERY < deadline => {
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                }
                Err(ProviderError::Conflict { what }) => return Err(ProviderError::Unclear { what, source: None }),
                Err(error) => return Err(error),
            };
            let Some(back) = left.switches.first() else { return Ok(()) };
            let why = "was set back at once: whoever writes it (GitOps, an operator) has to write it so";
            return Err(ProviderError::Conflict { what: format!("{back}: {why}").into() });
        }
    }

    pub async fn restore_native(&self, id: &str, undo: &Undo) -> Result<(), ProviderError> {
        let deadline = Instant::now() + self.deadlines.write;
        let name = Name::parse(id)?;
        let kind = self.kind(&name.resource, deadline).await?;
        self.switch(&name, &kind, undo, false, deadline).await
    }

    /// Makes the switches that do not stand as wanted, object by object.
    async fn switch(
        &self,
        name: &Name,
        kind: &Kind,
        undo: &Undo,
        suspend: bool,
        deadline: Instant,
    ) -> Result<(), ProviderError> {
        let mut attempt = 1;
        loop {
            let standing = self.standing(name, kind, deadline).await?;
            let Err(failure) = self.switch_once(&standing, undo, suspend, deadline).await else { return Ok(()) };
            // It changed, or went, between the read and the write: its status alone, perhaps.
            let again = failure.harmless
                && matches!(failure.error, ProviderError::Conflict { .. } | ProviderError::NotFound { .. });
            if !again || attempt == ATTEMPTS {
                return Err(failure.error);
            }
            attempt += 1;
        }
    }

    async fn switch_once(
        &self,
        standing: &Standing,
        undo: &Undo,
        suspend: bool,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let own = |error: ProviderError| Failure { error, missing: false, gone: false, harmless: false };
        let mut needed: Vec<(Sort, &Whole, Vec<Change<'_>>)> = Vec::new();
        let mut wanted: Vec<&Switch> = undo.switches.iter().collect();
        if !suspend {
            wanted.reverse();
        }
        for switch in wanted {
            // What is gone has no right to act, and stays gone.
            let Some((sort, whole)) = standing.find(&switch.what) else { continue };
            let now = position(switch, whole.stands(switch).map_err(own)?);
            let (need, to) = match suspend {
                true => (switch.to_suspend(now), switch.becomes.as_deref()),
                false => (switch.to_restore(now), switch.was.as_deref()),
            };
            if need.map_err(own)? == Needed::Nothing {
                continue;
            }
            match needed.iter_mut().find(|(_, other, _)| std::ptr::eq(*other, whole)) {
                Some((_, _, changes)) => changes.push((switch, to)),
                None => needed.push((sort, whole, vec![(switch, to)])),
            }
        }
        for (sort, whole, changes) in needed {
            self.patch_scaler(sort, whole, &changes, deadline).await?;
        }
        Ok(())
    }

    async fn patch_scaler(
        &self,
        sort: Sort,
        whole: &Whole,
        changes: &[Change<'_>],
        deadline: Instant,
    ) -> Result<(), Failure> {
        let (source, meta) = (sort.source(), whole.meta());
        let place = meta.namespace.as_deref().unwrap_or_default();
        let path = format!("{}/namespaces/{place}/{}/{}?fieldManager=skala", source.base, source.plural, meta.name);
        let operation = match sort {
            Sort::Hpa => "PatchAutoscaler",
            Sort::Keda => "PatchScaledObject",
        };
        let call = Call { patch: Some(patch(whole, changes)), ..Call::get(operation, path) };
        let answer: Whole = self.lane.make(&call, deadline).await?;
        for (switch, to) in changes {
            let now = answer.stands(switch).ok().flatten();
            if position(switch, now) != *to {
                let why = format!("asked for {} to be {to:?}, and the answer says {now:?}", switch.setting);
                return Err(unanswered(operation, Effect::Write, &why, None));
            }
        }
        Ok(())
    }
}

/// As kubectl prints it: items of a list do not say their kind.
fn document(sort: Sort, whole: &Whole) -> Value {
    let mut object = whole.object.clone();
    object["kind"] = sort.words().into();
    object
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
