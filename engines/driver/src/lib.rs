//! Runs controllers: queues, executes plans, waits for its own writes.
