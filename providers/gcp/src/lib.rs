//! Google Cloud's managed instance groups behind skala's provider contract.
