//! OpenStack servers by tag behind skala's provider contract.
