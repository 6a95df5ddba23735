//! The simulated cloud's own scalers: the other controllers that a group was set up with. One that is suspended is no
//! longer shown as a controller, and acts no more.

use crate::cloud::Cloud;
use crate::provider::Sim;
use contract::native::{Native, NativePolicy, Needed, Switch};
use contract::{BoxFuture, Foreign, GroupId, ProviderError, Undo};

const SETTING: &str = "enabled";

fn switch(foreign: &Foreign) -> Switch {
    let (was, becomes) = (Some("true".into()), Some("false".into()));
    Switch { what: foreign.name.clone(), setting: SETTING.into(), was, becomes }
}

fn not_found(group: &GroupId) -> ProviderError {
    ProviderError::NotFound { what: group.0.clone() }
}

/// How a scaler stands: `None` when the group has none of that name.
fn stands(cloud: &Cloud, group: &GroupId, name: &str) -> Result<Option<&'static str>, ProviderError> {
    let (active, resting) = cloud.scalers(group).ok_or_else(|| not_found(group))?;
    let has = |list: &[Foreign]| list.iter().any(|foreign| *foreign.name == *name);
    Ok(if has(&active) { Some("true") } else { has(&resting).then_some("false") })
}

impl Native for Sim {
    fn describe<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<NativePolicy, ProviderError>> {
        Box::pin(async move {
            let (active, resting) = self.cloud().scalers(group).ok_or_else(|| not_found(group))?;
            let mut native = NativePolicy::named(format!("simulated scalers of {group}"));
            for foreign in active.iter().chain(&resting) {
                native.note(format!("{} is simulated: it has no rules.", foreign.name));
            }
            Ok(native)
        })
    }

    fn prepare<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<Undo, ProviderError>> {
        Box::pin(async move {
            let (active, _) = self.cloud().scalers(group).ok_or_else(|| not_found(group))?;
            Ok(Undo { switches: active.iter().map(switch).collect() })
        })
    }

    fn suspend<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            for switch in &undo.switches {
                if switch.to_suspend(stands(self.cloud(), group, &switch.what)?)? == Needed::Change {
                    self.cloud().rest(group, &switch.what, true);
                }
            }
            Ok(())
        })
    }

    fn restore<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            for switch in undo.switches.iter().rev() {
                let now = stands(self.cloud(), group, &switch.what)?;
                // What was deleted meanwhile stays deleted.
                if now.is_some() && switch.to_restore(now)? == Needed::Change {
                    self.cloud().rest(group, &switch.what, false);
                }
            }
            Ok(())
        })
    }
}
