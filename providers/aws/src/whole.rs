//! Refuses answers that the SDK would fill up with defaults.
//!
//! The SDK takes a document that stops in the middle for a shorter one, a missing number for 0 and any document for the
//! empty answer of a write: seen with its own parser, and each would be a capacity nobody told. So every successful
//! answer's bytes are checked: they are the answer of this operation, they end, and each group has its numbers.

use aws_sdk_autoscaling::operation::describe_auto_scaling_groups::DescribeAutoScalingGroupsOutput;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// The check, as the SDK wants it.
#[derive(Debug)]
pub(crate) struct Whole;

impl Intercept for Whole {
    fn name(&self) -> &'static str {
        "whole answers only"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // A refusal has its own form, which the error's parser judges.
        let Ok(output) = context.output_or_error() else { return Ok(()) };
        let Some(operation) = cfg.load::<Metadata>().map(Metadata::name) else { return Ok(()) };
        let text = context.response().body().bytes().map(String::from_utf8_lossy);
        let text = text.ok_or("the answer has no body")?;
        is_answer(&text, operation)?;
        if let Some(answer) = output.downcast_ref::<DescribeAutoScalingGroupsOutput>() {
            let groups = answer.auto_scaling_groups().len();
            for number in ["DesiredCapacity", "MinSize", "MaxSize"] {
                let shown = text.matches(&format!("<{number}>")).count();
                if shown < groups {
                    return Err(format!("{groups} groups, but only {shown} times {number}").into());
                }
            }
        }
        Ok(())
    }
}

/// Checks that a document is `<OPERATIONResponse ...> ... </OPERATIONResponse>`, from its first byte to its last.
fn is_answer(text: &str, operation: &str) -> Result<(), String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let text = match text.strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>").map_or("", |(_, after)| after.trim_start()),
        None => text,
    };
    let root = format!("{operation}Response");
    let opened = text.strip_prefix('<').and_then(|rest| rest.strip_prefix(root.as_str()));
    if !opened.is_some_and(|rest| rest.starts_with([' ', '>', '/', '\n', '\t', '\r'])) {
        return Err(format!("the answer is not a {root}"));
    }
    let closed = text.ends_with(&format!("</{root}>")) || (text.matches('<').count() == 1 && text.ends_with("/>"));
    if closed { Ok(()) } else { Err(format!("the {root} stops in the middle")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_operations_whole_document_is_an_answer() {
        let check = |text: &str, expected: bool| assert_eq!(is_answer(text, "Get").is_ok(), expected, "{text}");
        check("<GetResponse><a/></GetResponse>", true);
        check("<?xml version=\"1.0\"?>\n<GetResponse xmlns=\"x\"><a/></GetResponse>\n", true);
        check("<GetResponse/>", true);
        check("", false);
        check("<?xml version=\"1.0\"?>", false);
        check("<GetResponse><a>", false);
        check("<GetResponse><a/>", false);
        check("<GetResponse>", false);
        check("<GetResponses></GetResponses>", false);
        check("<html></html>", false);
        check("{}", false);
    }
}
