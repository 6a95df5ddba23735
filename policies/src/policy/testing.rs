//! Runs the `[[test]]` tables through the same three functions as the daemon.
