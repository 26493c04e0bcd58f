//! Localhost profiles: the OCI runtime specification's JSON form. System calls that this node does not know are
//! skipped; what would weaken a profile if ignored (listeners, Docker's includes and excludes) is refused.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Action, Comparison, Condition, Profile, system_calls};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    syscalls: Vec<Entry>,
    #[serde(default)]
    listener_path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    name: String,
    action: String,
    errno_ret: Option<u16>,
    args: Option<Vec<Argument>>,
    includes: Option<BTreeMap<String, serde_json::Value>>,
    excludes: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// Reads a profile; the error says what is wrong with it.
pub fn parse(text: &str) -> Result<Profile, String> {
    let document: Document =
        serde_json::from_str(text).map_err(|error| format!("not a seccomp profile: {error}"))?;
    if !document.listener_path.is_empty() {
        return Err("listenerPath is not supported".to_owned());
    }
    let default = action(&document.default_action, document.default_errno_ret)?;
    let mut profile = Profile {
        default,
        rules: BTreeMap::new(),
    };
    let numbers: BTreeMap<&str, u32> = system_calls()
        .map(|(number, name)| (name, number))
        .collect();
    for entry in &document.syscalls {
        let conditional =
            |map: &Option<BTreeMap<_, _>>| map.as_ref().is_some_and(|m| !m.is_empty());
        if conditional(&entry.includes) || conditional(&entry.excludes) {
            return Err(
                "includes and excludes are not supported: give the resolved profile".to_owned(),
            );
        }
        let action = action(&entry.action, entry.errno_ret)?;
        let alternatives = conditions(entry.args.as_deref().unwrap_or_default())?;
        for name in entry
            .names
            .iter()
            .chain((!entry.name.is_empty()).then_some(&entry.name))
        {
            let Some(number) = numbers.get(name.as_str()) else {
                continue;
            };
            for conditions in &alternatives {
                profile.add(*number, action, conditions.clone());
            }
        }
    }
    Ok(profile)
}

/// Conditions on different arguments hold together; several on one argument are alternatives.
fn conditions(arguments: &[Argument]) -> Result<Vec<Vec<Condition>>, String> {
    let list = arguments
        .iter()
        .map(condition)
        .collect::<Result<Vec<_>, _>>()?;
    let mut seen = [false; 6];
    let repeated = list
        .iter()
        .any(|c| std::mem::replace(&mut seen[usize::from(c.argument)], true));
    Ok(if repeated {
        list.into_iter().map(|c| vec![c]).collect()
    } else {
        vec![list]
    })
}

fn condition(argument: &Argument) -> Result<Condition, String> {
    if argument.index > 5 {
        return Err(format!("argument index {} is above 5", argument.index));
    }
    let (comparison, value) = match argument.op.as_str() {
        "SCMP_CMP_EQ" => (Comparison::Equal, argument.value),
        "SCMP_CMP_NE" => (Comparison::NotEqual, argument.value),
        "SCMP_CMP_LT" => (Comparison::Less, argument.value),
        "SCMP_CMP_LE" => (Comparison::LessOrEqual, argument.value),
        "SCMP_CMP_GT" => (Comparison::Greater, argument.value),
        "SCMP_CMP_GE" => (Comparison::GreaterOrEqual, argument.value),
        "SCMP_CMP_MASKED_EQ" => (Comparison::MaskedEqual(argument.value), argument.value_two),
        other => return Err(format!("unknown comparison {other}")),
    };
    Ok(Condition {
        argument: argument.index,
        comparison,
        value,
    })
}

fn action(name: &str, errno: Option<u16>) -> Result<Action, String> {
    let errno = errno.unwrap_or(libc::EPERM as u16);
    match name {
        "SCMP_ACT_ALLOW" => Ok(Action::Allow),
        "SCMP_ACT_ERRNO" => Ok(Action::Errno(errno)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(Action::KillThread),
        "SCMP_ACT_KILL_PROCESS" => Ok(Action::KillProcess),
        "SCMP_ACT_TRAP" => Ok(Action::Trap),
        "SCMP_ACT_LOG" => Ok(Action::Log),
        "SCMP_ACT_TRACE" => Ok(Action::Trace(errno)),
        other => Err(format!("action {other} is not supported")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::assemble::{assemble, tests::run};
    use super::*;

    #[test]
    fn a_profile_is_read() {
        let profile = parse(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
                {"names": ["mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
                {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [
                    {"index": 0, "value": 38, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]}
            ]}"#,
        )
        .unwrap();
        let program = assemble(&profile);
        let ask = |name: &str, first| {
            let number = system_calls().find(|(_, call)| *call == name).unwrap().0;
            run(&program, number, [first, 0, 0, 0, 0, 0])
        };
        assert_eq!(ask("mkdirat", 0), libc::SECCOMP_RET_ERRNO | 13);
        assert_eq!(ask("socket", 38), libc::SECCOMP_RET_ERRNO | 1);
        assert_eq!(ask("socket", 40), libc::SECCOMP_RET_ERRNO | 1);
        assert_eq!(ask("socket", 2), libc::SECCOMP_RET_ALLOW);
        assert_eq!(ask("read", 0), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for (text, expected) in [
            ("[]", "not a seccomp profile"),
            (
                r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#,
                "SCMP_ACT_NOTIFY is not supported",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ALLOW",
                    "includes": {"caps": ["CAP_BPF"]}}]}"#,
                "includes and excludes",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
