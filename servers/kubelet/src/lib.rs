//! The node agent: watches pods, carries out their plans, reports status.
