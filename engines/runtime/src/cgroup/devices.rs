//! Which device nodes a container may use: rules, and their eBPF program for cgroup v2 (v1 takes them as text).

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::sys;

/// Kind of device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    Char,
    Block,
}

/// One allowance; everything else is denied. `None` is any number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    pub kind: DeviceKind,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Any of `r`, `w`, `m`.
    pub access: String,
}

impl fmt::Display for DeviceRule {
    /// The form of v1's `devices.allow`, such as `c 1:3 rwm`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::Char => 'c',
            DeviceKind::Block => 'b',
        };
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(
            f,
            "{kind} {}:{} {}",
            number(self.major),
            number(self.minor),
            self.access
        )
    }
}

/// What every container may use: the nodes that /dev gets, terminals, and making any node.
pub fn default_rules() -> Vec<DeviceRule> {
    let rule = |kind, major, minor, access: &str| DeviceRule {
        kind,
        major,
        minor,
        access: access.to_owned(),
    };
    let mut rules = vec![
        rule(DeviceKind::Char, None, None, "m"),
        rule(DeviceKind::Block, None, None, "m"),
        rule(DeviceKind::Char, Some(136), None, "rwm"), // pts
    ];
    // null, zero, full, random, urandom, tty, console, ptmx
    for (major, minor) in [
        (1, 3),
        (1, 5),
        (1, 7),
        (1, 8),
        (1, 9),
        (5, 0),
        (5, 1),
        (5, 2),
    ] {
        rules.push(rule(DeviceKind::Char, Some(major), Some(minor), "rwm"));
    }
    rules
}

/// One eBPF instruction as the kernel lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const MOV_IMM: u8 = 0xb7;
const MOV_REG: u8 = 0xbf;
const AND_IMM32: u8 = 0x54;
const RSH_IMM32: u8 = 0x74;
const MOV_REG32: u8 = 0xbc;
const LOAD_WORD: u8 = 0x61;
const JNE_IMM: u8 = 0x55;
const JNE_REG: u8 = 0x5d;
const EXIT: u8 = 0x95;

const BPF_DEVCG_DEV_BLOCK: i32 = 1;
const BPF_DEVCG_DEV_CHAR: i32 = 2;

const fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: dst | src << 4,
        offset,
        immediate,
    }
}

/// The program: r2 kind, r3 wanted access, r4 major, r5 minor; 1 allows, 0 denies.
fn assemble(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(MOV_REG32, 3, 2, 0, 0),
        instruction(AND_IMM32, 2, 0, 0, 0xffff),
        instruction(RSH_IMM32, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        assemble_rule(rule, &mut program);
    }
    program.push(instruction(MOV_IMM, 0, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

fn assemble_rule(rule: &DeviceRule, program: &mut Vec<Instruction>) {
    let kind = match rule.kind {
        DeviceKind::Char => BPF_DEVCG_DEV_CHAR,
        DeviceKind::Block => BPF_DEVCG_DEV_BLOCK,
    };
    let bit = |letter, bit| if rule.access.contains(letter) { bit } else { 0 };
    let access = bit('m', 1) | bit('r', 2) | bit('w', 4);
    let mut block = vec![instruction(JNE_IMM, 2, 0, 0, kind)];
    if access != 7 {
        block.push(instruction(MOV_REG, 1, 3, 0, 0));
        block.push(instruction(AND_IMM32, 1, 0, 0, access));
        block.push(instruction(JNE_REG, 1, 3, 0, 0));
    }
    if let Some(major) = rule.major {
        block.push(instruction(JNE_IMM, 4, 0, 0, major as i32));
    }
    if let Some(minor) = rule.minor {
        block.push(instruction(JNE_IMM, 5, 0, 0, minor as i32));
    }
    block.push(instruction(MOV_IMM, 0, 0, 0, 1));
    block.push(instruction(EXIT, 0, 0, 0, 0));
    let length = block.len();
    for (index, step) in block.iter_mut().enumerate() {
        if matches!(step.code, JNE_IMM | JNE_REG) {
            step.offset = (length - index - 1) as i16; // to the next rule
        }
    }
    program.extend(block);
}

fn encode(program: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for step in program {
        bytes.push(step.code);
        bytes.push(step.registers);
        bytes.extend_from_slice(&step.offset.to_ne_bytes());
        bytes.extend_from_slice(&step.immediate.to_ne_bytes());
    }
    bytes
}

const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_ATTACH: u32 = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Loads the program for `rules` and attaches it to a cgroup v2 directory, for as long as the cgroup lives.
pub fn attach_filter(directory: &OwnedFd, rules: &[DeviceRule]) -> io::Result<()> {
    let program = load(rules)?;
    let mut attributes = Vec::new();
    for value in [
        directory.as_raw_fd() as u32,
        program.as_raw_fd() as u32,
        BPF_CGROUP_DEVICE,
        BPF_F_ALLOW_MULTI,
    ] {
        attributes.extend_from_slice(&value.to_ne_bytes());
    }
    sys::bpf(BPF_PROG_ATTACH, &attributes).map(drop)
}

fn load(rules: &[DeviceRule]) -> io::Result<OwnedFd> {
    let program = assemble(rules);
    let code = encode(&program);
    let license = c"Apache-2.0";
    let mut attributes = Vec::new();
    attributes.extend_from_slice(&BPF_PROG_TYPE_CGROUP_DEVICE.to_ne_bytes());
    attributes.extend_from_slice(&(program.len() as u32).to_ne_bytes());
    attributes.extend_from_slice(&(code.as_ptr() as u64).to_ne_bytes());
    attributes.extend_from_slice(&(license.as_ptr() as u64).to_ne_bytes());
    attributes.resize(72, 0);
    sys::bpf(BPF_PROG_LOAD, &attributes).map(sys::own)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would, for the handful of instructions used here.
    fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> u64 {
        let context = [access << 16 | kind, major, minor];
        let mut r = [0u64; 11];
        let mut at = 0usize;
        for _ in 0..1000 {
            let step = program[at];
            let (dst, src) = (
                (step.registers & 15) as usize,
                (step.registers >> 4) as usize,
            );
            at += 1;
            match step.code {
                LOAD_WORD => r[dst] = u64::from(context[step.offset as usize / 4]),
                MOV_IMM => r[dst] = step.immediate as u64,
                MOV_REG => r[dst] = r[src],
                MOV_REG32 => r[dst] = u64::from(r[src] as u32),
                AND_IMM32 => r[dst] = u64::from(r[dst] as u32 & step.immediate as u32),
                RSH_IMM32 => r[dst] = u64::from(r[dst] as u32 >> step.immediate),
                JNE_IMM if r[dst] != step.immediate as u64 => at += step.offset as usize,
                JNE_REG if r[dst] != r[src] => at += step.offset as usize,
                JNE_IMM | JNE_REG => {}
                EXIT => return r[0],
                other => panic!("unknown instruction {other:#x}"),
            }
        }
        panic!("the program does not end")
    }

    #[test]
    fn the_program_allows_what_the_rules_say() {
        let program = assemble(&default_rules());
        let (mknod, read, write) = (1, 2, 4);
        assert_eq!(run(&program, 2, read | write, 1, 3), 1, "/dev/null");
        assert_eq!(run(&program, 2, mknod, 10, 200), 1, "any node may be made");
        assert_eq!(run(&program, 2, read, 10, 200), 0, "but not opened");
        assert_eq!(run(&program, 1, mknod, 8, 0), 1);
        assert_eq!(run(&program, 1, read | mknod, 8, 0), 0);
        assert_eq!(run(&program, 2, read | write, 136, 5), 1, "a terminal");
        assert_eq!(run(&assemble(&[]), 2, read, 1, 3), 0);
    }

    #[test]
    fn the_kernel_accepts_the_program() {
        load(&default_rules()).unwrap();
        load(&[]).unwrap();
    }

    #[test]
    fn rules_print_as_v1_writes_them() {
        let lines: Vec<_> = default_rules().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines[..4],
            ["c *:* m", "b *:* m", "c 136:* rwm", "c 1:3 rwm"]
        );
    }
}
