//! Options of containers on Windows: names of users and credentials, and containers that are processes of the host.

use crate::checks::{self, Errors};
use crate::error::FieldError;
use corten_api::core::v1::{Container, PodSpec, WindowsSecurityContextOptions};
use corten_core::Path;

const CREDENTIAL_BYTES_MAX: usize = 64 << 10;
const DOMAIN_MAX: usize = 256;
const USER_MAX: usize = 104;

/// The options of a pod or a container.
pub(super) fn options(
    errors: &mut Errors,
    path: &Path,
    options: Option<&WindowsSecurityContextOptions>,
) {
    let Some(options) = options else { return };
    if let Some(name) = &options.gmsa_credential_spec_name {
        checks::dns_subdomain(errors, &path.f("gmsaCredentialSpecName"), name);
    }
    if let Some(spec) = &options.gmsa_credential_spec {
        let at = path.f("gmsaCredentialSpec");
        if spec.is_empty() {
            let text = "gmsaCredentialSpec cannot be an empty string";
            errors.push(FieldError::invalid(at, spec, text));
        } else if spec.len() > CREDENTIAL_BYTES_MAX {
            let text = "gmsaCredentialSpec size must be under 64 KiB";
            errors.push(FieldError::invalid(at, spec, text));
        }
    }
    if let Some(name) = &options.run_as_user_name {
        let at = path.f("runAsUserName");
        let wrong = user_name(name).into_iter();
        errors.extend(wrong.map(|text| FieldError::invalid(&at, name, text)));
    }
}

/// `DOMAIN\user` or `user`.
fn user_name(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string".to_owned()];
    }
    if name.chars().any(char::is_control) {
        return vec!["runAsUserName cannot contain control characters".to_owned()];
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash".to_owned()],
    };
    let mut wrong = Vec::new();
    if domain.is_some_and(|d| d.len() >= DOMAIN_MAX) {
        wrong.push(format!(
            "runAsUserName's Domain length must be under {DOMAIN_MAX} characters"
        ));
    }
    if domain.is_some_and(|d| !is_net_bios(d) && !is_dns(d)) {
        wrong
            .push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned());
    }
    if user.is_empty() {
        wrong.push("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > USER_MAX {
        wrong.push(format!(
            "runAsUserName's User length must not be longer than {USER_MAX} characters"
        ));
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        wrong.push("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.chars().any(|c| "\"/\\:;|=,+*?<>@[]".contains(c)) {
        wrong.push(
            "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"
                .to_owned(),
        );
    }
    wrong
}

fn is_net_bios(domain: &str) -> bool {
    (1..=15).contains(&domain.chars().count())
        && !domain.chars().any(|c| "\\/:*?\"<>|.".contains(c))
}

fn is_dns(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
    })
}

/// All of a pod's containers are processes of the host, or none.
pub(super) fn host_processes(errors: &mut Errors, path: &Path, spec: &PodSpec) {
    let context = spec.security_context.as_ref();
    let of_pod = context
        .and_then(|c| c.windows_options.as_ref())
        .and_then(|o| o.host_process);
    let own = |c: &Container| {
        let context = c.security_context.as_ref()?;
        context.windows_options.as_ref()?.host_process
    };
    let (mut all, mut on_host) = (0, 0);
    for (key, list) in [
        ("initContainers", &spec.init_containers),
        ("containers", &spec.containers),
    ] {
        let list_path = path.f(key);
        for (i, container) in list.iter().enumerate() {
            all += 1;
            let own = own(container);
            if let (Some(of_pod), Some(own)) = (of_pod, own)
                && of_pod != own
            {
                let at = list_path
                    .i(i)
                    .f("securityContext")
                    .f("windowsOptions")
                    .to_string();
                let text = format!(
                    "pod hostProcess value must be identical if both are specified, was {of_pod}"
                );
                errors.push(FieldError::invalid(format!("{at}.hostProcess"), own, text));
            }
            on_host += usize::from(own.or(of_pod) == Some(true));
        }
    }
    if on_host == 0 {
        return;
    }
    if on_host != all {
        let text = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(path, "", text));
    }
    if !spec.host_network {
        let text = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(path.f("hostNetwork"), false, text));
    }
}

#[cfg(test)]
mod tests {
    use super::user_name;

    #[test]
    fn users_may_have_a_domain() {
        for good in ["user", "CORP\\user", "corp.example.com\\some.user"] {
            assert_eq!(user_name(good), Vec::<String>::new(), "{good}");
        }
        for bad in ["", "a\\b\\c", "\\user", "CORP\\", "..", "a:b", "a\u{7}"] {
            assert!(!user_name(bad).is_empty(), "{bad}");
        }
    }
}
