//! The clouds' HTTP APIs, simulated: what tests and the demo scale over the wire.
