//! Deterministic simulation of the control plane on a virtual clock and disk.
