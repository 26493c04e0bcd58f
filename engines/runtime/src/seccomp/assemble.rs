//! From a profile to classic BPF: architecture check, then ascending ranges of numbers with the same answer.
//! Plain answers cost two instructions per range; the kernel caches them, so the order does not matter.

use libc::sock_filter;

use super::{Action, Comparison, Condition, Profile, Rule};

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// From here on numbers belong to x32, which shares x86_64's architecture word.
const FOREIGN: u32 = 0x4000_0000;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

fn step(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Marks a jump to the next rule until its distance is known.
const FAIL: u8 = u8::MAX;

/// A stretch of numbers, from its first to the next stretch's first, and the code that answers it.
struct Stretch {
    first: u32,
    body: Vec<sock_filter>,
}

/// The filter's program.
pub fn assemble(profile: &Profile) -> Vec<sock_filter> {
    let mut program = vec![
        step(LOAD, 4, 0, 0),
        step(JUMP_EQUAL, NATIVE, 1, 0),
        step(RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        step(LOAD, 0, 0, 0),
    ];
    let stretches = stretches(profile);
    for (index, stretch) in stretches.iter().enumerate() {
        if let Some(next) = stretches.get(index + 1) {
            match u8::try_from(stretch.body.len()) {
                Ok(length) => program.push(step(JUMP_GREATER_OR_EQUAL, next.first, length, 0)),
                Err(_) => {
                    program.push(step(JUMP_GREATER_OR_EQUAL, next.first, 0, 1));
                    program.push(step(JUMP, stretch.body.len() as u32, 0, 0));
                }
            }
        }
        program.extend_from_slice(&stretch.body);
    }
    program
}

fn stretches(profile: &Profile) -> Vec<Stretch> {
    let unknown = match profile.default {
        Action::Allow | Action::Log | Action::Trace(_) => profile.default,
        // Programs probe new system calls and fall back on ENOSYS only.
        _ => Action::Errno(libc::ENOSYS as u16),
    };
    let mut list: Vec<Stretch> = Vec::new();
    let mut push = |first: u32, body: Vec<sock_filter>| match list.last() {
        Some(last) if same(&last.body, &body) => {}
        _ => list.push(Stretch { first, body }),
    };
    let plain = |action: Action| vec![step(RETURN, action.code(), 0, 0)];
    let mut next = 0;
    for (number, rules) in &profile.rules {
        if *number > next {
            push(next, plain(profile.default));
        }
        push(*number, body(rules, profile.default));
        next = number + 1;
    }
    push(next, plain(unknown));
    push(FOREIGN, plain(Action::Errno(libc::ENOSYS as u16)));
    list
}

fn same(left: &[sock_filter], right: &[sock_filter]) -> bool {
    left.len() == 1 && right.len() == 1 && left[0].k == right[0].k
}

fn body(rules: &[Rule], default: Action) -> Vec<sock_filter> {
    let mut code = Vec::new();
    for rule in rules {
        let mut block = Vec::new();
        for condition in &rule.conditions {
            check(condition, &mut block);
        }
        block.push(step(RETURN, rule.action.code(), 0, 0));
        let length = block.len();
        for (index, step) in block.iter_mut().enumerate() {
            let distance = (length - index - 1) as u8;
            for jump in [&mut step.jt, &mut step.jf] {
                if *jump == FAIL {
                    *jump = distance;
                }
            }
        }
        code.append(&mut block);
        if rule.conditions.is_empty() {
            return code;
        }
    }
    code.push(step(RETURN, default.code(), 0, 0));
    code
}

/// Code that goes on when the condition holds and jumps to FAIL otherwise.
fn check(condition: &Condition, block: &mut Vec<sock_filter>) {
    let low_at = 16 + 8 * u32::from(condition.argument);
    let (low, high) = (condition.value as u32, (condition.value >> 32) as u32);
    let load_low = step(LOAD, low_at, 0, 0);
    block.push(step(LOAD, low_at + 4, 0, 0));
    match condition.comparison {
        Comparison::Equal => {
            block.extend([
                step(JUMP_EQUAL, high, 0, FAIL),
                load_low,
                step(JUMP_EQUAL, low, 0, FAIL),
            ]);
        }
        Comparison::NotEqual => {
            block.extend([
                step(JUMP_EQUAL, high, 0, 2),
                load_low,
                step(JUMP_EQUAL, low, FAIL, 0),
            ]);
        }
        Comparison::MaskedEqual(mask) => block.extend([
            step(AND, (mask >> 32) as u32, 0, 0),
            step(JUMP_EQUAL, high, 0, FAIL),
            load_low,
            step(AND, mask as u32, 0, 0),
            step(JUMP_EQUAL, low, 0, FAIL),
        ]),
        Comparison::Greater | Comparison::GreaterOrEqual => {
            let last = match condition.comparison {
                Comparison::Greater => JUMP_GREATER,
                _ => JUMP_GREATER_OR_EQUAL,
            };
            block.extend([
                step(JUMP_GREATER, high, 3, 0),
                step(JUMP_EQUAL, high, 0, FAIL),
                load_low,
                step(last, low, 0, FAIL),
            ]);
        }
        Comparison::Less | Comparison::LessOrEqual => {
            let last = match condition.comparison {
                Comparison::Less => JUMP_GREATER_OR_EQUAL,
                _ => JUMP_GREATER,
            };
            block.extend([
                step(JUMP_GREATER, high, FAIL, 0),
                step(JUMP_EQUAL, high, 0, 2),
                load_low,
                step(last, low, FAIL, 0),
            ]);
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Runs a filter as the kernel would.
    pub fn run(program: &[sock_filter], number: u32, arguments: [u64; 6]) -> u32 {
        let mut words = vec![number, NATIVE, 0, 0];
        for argument in arguments {
            words.extend([argument as u32, (argument >> 32) as u32]);
        }
        let (mut at, mut a) = (0usize, 0u32);
        for _ in 0..10_000 {
            let step = program[at];
            at += 1;
            let mut branch = |yes: bool| at += usize::from(if yes { step.jt } else { step.jf });
            match step.code {
                LOAD => a = words[step.k as usize / 4],
                AND => a &= step.k,
                JUMP => at += step.k as usize,
                JUMP_EQUAL => branch(a == step.k),
                JUMP_GREATER => branch(a > step.k),
                JUMP_GREATER_OR_EQUAL => branch(a >= step.k),
                RETURN => return step.k,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
        panic!("the filter does not end")
    }

    #[test]
    fn every_comparison_covers_both_halves() {
        let wide = 0x1_0000_0002u64;
        let table: [(Comparison, [bool; 5]); 7] = [
            (Comparison::Equal, [false, false, true, false, false]),
            (Comparison::NotEqual, [true, true, false, true, true]),
            (Comparison::Less, [true, true, false, false, false]),
            (Comparison::LessOrEqual, [true, true, true, false, false]),
            (Comparison::Greater, [false, false, false, true, true]),
            (Comparison::GreaterOrEqual, [false, false, true, true, true]),
            (
                Comparison::MaskedEqual(u64::MAX),
                [false, false, true, false, false],
            ),
        ];
        for (comparison, expected) in table {
            let mut profile = Profile {
                default: Action::KillProcess,
                rules: BTreeMap::new(),
            };
            let condition = Condition {
                argument: 1,
                comparison,
                value: wide,
            };
            profile.add(7, Action::Allow, vec![condition]);
            let program = assemble(&profile);
            let values = [2, wide - 1, wide, wide + 1, 0x2_0000_0000];
            for (value, allowed) in values.into_iter().zip(expected) {
                let answer = run(&program, 7, [0, value, 0, 0, 0, 0]);
                assert_eq!(
                    answer == libc::SECCOMP_RET_ALLOW,
                    allowed,
                    "{comparison:?} {value:#x}"
                );
            }
        }
    }

    #[test]
    fn ranges_meet_without_gaps() {
        let mut profile = Profile {
            default: Action::Errno(1),
            rules: BTreeMap::new(),
        };
        for number in [3, 4, 5, 9] {
            profile.add(number, Action::Allow, vec![]);
        }
        let program = assemble(&profile);
        for number in 0..10 {
            let allowed = run(&program, number, [0; 6]) == libc::SECCOMP_RET_ALLOW;
            assert_eq!(allowed, [3, 4, 5, 9].contains(&number), "{number}");
        }
        let missing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        assert_eq!(run(&program, 10, [0; 6]), missing);
        assert_eq!(run(&program, FOREIGN + 3, [0; 6]), missing);
    }

    #[test]
    fn a_body_longer_than_a_short_jump_is_reached_and_passed() {
        let mut profile = Profile {
            default: Action::Errno(1),
            rules: BTreeMap::new(),
        };
        for value in 0..100 {
            let condition = Condition {
                argument: 0,
                comparison: Comparison::Equal,
                value,
            };
            profile.add(5, Action::Allow, vec![condition]);
        }
        profile.add(6, Action::Allow, vec![]);
        let program = assemble(&profile);
        assert_eq!(
            run(&program, 5, [99, 0, 0, 0, 0, 0]),
            libc::SECCOMP_RET_ALLOW
        );
        assert_eq!(
            run(&program, 5, [100, 0, 0, 0, 0, 0]),
            libc::SECCOMP_RET_ERRNO | 1
        );
        assert_eq!(run(&program, 6, [0; 6]), libc::SECCOMP_RET_ALLOW);
    }
}
