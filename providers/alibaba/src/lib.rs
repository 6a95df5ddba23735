//! Alibaba Cloud's scaling groups behind skala's provider contract.
