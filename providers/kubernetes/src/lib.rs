//! Kubernetes' scale subresource behind skala's provider contract.
