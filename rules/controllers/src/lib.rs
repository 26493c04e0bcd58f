//! One file per controller: observe, then plan.
