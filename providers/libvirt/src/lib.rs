//! libvirt domains behind skala's provider contract.
