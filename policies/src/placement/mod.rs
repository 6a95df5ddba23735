//! Fleet desired to group desired, and the choice of victims.
