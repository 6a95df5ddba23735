//! What the server says of itself: versions, groups and resources, as `kubectl` asks for them before anything else.

use super::headed;
use serde_json::{Value, json};

const VERSION: &str = "v1.33.4";

/// The groups that are served, with their version.
const GROUPS: &[(&str, &str)] =
    &[("apps", "v1"), ("autoscaling", "v2"), ("argoproj.io", "v1alpha1"), ("keda.sh", "v1alpha1")];

/// A resource: plural, singular, kind, namespaced, short names, scalable.
type Resource = (&'static str, &'static str, &'static str, bool, &'static [&'static str], bool);

fn resources(group: &str) -> &'static [Resource] {
    match group {
        "" => &[
            ("events", "event", "Event", true, &["ev"], false),
            ("namespaces", "namespace", "Namespace", false, &["ns"], false),
            ("nodes", "node", "Node", false, &["no"], false),
            ("pods", "pod", "Pod", true, &["po"], false),
        ],
        "apps" => &[
            ("deployments", "deployment", "Deployment", true, &["deploy"], true),
            ("statefulsets", "statefulset", "StatefulSet", true, &["sts"], true),
        ],
        "autoscaling" => {
            &[("horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler", true, &["hpa"], false)]
        }
        "argoproj.io" => &[("rollouts", "rollout", "Rollout", true, &["ro"], true)],
        "keda.sh" => &[("scaledobjects", "scaledobject", "ScaledObject", true, &["so"], false)],
        _ => &[],
    }
}

/// What a path answers; `None` when nobody installed that.
pub(super) fn about(path: &str, keda: bool) -> Option<Value> {
    let served = || GROUPS.iter().filter(move |(group, _)| keda || *group != "keda.sh");
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["version"] => Some(json!({
            "major": "1", "minor": "33", "gitVersion": VERSION, "gitCommit": "0000000", "gitTreeState": "clean",
            "buildDate": "2025-08-13T13:00:00Z", "goVersion": "go1.24.5", "compiler": "gc", "platform": "linux/amd64",
        })),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["api", "v1"] => Some(list("", "v1")),
        ["apis"] => {
            let groups: Vec<Value> = served().map(|(group, version)| api_group(group, version)).collect();
            Some(headed("APIGroupList", "v1", json!({ "groups": groups })))
        }
        ["apis", group] => {
            let (group, version) = served().find(|(name, _)| name == group)?;
            Some(headed("APIGroup", "v1", api_group(group, version)))
        }
        ["apis", group, version] => served().any(|one| one == &(*group, *version)).then(|| list(group, version)),
        _ => None,
    }
}

fn api_group(group: &str, version: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

fn list(group: &str, version: &str) -> Value {
    let mut all = Vec::new();
    for (plural, singular, kind, namespaced, short, scalable) in resources(group) {
        let writable = ["get", "list", "patch", "update", "watch"];
        let written = *scalable || ["horizontalpodautoscalers", "scaledobjects"].contains(plural);
        let verbs = if written { &writable[..] } else { &["get", "list", "watch"] };
        all.push(json!({
            "name": plural, "singularName": singular, "namespaced": namespaced, "kind": kind, "verbs": verbs,
            "shortNames": short,
        }));
        if *scalable {
            all.push(json!({
                "name": format!("{plural}/scale"), "singularName": "", "namespaced": namespaced, "kind": "Scale",
                "group": "autoscaling", "version": "v1", "verbs": ["get", "patch", "update"],
            }));
        }
    }
    let name = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    headed("APIResourceList", "v1", json!({"groupVersion": name, "resources": all}))
}
