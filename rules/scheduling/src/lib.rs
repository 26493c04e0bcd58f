//! Which node a pod goes to: filters, scores and preemption over one snapshot.
