//! The index of Python packages that pip is configured to use on this machine, so that a company's mirror, its certificate and its proxy
//! apply here too.
//!
//! Like pip (its documentation, "Configuration"): variables override `PIP_CONFIG_FILE`, which overrides the file of the virtual environment,
//! then the user's, then the system's; the section `download` overrides `global`.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use crate::protocol::RegistryAccess;

/// pip's own default.
const DEFAULT_INDEX: &str = "https://pypi.org/simple";

/// Variables of the environment.
type Variables = BTreeMap<String, String>;

/// What pip would use; none if it is told to use no index. `index` overrides its index.
pub fn registry(index: Option<&str>) -> Option<RegistryAccess> {
    from(&env::vars().collect(), Path::new("/"), index)
}

/// `root`: of the file system, for tests.
fn from(variables: &Variables, root: &Path, index: Option<&str>) -> Option<RegistryAccess> {
    let mut settings = Settings::default();
    for path in files(variables, root) {
        // A file that is not there or not readable has no settings.
        settings.read(&fs::read_to_string(path).unwrap_or_default());
    }
    let find = |name: &str| {
        let variable = format!("PIP_{}", name.to_uppercase().replace('-', "_"));
        let of_environment = variables.get(&variable).filter(|value| !value.is_empty());
        of_environment.cloned().or_else(|| settings.find(name))
    };
    let is_on = |value: String| {
        matches!(
            value.to_lowercase().as_str(),
            "1" | "true" | "yes" | "on" | "y" | "t"
        )
    };
    if index.is_none() && find("no-index").is_some_and(is_on) {
        return None;
    }
    Some(RegistryAccess {
        index: index
            .map(str::to_owned)
            .or_else(|| find("index-url"))
            .unwrap_or(DEFAULT_INDEX.to_owned()),
        certificates: find("cert").map(PathBuf::from),
        proxy: find("proxy"),
    })
}

/// The files that pip would read, those that override others later.
fn files(variables: &Variables, root: &Path) -> Vec<PathBuf> {
    let folder = |name: &str| {
        variables
            .get(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let named = folder("PIP_CONFIG_FILE");
    if named.as_deref() == Some(Path::new("/dev/null")) {
        return Vec::new();
    }
    let shared = variables.get("XDG_CONFIG_DIRS").filter(|dirs| !dirs.is_empty());
    let shared = shared.map_or("/etc/xdg", String::as_str).split(':');
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let mut files: Vec<PathBuf> = shared.map(|folder| below(folder).join("pip/pip.conf")).collect();
    files.push(below("/etc/pip.conf"));
    if !named.as_ref().is_some_and(|path| path.exists()) {
        let home = folder("HOME");
        files.extend(home.as_ref().map(|home| home.join(".pip/pip.conf")));
        let own = folder("XDG_CONFIG_HOME").or_else(|| Some(home?.join(".config")));
        files.extend(own.map(|own| own.join("pip/pip.conf")));
    }
    files.extend(folder("VIRTUAL_ENV").map(|environment| environment.join("pip.conf")));
    files.extend(named);
    files
}

/// Settings of pip's files, by section and name.
#[derive(Default)]
struct Settings(BTreeMap<(String, String), String>);

impl Settings {
    /// Python's `configparser`: sections, `name = value` or `name: value`, comments, values that continue on indented lines.
    fn read(&mut self, text: &str) {
        let mut section = String::new();
        let mut last: Option<(String, String)> = None;
        for line in text.lines() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with([' ', '\t'])
                && let Some(key) = &last
            {
                let value = self.0.entry(key.clone()).or_default();
                *value = format!("{value}\n{trimmed}").trim().to_owned();
                continue;
            }
            if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name.trim().to_owned();
                last = None;
                continue;
            }
            let Some((name, value)) = trimmed.split_once(['=', ':']) else {
                continue;
            };
            let key = (section.clone(), name.trim().to_lowercase().replace('_', "-"));
            self.0.insert(key.clone(), value.trim().to_owned());
            last = Some(key);
        }
    }

    fn find(&self, name: &str) -> Option<String> {
        let in_section = |section: &str| self.0.get(&(section.to_owned(), name.to_owned()));
        in_section("download")
            .or_else(|| in_section("global"))
            .filter(|value| !value.is_empty())
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn index(variables: &Variables, root: &Path) -> String {
        from(variables, root, None).unwrap().index
    }

    #[test]
    fn files_and_variables_override_each_other_as_in_pip() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let mut variables = Variables::new();
        assert_eq!(index(&variables, root), "https://pypi.org/simple");
        write(
            root,
            "etc/xdg/pip/pip.conf",
            "[global]\nindex-url = https://shared.example/simple\n",
        );
        assert_eq!(index(&variables, root), "https://shared.example/simple");
        write(
            root,
            "etc/pip.conf",
            "# ours\n[install]\nindex_url=https://other.example\n[global]\nindex_url: https://system.example/simple\nproxy =\n  http://proxy.example:3128\n",
        );
        assert_eq!(index(&variables, root), "https://system.example/simple");
        let access = from(&variables, root, None).unwrap();
        assert_eq!(access.proxy.as_deref(), Some("http://proxy.example:3128"));
        variables.insert("HOME".into(), root.join("home").display().to_string());
        write(
            root,
            "home/.config/pip/pip.conf",
            "[download]\nindex-url = https://user.example/simple\n",
        );
        assert_eq!(index(&variables, root), "https://user.example/simple");
        let named = root.join("named.conf");
        variables.insert("PIP_CONFIG_FILE".into(), named.display().to_string());
        write(root, "named.conf", "[global]\ncert = /ca.pem\n");
        let access = from(&variables, root, None).unwrap();
        assert_eq!(
            access.index, "https://system.example/simple",
            "the user's file is not read then"
        );
        assert_eq!(access.certificates, Some("/ca.pem".into()));
        variables.insert("PIP_INDEX_URL".into(), "https://variable.example/simple".into());
        assert_eq!(index(&variables, root), "https://variable.example/simple");
        let own = from(&variables, root, Some("https://flag.example")).unwrap();
        assert_eq!(own.index, "https://flag.example");
    }

    #[test]
    fn nothing_is_read_where_pip_reads_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(
            root,
            "etc/pip.conf",
            "[global]\nno-index = true\nindex-url = https://system.example\n",
        );
        let mut variables = Variables::new();
        assert!(from(&variables, root, None).is_none());
        assert!(from(&variables, root, Some("https://flag.example")).is_some());
        variables.insert("PIP_CONFIG_FILE".into(), "/dev/null".into());
        assert_eq!(index(&variables, root), DEFAULT_INDEX);
    }
}
