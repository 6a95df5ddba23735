//! Profiles of an autoscale setting. One is in force at a time: a fixed date before a recurring one before the default.
//! The default's rules become the policy; a recurring profile becomes a schedule of its bounds.

use crate::azure;
use crate::json::{At, Read};
use crate::zones;
use contract::native::{NativeKind, NativePolicy, NativeRule, NativeSchedule};

/// A profile that comes again.
struct Recurring<'a> {
    name: &'a str,
    /// The profile that this one ends, when it is the return to the default.
    ends: Option<String>,
    cron: String,
    tz: Result<&'a str, String>,
    at: At<'a>,
}

pub(crate) fn read(native: &mut NativePolicy, group: &str, own: &At<'_>) -> Read<()> {
    let (mut plain, mut recurring) = (Vec::new(), Vec::new());
    for profile in own.need("profiles")?.list()? {
        let name = profile.maybe_text("name")?.unwrap_or("profile");
        if profile.get("fixedDate").is_some() {
            let text = format!(
                "the profile {name} is for one fixed date, and a schedule here comes again: `skala pin` sets capacity once"
            );
            native.rules.push(NativeRule { name: crate::promql::label(name), kind: NativeKind::Other(text.into()) });
        } else if let Some(recurrence) = profile.get("recurrence") {
            recurring.push(recurring_of(name, &profile, &recurrence)?);
        } else {
            plain.push(profile);
        }
    }
    let returns = recurring.iter().find(|one| one.ends.is_some()).map(|one| one.at.clone());
    let Some(base) = plain.into_iter().next().or(returns).or_else(|| recurring.first().map(|one| one.at.clone()))
    else {
        return Err(own.wrong("has no profile that is ever in force by itself"));
    };
    let capacity = base.need("capacity")?;
    native.min = Some(capacity.need("minimum")?.capacity()?);
    native.max = Some(capacity.need("maximum")?.capacity()?);
    native.when_blind = capacity.maybe("default", At::capacity)?;
    azure::rules(native, group, &base)?;
    for one in recurring.iter().filter(|one| one.ends.is_none()) {
        schedule(native, one, &recurring, &base)?;
    }
    Ok(())
}

fn recurring_of<'a>(name: &'a str, profile: &At<'a>, recurrence: &At<'a>) -> Read<Recurring<'a>> {
    let schedule = recurrence.need("schedule")?;
    let numbers = |key: &str, most: i64| -> Read<String> {
        let mut all = Vec::new();
        for one in schedule.need(key)?.list()? {
            let number = one.whole()?;
            if !(0..=most).contains(&number) {
                return Err(one.wrong(format!("must be 0 to {most}")));
            }
            all.push(number.to_string());
        }
        Ok(all.join(","))
    };
    let mut days = Vec::new();
    for day in schedule.items("days")? {
        let names = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
        let known = names.iter().position(|name| day.text().is_ok_and(|day| day.eq_ignore_ascii_case(name)));
        days.push(known.ok_or_else(|| day.wrong("is no day of the week"))?.to_string());
    }
    let days = if days.is_empty() { "*".to_owned() } else { days.join(",") };
    let cron = format!("{} {} * * {days}", numbers("minutes", 59)?, numbers("hours", 23)?);
    let zone = schedule.maybe_text("timeZone")?.unwrap_or("UTC");
    let tz = zones::iana(zone).ok_or_else(|| format!("the time zone `{zone}` has no IANA name that is known here"));
    Ok(Recurring { name, ends: returns_from(name), cron, tz, at: profile.clone() })
}

/// The portal names the return to the default `{"name":"...","for":"the profile that ends"}`.
fn returns_from(name: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(name).ok()?;
    Some(value.get("for")?.as_str()?.to_owned())
}

fn schedule(native: &mut NativePolicy, one: &Recurring<'_>, all: &[Recurring<'_>], base: &At<'_>) -> Read<()> {
    let capacity = one.at.need("capacity")?;
    let (min, max) = (capacity.need("minimum")?.capacity()?, capacity.need("maximum")?.capacity()?);
    let end = all.iter().find(|other| other.ends.as_deref() == Some(one.name));
    // Without a return of its own a profile lasts until the next recurring one begins.
    let mut others = all.iter().filter(|other| other.name != one.name);
    let end = end.or_else(|| others.next().filter(|_| others.next().is_none()));
    let kind = match (end, &one.tz) {
        (Some(end), Ok(tz)) => NativeKind::Schedule(NativeSchedule {
            cron: one.cron.as_str().into(),
            until: Some(end.cron.as_str().into()),
            lasts: None,
            tz: (*tz).into(),
            min: Some(min),
            max: Some(max),
        }),
        (_, Err(why)) => NativeKind::Other(format!("the profile {}: {why}", one.name).into()),
        (None, Ok(_)) => NativeKind::Other(
            format!("the profile {} (min {min}, max {max}) has no end that can be told", one.name).into(),
        ),
    };
    if !one.at.same("rules", base) {
        native.note(format!(
            "The profile {} has rules of its own. Here only its bounds change with the time; the rules are the default's.",
            one.name
        ));
    }
    native.rules.push(NativeRule { name: crate::promql::label(one.name), kind });
    Ok(())
}
