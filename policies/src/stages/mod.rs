//! One step of the trace each.
