//! What is asked of EC2 itself: facts of instances, and groups that are nothing but a tag.

pub(crate) mod ended;
pub(crate) mod facts;
pub(crate) mod tagged;
pub(crate) mod write;
