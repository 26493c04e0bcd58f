//! Seccomp filters: a profile as data, the runtime's default profile, OCI JSON profiles, and their classic BPF.
//! Invariant: only the native system call interface runs; programs of a foreign one are killed.
//! Left out: notification listeners and filter flags.

mod assemble;
mod default;
mod json;

use std::collections::BTreeMap;

pub use assemble::assemble;
pub use default::runtime_default;
pub use json::parse;

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Allow,
    Errno(u16),
    KillProcess,
    KillThread,
    Trap,
    Log,
    Trace(u16),
}

impl Action {
    /// The filter's return value.
    fn code(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Errno(number) => libc::SECCOMP_RET_ERRNO | u32::from(number),
            Self::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
            Self::KillThread => libc::SECCOMP_RET_KILL_THREAD,
            Self::Trap => libc::SECCOMP_RET_TRAP,
            Self::Log => libc::SECCOMP_RET_LOG,
            Self::Trace(number) => libc::SECCOMP_RET_TRACE | u32::from(number),
        }
    }
}

/// How an argument is compared, unsigned and 64 bits wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Equal after masking with this.
    MaskedEqual(u64),
}

/// A check of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// 0 to 5.
    pub argument: u8,
    pub comparison: Comparison,
    pub value: u64,
}

/// An action that applies when all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub action: Action,
    pub conditions: Vec<Condition>,
}

/// What a filter does, by system call number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// For numbers without a rule, and for rules none of which matches.
    pub default: Action,
    /// First match counts.
    pub rules: BTreeMap<u32, Vec<Rule>>,
}

impl Profile {
    /// Adds a rule; one without conditions replaces all others of its system call.
    pub fn add(&mut self, number: u32, action: Action, conditions: Vec<Condition>) {
        let rules = self.rules.entry(number).or_default();
        if conditions.is_empty() {
            rules.clear();
        } else if rules.iter().any(|rule| rule.conditions.is_empty()) {
            return;
        }
        rules.push(Rule { action, conditions });
    }
}

#[cfg(target_arch = "x86_64")]
const TABLE: &str = include_str!("x86_64.txt");
#[cfg(target_arch = "aarch64")]
const TABLE: &str = include_str!("aarch64.txt");

/// The native system calls: number and name, in order of numbers.
pub fn system_calls() -> impl Iterator<Item = (u32, &'static str)> {
    TABLE.lines().filter_map(|line| {
        let (number, name) = line.split_once(' ')?;
        Some((number.parse().ok()?, name))
    })
}
