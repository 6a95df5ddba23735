//! Where settings stand, so that a hold can name the file and line that govern it.

/// Where something stands: the file's index in the set, and the line, counted from 1 (0: nowhere).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Index into [`PolicySet::files`].
    pub file: u32,
    /// Line, from 1.
    pub line: u32,
}

/// A setting that can be named as the cause of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each is the key of the same name.
pub enum Setting {
    Fleet,
    Mode,
    Min,
    Max,
    Warmup,
    Combine,
    OnExternalChange,
    Foreign,
    OnMissing,
    OutStabilization,
    OutCooldown,
    OutRate,
    OutSelect,
    InStabilization,
    InCooldown,
    InAfterScaleOut,
    InRate,
    InSelect,
    Drain,
    Group(u16),
    Metric(u16),
    Rule(u16),
    /// `[brakes]` of skala.toml.
    BrakeIn,
    /// `[brakes]` of skala.toml.
    BrakeOut,
}

impl Setting {
    /// How many settings [`Places`] keeps.
    const KEPT: usize = 19;

    /// The key in the fleet's table.
    pub fn key(self) -> &'static str {
        match self {
            Setting::Fleet => "fleet",
            Setting::Mode => "mode",
            Setting::Min => "min",
            Setting::Max => "max",
            Setting::Warmup => "warmup",
            Setting::Combine => "combine",
            Setting::OnExternalChange => "on_external_change",
            Setting::Foreign => "foreign",
            Setting::OnMissing => "on_missing",
            Setting::OutStabilization => "scale_out.stabilization",
            Setting::OutCooldown => "scale_out.cooldown",
            Setting::OutRate => "scale_out.rate",
            Setting::OutSelect => "scale_out.select",
            Setting::InStabilization => "scale_in.stabilization",
            Setting::InCooldown => "scale_in.cooldown",
            Setting::InAfterScaleOut => "scale_in.after_scale_out",
            Setting::InRate => "scale_in.rate",
            Setting::InSelect => "scale_in.select",
            Setting::Drain => "drain",
            Setting::Group(_) => "group",
            Setting::Metric(_) => "metric",
            Setting::Rule(_) => "rule",
            Setting::BrakeIn => "brakes.max_scale_in",
            Setting::BrakeOut => "brakes.max_scale_out",
        }
    }

    fn slot(self) -> Option<usize> {
        const ORDER: [Setting; Setting::KEPT] = [
            Setting::Fleet,
            Setting::Mode,
            Setting::Min,
            Setting::Max,
            Setting::Warmup,
            Setting::Combine,
            Setting::OnExternalChange,
            Setting::Foreign,
            Setting::OnMissing,
            Setting::OutStabilization,
            Setting::OutCooldown,
            Setting::OutRate,
            Setting::OutSelect,
            Setting::InStabilization,
            Setting::InCooldown,
            Setting::InAfterScaleOut,
            Setting::InRate,
            Setting::InSelect,
            Setting::Drain,
        ];
        ORDER.iter().position(|kept| *kept == self)
    }
}

/// Where a fleet's settings stand, in a few bytes each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Places([Place; Setting::KEPT]);

impl Places {
    /// Notes where a setting was written.
    pub fn set(&mut self, setting: Setting, place: Place) {
        if let Some(slot) = setting.slot() {
            self.0[slot] = place;
        }
    }

    /// Where a setting was written; the fleet's header when it was not.
    pub fn get(&self, setting: Setting) -> Place {
        match setting.slot() {
            Some(slot) if self.0[slot].line > 0 => self.0[slot],
            _ => self.0[0],
        }
    }
}
