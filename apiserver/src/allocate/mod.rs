//! Allocation of Service addresses and node ports.
