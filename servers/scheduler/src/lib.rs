//! Feeds the scheduling rules with snapshots and carries out what they decide.
