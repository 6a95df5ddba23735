//! Azure's virtual machine scale sets behind skala's provider contract.
