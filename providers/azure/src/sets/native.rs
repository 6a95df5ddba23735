//! Azure's own scaler of a set: what its autoscale setting says, and how its right to act is suspended.
//!
//! A setting is switched by its `enabled`, which leaves its profiles, rules and notifications where they are; predictive
//! autoscale is a part of it and rests with it. The API can be told of `enabled` alone, but it does not promise what becomes
//! of profiles that are not sent along. So the whole setting is written as it was read a moment before, field by field as
//! Azure gave it, known here or not, with `enabled` changed. The API has no ETag (one that it gave would be sent): what
//! somebody else writes between that read and the write is lost, which is the race that remains.

use super::Sets;
use crate::arm::AUTOSCALE;
use crate::errors::nonsense;
use crate::group::SetName;
use crate::wire::Change;
use azure_core::http::Method;
use contract::native::{NativeMode, NativePolicy, Needed, Switch};
use contract::{GroupId, ProviderError, Undo};
use serde_json::Value;
use tokio::time::Instant;

const SETTING: &str = "autoscale setting ";
const ENABLED: &str = "enabled";
/// What Azure says of a setting and nobody writes.
const READ_ONLY: [&str; 5] = ["etag", "id", "name", "systemData", "type"];

/// An autoscale setting, with all that Azure said of it.
struct Setting {
    id: String,
    /// `RESOURCE_GROUP/NAME`.
    label: String,
    /// The key of the set that it is for; `None`: it is for something else.
    target: Option<Box<str>>,
    document: Value,
}

impl Setting {
    fn read(text: &str, subscription: &str) -> Result<Self, ProviderError> {
        let wrong = |why: &str| nonsense(format!("an autoscale setting as no version has it: {why}"));
        let document: Value = serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
        let id = document["id"].as_str().ok_or_else(|| wrong("it has no id"))?.to_owned();
        let parts: Vec<&str> = id.split('/').collect();
        let ["", _, of, _, resource_group, _, _, _, name] = parts[..] else { return Err(wrong(&id)) };
        if !of.eq_ignore_ascii_case(subscription) {
            return Err(wrong("it is of another subscription"));
        }
        let label = format!("{resource_group}/{name}");
        let target = document.pointer("/properties/targetResourceUri").and_then(Value::as_str).unwrap_or_default();
        let target = SetName::of_id(target, subscription).map(|name| name.key());
        Ok(Self { id, label, target, document })
    }

    /// How its switch stands; `None`: it says nothing.
    fn enabled(&self) -> Result<Option<&'static str>, ProviderError> {
        match self.document.pointer("/properties/enabled") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(true)) => Ok(Some("true")),
            Some(Value::Bool(false)) => Ok(Some("false")),
            Some(other) => Err(nonsense(format!("{SETTING}{}: enabled is {other}", self.label))),
        }
    }

    fn is(&self, label: &str) -> bool {
        self.label.eq_ignore_ascii_case(label)
    }

    /// What is written so that its switch stands as wanted, all else as it is.
    fn with(&self, wanted: Option<&str>) -> Result<Value, ProviderError> {
        let mut body = self.document.clone();
        let Some(properties) = body.get_mut("properties").and_then(Value::as_object_mut) else {
            return Err(nonsense(format!("{SETTING}{}: it has no properties", self.label)));
        };
        match wanted {
            Some(wanted) => properties.insert(ENABLED.into(), (wanted == "true").into()),
            None => properties.remove(ENABLED),
        };
        if let Some(body) = body.as_object_mut() {
            READ_ONLY.iter().for_each(|key| drop(body.remove(*key)));
        }
        Ok(body)
    }
}

/// Every setting of the subscription, as it was just read, and the set that is asked about.
struct Standing {
    set: Box<str>,
    settings: Vec<Setting>,
}

impl Standing {
    fn own(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter().filter(|setting| setting.target.as_ref() == Some(&self.set))
    }

    /// What has to be switched so that nothing may act. A setting that says nothing is taken for one that acts.
    fn undo(&self) -> Result<Undo, ProviderError> {
        let mut undo = Undo::default();
        for setting in self.own() {
            let was = setting.enabled()?;
            if was != Some("false") {
                undo.switches.push(Switch {
                    what: format!("{SETTING}{}", setting.label).into(),
                    setting: ENABLED.into(),
                    was: was.map(Into::into),
                    becomes: Some("false".into()),
                });
            }
        }
        Ok(undo)
    }

    /// The setting that a switch is of; `None` when it is gone.
    fn of(&self, switch: &Switch) -> Result<Option<&Setting>, ProviderError> {
        let label = switch.what.strip_prefix(SETTING).filter(|_| *switch.setting == *ENABLED).ok_or_else(|| {
            let what = format!("{} is no switch of a scale set: was the record edited?", switch.what);
            ProviderError::Invalid { what: what.into() }
        })?;
        let Some(setting) = self.settings.iter().find(|setting| setting.is(label)) else { return Ok(None) };
        if setting.target.as_ref() != Some(&self.set) {
            let what = format!("{} is not for {} any more: somebody has set it since", switch.what, self.set);
            return Err(ProviderError::Conflict { what: what.into() });
        }
        Ok(Some(setting))
    }
}

impl Sets {
    async fn standing(&self, group: &GroupId) -> Result<Standing, ProviderError> {
        let name = SetName::parse(group, &self.subscription)?;
        let deadline = self.wire.soon();
        // A set that is not there has no setting either, which must not read as one that nobody scales.
        self.get(&name, deadline).await?;
        let path = format!("/subscriptions/{}/providers/Microsoft.Insights/autoscaleSettings", self.subscription);
        let mut settings: Vec<Setting> = Vec::new();
        let pages = self.insights.pages("ListAutoscaleSettings", &path, AUTOSCALE, &[], deadline, |item| {
            let setting = Setting::read(item, &self.subscription)?;
            if !settings.iter().any(|known| known.is(&setting.label) && known.target == setting.target) {
                settings.push(setting);
            }
            Ok(true)
        });
        pages.await?;
        Ok(Standing { set: name.key(), settings })
    }

    pub async fn native_policy(&self, group: &GroupId) -> Result<NativePolicy, ProviderError> {
        let standing = self.standing(group).await?;
        let documents: Vec<Value> = standing.own().map(|setting| setting.document.clone()).collect();
        match documents.len() {
            0 => {
                let mut none = NativePolicy::named(format!("scale set {group}, which has no autoscale setting,"));
                none.mode = NativeMode::Off;
                Ok(none)
            }
            // What Azure answered and nobody here understands is no policy.
            1 => native::azure::policy(group.as_str(), &documents).map_err(|error| nonsense(error.to_string())),
            _ => {
                let names: Vec<&str> = standing.own().map(|setting| setting.label.as_str()).collect();
                let what = format!("{group} has several autoscale settings ({}): leave one", names.join(", "));
                Err(ProviderError::Invalid { what: what.into() })
            }
        }
    }

    pub async fn native_undo(&self, group: &GroupId) -> Result<Undo, ProviderError> {
        self.standing(group).await?.undo()
    }

    pub async fn suspend_native(&self, group: &GroupId, undo: &Undo) -> Result<(), ProviderError> {
        let standing = self.standing(group).await?;
        let known = |new: &Switch| undo.switches.iter().any(|one| one.what.eq_ignore_ascii_case(&new.what));
        if let Some(new) = standing.undo()?.switches.iter().find(|switch| !known(switch)) {
            let what = format!("{group}: {} may act and was not when this was prepared", new.what);
            return Err(ProviderError::Conflict { what: what.into() });
        }
        let mut needed = Vec::new();
        for switch in &undo.switches {
            if let Some(setting) = standing.of(switch)?
                && switch.to_suspend(setting.enabled()?)? == Needed::Change
            {
                needed.push((switch, setting));
            }
        }
        self.make(&needed, true).await
    }

    pub async fn restore_native(&self, group: &GroupId, undo: &Undo) -> Result<(), ProviderError> {
        let standing = self.standing(group).await?;
        let mut needed = Vec::new();
        for switch in undo.switches.iter().rev() {
            if let Some(setting) = standing.of(switch)?
                && switch.to_restore(setting.enabled()?)? == Needed::Change
            {
                needed.push((switch, setting));
            }
        }
        self.make(&needed, false).await
    }

    /// Makes switches, toward suspended or back.
    async fn make(&self, needed: &[(&Switch, &Setting)], suspend: bool) -> Result<(), ProviderError> {
        for (switch, setting) in needed {
            let url = self.insights.url(&setting.id, AUTOSCALE, &[]);
            let answer = match self.insights.read("GetAutoscaleSetting", &url, self.insights.soon()).await {
                // It went in this moment; nothing is left that could act.
                Err(ProviderError::NotFound { .. }) => continue,
                answer => answer.map_err(ProviderError::before_the_write)?,
            };
            let text = std::str::from_utf8(answer.body()).map_err(|error| nonsense(error.to_string()))?;
            let fresh = Setting::read(text, &self.subscription)?;
            if !fresh.is(&setting.label) || fresh.target != setting.target {
                let what = format!("{} is another one by now: somebody has set it since", switch.what);
                return Err(ProviderError::Conflict { what: what.into() });
            }
            let (step, wanted) = if suspend {
                (switch.to_suspend(fresh.enabled()?)?, &switch.becomes)
            } else {
                (switch.to_restore(fresh.enabled()?)?, &switch.was)
            };
            if step == Needed::Nothing {
                continue;
            }
            let change = Change {
                operation: "PutAutoscaleSetting",
                method: Method::Put,
                url,
                body: fresh.with(wanted.as_deref())?,
                if_match: answer.header("etag").or(fresh.document["etag"].as_str()).map(Into::into),
            };
            self.put(change, wanted.as_deref()).await?;
        }
        Ok(())
    }

    /// Writes a setting; the answer is the setting as it stands by then, or it is not known whether it was written.
    async fn put(&self, change: Change, wanted: Option<&str>) -> Result<(), ProviderError> {
        let deadline = Instant::now() + self.insights.deadlines.write;
        let answer = self.insights.write(change, deadline).await?;
        let unclear = |what: String| ProviderError::Unclear { what: what.into(), source: None };
        let text = String::from_utf8_lossy(answer.body());
        let written = Setting::read(&text, &self.subscription)
            .and_then(|setting| setting.enabled())
            .map_err(|error| unclear(format!("PutAutoscaleSetting: {error}")))?;
        // Azure fills in what is not sent.
        if wanted.is_some() && written != wanted {
            let stands = written.unwrap_or("not there");
            return Err(unclear(format!("PutAutoscaleSetting: enabled is {stands} after the write")));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
