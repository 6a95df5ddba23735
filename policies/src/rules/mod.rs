//! One recommendation each.
