//! Security contexts of pods and containers, and what an operating system allows.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;

use super::visit_containers;
use crate::kinds::read::Field;
use crate::kinds::validate::paths::descending;

const ID_MAX: i64 = (1 << 31) - 1;

/// A container's security context.
pub(crate) fn container(context: &Field<'_>, host_users: bool, errors: &mut FieldErrors) {
    for name in ["runAsUser", "runAsGroup"] {
        context.field(name).within(errors, 0, ID_MAX);
    }
    let proc_mount = context.field("procMount");
    proc_mount.one_of_if_set(errors, &["Default", "Unmasked"]);
    if host_users && proc_mount.text() == "Unmasked" {
        proc_mount.invalid(errors, "`hostUsers` must be false to use `Unmasked`");
    }
    seccomp(&context.field("seccompProfile"), errors);
    if context.field("allowPrivilegeEscalation").opt_flag() == Some(false) {
        if context.field("privileged").flag() {
            context.invalid(errors, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        if context.at("capabilities.add").has("CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            context.invalid(errors, why);
        }
    }
    windows_options(&context.field("windowsOptions"), errors);
    app_armor(&context.field("appArmorProfile"), errors);
}

/// A pod's security context.
pub(crate) fn pod(spec: &Field<'_>, errors: &mut FieldErrors) {
    let context = spec.field("securityContext");
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        context.field(name).within(errors, 0, ID_MAX);
    }
    context.field("supplementalGroups").items().for_each(|group| group.within(errors, 0, ID_MAX));
    let shared = spec.field("shareProcessNamespace");
    if shared.flag() && spec.field("hostPID").flag() {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        context.field("shareProcessNamespace").invalid_value(errors, true, why);
    }
    sysctls(spec, &context.field("sysctls"), errors);
    context.field("fsGroupChangePolicy").one_of_if_set(errors, &["Always", "OnRootMismatch"]);
    seccomp(&context.field("seccompProfile"), errors);
    windows_options(&context.field("windowsOptions"), errors);
    app_armor(&context.field("appArmorProfile"), errors);
    context.field("supplementalGroupsPolicy").one_of_if_set(errors, &["Merge", "Strict"]);
    context.field("seLinuxChangePolicy").one_of_if_set(errors, &["Recursive"]);
}

fn sysctls(spec: &Field<'_>, list: &Field<'_>, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for sysctl in list.items() {
        let name = sysctl.field("name");
        if name.is_empty() {
            name.required(errors, "");
        } else if !is_sysctl(name.text()) {
            let part = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
            let why = format!("must have at most 253 characters and match regex ^({part}[\\./])*{part}$");
            name.invalid(errors, why);
        } else if seen.contains(&name.text()) {
            name.duplicate(errors);
        }
        seen.push(name.text());
        let dotted = name.text().replace('/', ".");
        if spec.field("hostNetwork").flag() && dotted.starts_with("net.") {
            name.invalid(errors, "may not be specified when 'hostNetwork' is true");
        }
        let ipc = ["kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue."];
        if spec.field("hostIPC").flag() && ipc.iter().any(|prefix| dotted.starts_with(prefix)) {
            name.invalid(errors, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && bytes.iter().all(|byte| edge(byte) || b"-_".contains(byte))
    };
    name.len() <= 253 && name.split(['.', '/']).all(part)
}

fn seccomp(profile: &Field<'_>, errors: &mut FieldErrors) {
    if !profile.is_set() {
        return;
    }
    let (kind, local) = (profile.field("type"), profile.field("localhostProfile"));
    match kind.text() {
        "" => kind.required(errors, "type is required when seccompProfile is set"),
        _ => kind.one_of_if_set(errors, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
    match (kind.text() == "Localhost", local.is_set()) {
        (true, false) => local.required(errors, "must be set when seccomp type is Localhost"),
        (true, true) => descending(&local, errors),
        (false, true) => {
            local.invalid_value(errors, profile.raw(), "can only be set when seccomp type is Localhost");
        }
        (false, false) => {}
    }
}

fn app_armor(profile: &Field<'_>, errors: &mut FieldErrors) {
    if !profile.is_set() {
        return;
    }
    let (kind, local) = (profile.field("type"), profile.field("localhostProfile"));
    match kind.text() {
        "Localhost" => {
            let trimmed = local.text().trim();
            if trimmed != local.text() {
                local.invalid(errors, "must not be padded with whitespace");
            } else if trimmed.is_empty() {
                local.required(errors, "must be set when AppArmor type is Localhost");
            }
            if local.text().len() > 4095 {
                local.too_long(errors, 4095);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if local.is_set() {
                local.invalid(errors, "can only be set when AppArmor type is Localhost");
            }
        }
        "" => kind.required(errors, "type is required when appArmorProfile is set"),
        _ => kind.unsupported(errors, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
}

fn windows_options(options: &Field<'_>, errors: &mut FieldErrors) {
    let name = options.field("gmsaCredentialSpecName");
    if name.is_set() {
        name.check(errors, names::dns1123_subdomain);
    }
    let spec = options.field("gmsaCredentialSpec");
    if spec.is_set() && spec.text().is_empty() {
        spec.invalid(errors, "gmsaCredentialSpec cannot be an empty string");
    } else if spec.text().len() > 64 * 1024 {
        spec.invalid(errors, "gmsaCredentialSpec size must be under 64 KiB");
    }
    let user = options.field("runAsUserName");
    if user.is_set()
        && let Some(why) = bad_windows_user(user.text())
    {
        user.invalid(errors, why);
    }
}

fn bad_windows_user(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("runAsUserName cannot be an empty string");
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return Some("runAsUserName cannot contain control characters");
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => ("", user),
        [domain, user] => (domain, user),
        _ => return Some("runAsUserName cannot contain more than one backslash"),
    };
    if domain.len() >= 256 {
        return Some("runAsUserName's Domain length must be under 256 characters");
    }
    if user.is_empty() {
        return Some("runAsUserName's User cannot be empty");
    }
    if user.len() > 104 {
        return Some("runAsUserName's User length must not be longer than 104 characters");
    }
    if user.chars().all(|c| c == '.' || c == ' ') {
        return Some("runAsUserName's User cannot contain only periods or spaces");
    }
    let refused = "\"/\\:;|=,+*?<>@[]";
    user.contains(|c| refused.contains(c))
        .then_some("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
}

/// What only some operating systems know.
pub(crate) fn operating_system(spec: &Field<'_>, errors: &mut FieldErrors) {
    let os = spec.field("os");
    if !os.is_set() {
        return;
    }
    match os.field("name").text() {
        "" => os.field("name").required(errors, ""),
        "linux" => {
            let forbid = |context: &Field<'_>, errors: &mut FieldErrors| {
                let options = context.field("windowsOptions");
                if options.is_set() {
                    options.forbidden(errors, "windows options cannot be set for a linux pod");
                }
            };
            forbid(&spec.field("securityContext"), errors);
            visit_containers(spec, |container| forbid(&container.field("securityContext"), errors));
        }
        "windows" => windows(spec, errors),
        other => errors.push(FieldError::not_supported_in_order(&os.path(), other, &["linux", "windows"])),
    }
}

const POD_ONLY_ON_LINUX: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
const CONTAINER_ONLY_ON_LINUX: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

fn windows(spec: &Field<'_>, errors: &mut FieldErrors) {
    let why = "cannot be set for a windows pod";
    let mut forbid = |field: Field<'_>| {
        if field.is_set() {
            field.forbidden(errors, why);
        }
    };
    for name in POD_ONLY_ON_LINUX {
        forbid(spec.field("securityContext").field(name));
    }
    for name in ["hostUsers", "shareProcessNamespace"] {
        forbid(spec.field(name));
    }
    for name in ["hostPID", "hostIPC"].into_iter().filter(|name| spec.field(name).flag()) {
        forbid(spec.field(name));
    }
    visit_containers(spec, |container| {
        CONTAINER_ONLY_ON_LINUX.iter().for_each(|name| forbid(container.field("securityContext").field(name)));
    });
}

/// Windows containers that run on the host itself: all of a pod's, or none.
pub(crate) fn host_process(spec: &Field<'_>, errors: &mut FieldErrors) {
    let pod = spec.at("securityContext.windowsOptions.hostProcess").opt_flag();
    let (mut all, mut on_host) = (0, 0);
    visit_containers(spec, |container| {
        let field = container.at("securityContext.windowsOptions.hostProcess");
        let own = field.opt_flag();
        all += 1;
        on_host += i32::from(own.or(pod) == Some(true));
        if let (Some(pod), Some(own)) = (pod, own)
            && pod != own
        {
            let why = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            field.invalid(errors, why);
        }
    });
    if on_host == 0 {
        return;
    }
    if on_host != all {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        spec.invalid_value(errors, "", why);
    }
    if !spec.field("hostNetwork").flag() {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        spec.field("hostNetwork").invalid_value(errors, false, why);
    }
}

/// What a user namespace of its own forbids a pod.
pub(crate) fn user_namespace(spec: &Field<'_>, errors: &mut FieldErrors) {
    if spec.field("hostUsers").opt_flag() != Some(false) {
        return;
    }
    let why = "when `hostUsers` is false";
    for (name, path) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.field(name).flag() {
            spec.field(path).forbidden(errors, why);
        }
    }
    visit_containers(spec, |container| {
        if !container.field("volumeDevices").is_empty() {
            container.field("volumeDevices").forbidden(errors, why);
        }
    });
}
