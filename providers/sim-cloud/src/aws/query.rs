//! The Query protocol: `A.member.1.B=x` in, XML out. EC2 leaves `member` out, and calls an item `item`.

use super::{Refused, invalid};
use crate::request::Request;
use contract::Timestamp;
use serde_json::{Map, Value};
use std::fmt::Write;

const ASG_NAMESPACE: &str = "http://autoscaling.amazonaws.com/doc/2011-01-01/";
const EC2_NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// Which of the two APIs a call is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    AutoScaling,
    Ec2,
}

/// A call's parameters.
#[derive(Clone, Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub fn of(request: &Request) -> Self {
        Self(request.form())
    }

    pub fn action(&self) -> &str {
        self.text("Action").unwrap_or_default()
    }

    pub fn service(&self) -> Service {
        if self.text("Version").is_some_and(|version| version.starts_with("2016")) {
            Service::Ec2
        } else {
            Service::AutoScaling
        }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn need(&self, name: &str) -> Result<&str, Refused> {
        let missing = || (400, "MissingParameter", format!("The request must contain the parameter {name}"));
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(missing)
    }

    pub fn number(&self, name: &str) -> Result<Option<u32>, Refused> {
        let number = |text: &str| text.parse().map_err(|_| invalid(format!("{text} is not a number for {name}")));
        self.text(name).map(number).transpose()
    }

    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.text(name).map_or(default, |text| text.eq_ignore_ascii_case("true"))
    }

    /// The values of `Name.member.1` or `Name.1`, and so on.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let place = self.place(name);
        (1..).map_while(|index| self.text(&format!("{place}.{index}"))).collect()
    }

    /// The structures of such a list, each as what is below it.
    pub fn structures(&self, name: &str) -> Vec<Params> {
        let place = self.place(name);
        (1..).map(|index| self.below(&format!("{place}.{index}"))).take_while(|each| !each.0.is_empty()).collect()
    }

    /// The parameters below a name.
    pub fn below(&self, name: &str) -> Params {
        let begin = format!("{name}.");
        let below =
            self.0.iter().filter_map(|(key, value)| Some((key.strip_prefix(&begin)?.to_owned(), value.clone())));
        Params(below.collect())
    }

    /// All of them, but for the call's name, as a tree: for what is only kept and shown again.
    pub fn tree(&self) -> Value {
        let mut tree = Value::Object(Map::new());
        for (key, value) in self.0.iter().filter(|(key, _)| key != "Action" && key != "Version") {
            let mut at = &mut tree;
            for part in key.split('.') {
                at = &mut at[part];
            }
            *at = value.as_str().into();
        }
        settled(tree)
    }

    /// The same call for another page.
    pub fn at_page(&self, token: Option<&str>) -> Params {
        let mut pairs: Vec<_> = self.0.iter().filter(|(key, _)| key != "NextToken").cloned().collect();
        pairs.extend(token.map(|token| ("NextToken".to_owned(), token.to_owned())));
        Params(pairs)
    }

    /// The items of the page that is asked for; the token of the next one.
    pub fn page<T>(&self, items: Vec<T>, default: usize, most: usize) -> Result<(Vec<T>, Option<String>), Refused> {
        self.page_within(items, default, most, usize::MAX)
    }

    /// The same where the API gives no more than `largest` at once, whatever was asked for.
    pub fn page_within<T>(
        &self,
        items: Vec<T>,
        default: usize,
        most: usize,
        largest: usize,
    ) -> Result<(Vec<T>, Option<String>), Refused> {
        let asked = self.number("MaxRecords")?.or(self.number("MaxResults")?).map_or(default, |size| size as usize);
        if asked == 0 || asked > most {
            return Err(invalid(format!("a page holds 1 to {most}")));
        }
        let asked = asked.min(largest);
        let bad = |token: &str| (400, "InvalidNextToken", format!("The token '{token}' is invalid."));
        let start = self.text("NextToken").map_or(Ok(0), |token| token.parse::<usize>().map_err(|_| bad(token)))?;
        let next = (start + asked < items.len()).then(|| (start + asked).to_string());
        Ok((items.into_iter().skip(start).take(asked).collect(), next))
    }

    fn place(&self, name: &str) -> String {
        match self.service() {
            Service::AutoScaling if self.0.iter().any(|(key, _)| key.starts_with(&format!("{name}.member."))) => {
                format!("{name}.member")
            }
            _ => name.to_owned(),
        }
    }
}

/// Objects that are lists, as lists.
fn settled(tree: Value) -> Value {
    let Value::Object(map) = tree else { return tree };
    if map.len() == 1
        && let Some(members) = map.get("member")
    {
        return settled(members.clone());
    }
    let mut numbered: Vec<(usize, &Value)> =
        map.iter().filter_map(|(key, value)| Some((key.parse().ok()?, value))).collect();
    if !map.is_empty() && numbered.len() == map.len() {
        numbered.sort_by_key(|(number, _)| *number);
        return numbered.into_iter().map(|(_, value)| settled(value.clone())).collect();
    }
    map.into_iter().map(|(key, value)| (key, settled(value))).collect()
}

/// A point in time as both APIs write it.
pub(super) fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.0.div_euclid(1_000_000)).map(|at| at.to_string()).unwrap_or_default()
}

/// The document that answers a call.
pub(super) fn answer(params: &Params, tree: &Value, request_id: &str) -> String {
    let action = params.action();
    match params.service() {
        Service::AutoScaling => {
            let result = match tree {
                Value::Null => String::new(),
                tree => format!("<{action}Result>{}</{action}Result>", xml(tree, "member")),
            };
            let about = format!("<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>");
            format!("<{action}Response xmlns=\"{ASG_NAMESPACE}\">{result}{about}</{action}Response>")
        }
        Service::Ec2 => {
            let result = if tree.is_null() { "<return>true</return>".to_owned() } else { xml(tree, "item") };
            let head = format!("<requestId>{request_id}</requestId>");
            format!("<{action}Response xmlns=\"{EC2_NAMESPACE}\">{head}{result}</{action}Response>")
        }
    }
}

/// The document that refuses a call.
pub(super) fn refusal(service: Service, status: u16, code: &str, words: &str, request_id: &str) -> String {
    let detail = format!("<Code>{}</Code><Message>{}</Message>", escaped(code), escaped(words));
    match service {
        Service::AutoScaling => {
            let side = if status < 500 { "Sender" } else { "Receiver" };
            let error = format!("<Error><Type>{side}</Type>{detail}</Error><RequestId>{request_id}</RequestId>");
            format!("<ErrorResponse xmlns=\"{ASG_NAMESPACE}\">{error}</ErrorResponse>")
        }
        Service::Ec2 => {
            let error = format!("<Errors><Error>{detail}</Error></Errors><RequestID>{request_id}</RequestID>");
            format!("<Response>{error}</Response>")
        }
    }
}

/// A tree as XML: an object's keys are elements, a list's items are all called the same, `Null` is left out.
fn xml(tree: &Value, item: &str) -> String {
    match tree {
        Value::Null => String::new(),
        Value::Object(map) => {
            let shown = map.iter().filter(|(_, value)| !value.is_null());
            shown.fold(String::new(), |text, (key, value)| format!("{text}<{key}>{}</{key}>", xml(value, item)))
        }
        Value::Array(items) => {
            items.iter().fold(String::new(), |text, each| format!("{text}<{item}>{}</{item}>", xml(each, item)))
        }
        Value::String(text) => escaped(text),
        other => other.to_string(),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => _ = write!(out, "&#{};", c as u32),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn parameters_are_taken_apart() {
        let asg = params(&[("Names.member.1", "a"), ("Names.member.2", "b"), ("Tags.member.1.Key", "k")]);
        assert_eq!(asg.list("Names"), ["a", "b"]);
        assert_eq!(asg.structures("Tags")[0].text("Key"), Some("k"));
        assert_eq!(asg.tree(), json!({ "Names": ["a", "b"], "Tags": [{ "Key": "k" }] }));
        let ec2 = params(&[("Version", "2016-11-15"), ("Filter.1.Name", "x"), ("Filter.1.Value.1", "v")]);
        assert_eq!(ec2.structures("Filter")[0].list("Value"), ["v"]);
        assert_eq!(ec2.list("Filter"), Vec::<&str>::new());
    }

    #[test]
    fn a_tree_is_written_as_xml() {
        let tree = json!({ "A": ["x<&>", { "B": 3 }], "C": true, "D": null, "E": "" });
        assert_eq!(
            xml(&tree, "member"),
            "<A><member>x&lt;&amp;&gt;</member><member><B>3</B></member></A><C>true</C><E></E>"
        );
    }

    #[test]
    fn pages_follow_each_other() {
        let of =
            |token: &[(&str, &str)]| params(&[&[("MaxRecords", "2")], token].concat()).page(vec![1, 2, 3], 50, 100);
        assert_eq!(of(&[]).unwrap(), (vec![1, 2], Some("2".into())));
        assert_eq!(of(&[("NextToken", "2")]).unwrap(), (vec![3], None));
        assert_eq!(of(&[("NextToken", "x")]).unwrap_err().1, "InvalidNextToken");
    }
}
