//! Registers every controller with the driver.
