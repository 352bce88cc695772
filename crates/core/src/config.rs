//! `nova.conf` by oslo.config's rules: several files and directories, later values win, `$name` refers to another
//! option, and `OS_<GROUP>__<OPTION>` in the environment wins over files.
//!
//! Options are read by name where they are used, with Nova's section and option names. What the files hold and nobody
//! asked for is reported once by [`Config::warn_unread`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use regex::Regex;

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read the configuration file {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not of oslo.config's form.
    #[error("cannot parse the configuration file {}: {reason}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A value does not fit its option.
    #[error("[{group}] {name}: {value:?} is not {expected}")]
    Value {
        /// Section.
        group: String,
        /// Option.
        name: String,
        /// What was given.
        value: String,
        /// What would fit.
        expected: String,
    },
}

/// Says that options have no effect.
pub fn warn_unknown(options: &[(&str, &str)]) {
    if !options.is_empty() {
        let options: Vec<_> = options.iter().map(|(group, name)| format!("[{group}] {name}")).collect();
        let options = options.join(", ");
        tracing::warn!(options, "options in the configuration are not known and have no effect");
    }
}

type Values = BTreeMap<(String, String), Vec<String>>;

/// All options of a process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Config {
    values: Arc<Values>,
    read: Arc<Mutex<BTreeSet<(String, String)>>>,
    /// Where files that options name are looked for, in this order.
    places: Arc<Vec<PathBuf>>,
}

impl Config {
    /// No file: every option has its default.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads `files` in order, then every `*.conf` of `dirs` in the order of their names, then the environment.
    pub fn load(files: &[PathBuf], dirs: &[PathBuf]) -> Result<Self, ConfigError> {
        let mut all = files.to_vec();
        for dir in dirs {
            all.extend(conf_files(dir)?);
        }
        let mut values = Values::new();
        for path in &all {
            let text =
                std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
            merge(&mut values, &text).map_err(|reason| ConfigError::Parse { path: path.clone(), reason })?;
        }
        merge_environment(&mut values, std::env::vars());
        let beside = files.iter().filter_map(|file| std::path::absolute(file).ok()?.parent().map(Path::to_owned));
        let places = beside.chain(dirs.iter().cloned()).collect();
        Ok(Self { values: Arc::new(values), read: Arc::default(), places: Arc::new(places) })
    }

    /// The same, with one more directory to find files in.
    pub fn with_place(mut self, dir: &Path) -> Self {
        Arc::make_mut(&mut self.places).push(dir.to_owned());
        self
    }

    /// The same, with a value for an option that is not set.
    pub fn with_default(mut self, group: &str, name: &str, value: &str) -> Self {
        let option = Arc::make_mut(&mut self.values).entry((group.to_owned(), name.to_owned()));
        option.or_insert_with(|| vec![value.to_owned()]);
        self
    }

    /// A file or a directory that an option names, if it is there: beside the configuration files, in the configuration
    /// directories, or where [`Config::with_place`] says, unless the name is absolute.
    pub fn find_file(&self, name: &str) -> Option<PathBuf> {
        let name = Path::new(name);
        if name.is_absolute() {
            return name.exists().then(|| name.to_owned());
        }
        self.places.iter().map(|place| place.join(name)).find(|path| path.exists())
    }

    /// From the text of one file; for tests and for defaults made by a program.
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        let mut values = Values::new();
        merge(&mut values, text).map_err(|reason| ConfigError::Parse { path: PathBuf::from("(text)"), reason })?;
        Ok(Self { values: Arc::new(values), ..Self::default() })
    }

    /// The last value of an option, `$name` resolved.
    pub fn get(&self, group: &str, name: &str) -> Option<String> {
        self.get_all(group, name).pop()
    }

    /// Every value of an option that may be given more than once (a MultiOpt): those of all files, in their order.
    pub fn get_all(&self, group: &str, name: &str) -> Vec<String> {
        let key = (group.to_owned(), name.to_owned());
        let values = self.values.get(&key).cloned().unwrap_or_default();
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        values.iter().map(|value| self.substitute(group, value, 0)).collect()
    }

    /// The names of the options that are set in a section.
    pub fn names<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a str> {
        self.values.keys().filter(move |(section, _)| section == group).map(|(_, name)| name.as_str())
    }

    /// A number or another parsed value; `default` where the option is not set.
    pub fn parse<T: FromStr>(&self, group: &str, name: &str, default: T) -> Result<T, ConfigError> {
        let Some(value) = self.get(group, name) else {
            return Ok(default);
        };
        value.trim().parse().map_err(|_| ConfigError::Value {
            group: group.to_owned(),
            name: name.to_owned(),
            value: value.clone(),
            expected: format!("a {}", std::any::type_name::<T>()),
        })
    }

    /// A boolean as oslo.config reads one: `true`, `1`, `on`, `yes` and their opposites, in any case.
    pub fn flag(&self, group: &str, name: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(value) = self.get(group, name) else {
            return Ok(default);
        };
        match value.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => Ok(true),
            "false" | "0" | "off" | "no" => Ok(false),
            _ => Err(ConfigError::Value {
                group: group.to_owned(),
                name: name.to_owned(),
                value,
                expected: "a boolean".to_owned(),
            }),
        }
    }

    /// A comma-separated list; `default` where the option is not set.
    pub fn list(&self, group: &str, name: &str, default: &[&str]) -> Vec<String> {
        match self.get(group, name) {
            None => default.iter().map(|item| (*item).to_owned()).collect(),
            Some(value) => {
                value.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
            }
        }
    }

    /// Says once which options stand in the files but mean nothing here.
    pub fn warn_unread(&self) {
        warn_unknown(&self.unread());
    }

    /// The options that are set and that nobody asked for so far: section and name.
    pub fn unread(&self) -> Vec<(&str, &str)> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let unread = self.values.keys().filter(|key| !read.contains(key));
        unread.map(|(group, name)| (group.as_str(), name.as_str())).collect()
    }

    fn substitute(&self, group: &str, value: &str, depth: u8) -> String {
        // Deeper than any sane configuration: a value that refers to itself stays as written.
        if depth > 10 || !value.contains('$') {
            return value.to_owned();
        }
        let mut out = String::with_capacity(value.len());
        let mut rest = value;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let (name, after) = reference(rest);
            match self.referred(group, name) {
                Some(found) => out.push_str(&self.substitute(group, &found, depth + 1)),
                None => out.push_str(&format!("${}", &rest[..rest.len() - after.len()])),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn referred(&self, group: &str, name: &str) -> Option<String> {
        let (group, name) = name.split_once('.').unwrap_or((group, name));
        let value = |group: &str| self.values.get(&(group.to_owned(), name.to_owned()));
        value(group).or_else(|| value("DEFAULT"))?.last().cloned()
    }
}

/// Splits `{group.name}rest` or `name rest` behind a dollar sign.
fn reference(text: &str) -> (&str, &str) {
    if let Some(inner) = text.strip_prefix('{')
        && let Some(end) = inner.find('}')
    {
        return (&inner[..end], &inner[end + 1..]);
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len());
    text.split_at(end)
}

fn conf_files(dir: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let read = |source| ConfigError::Read { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn merge(values: &mut Values, text: &str) -> Result<(), String> {
    let options = ini::ParseOption {
        enabled_escape: false,
        enabled_quote: false,
        enabled_indented_mutiline_value: true,
        ..Default::default()
    };
    let parsed = ini::Ini::load_from_str_opt(text, options).map_err(|error| error.to_string())?;
    for (section, properties) in &parsed {
        for (name, value) in properties {
            let key = (section.unwrap_or("DEFAULT").to_owned(), name.trim().to_owned());
            values.entry(key).or_default().push(unquoted(value).to_owned());
        }
    }
    Ok(())
}

fn unquoted(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    value
}

fn merge_environment(values: &mut Values, environment: impl Iterator<Item = (String, String)>) {
    let pattern = Regex::new("^OS_([A-Z0-9_]+?)__([A-Z0-9_]+)$").expect("a constant that parses");
    for (name, value) in environment {
        if let Some(found) = pattern.captures(&name) {
            let group = match &found[1] {
                "DEFAULT" => "DEFAULT".to_owned(),
                group => group.to_ascii_lowercase(),
            };
            values.insert((group, found[2].to_ascii_lowercase()), vec![value]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_file_wins_and_a_repeated_option_keeps_the_values_of_all_files() {
        let mut values = Values::new();
        merge(&mut values, "[DEFAULT]\nhost = a\nx = 1\nx = 2\n").unwrap();
        merge(&mut values, "[DEFAULT]\nhost = b\nx = 3\n").unwrap();
        let config = Config { values: Arc::new(values), ..Config::default() };
        assert_eq!(config.get("DEFAULT", "host").as_deref(), Some("b"));
        assert_eq!(config.get_all("DEFAULT", "x"), ["1", "2", "3"]);
    }

    #[test]
    fn an_indented_line_goes_on_with_the_value_above() {
        let config = Config::from_text("[DEFAULT]\nlist = a,\n    b,\n    c\nhost = h\n").unwrap();
        assert_eq!(config.list("DEFAULT", "list", &[]), ["a", "b", "c"]);
        assert_eq!(config.get("DEFAULT", "host").as_deref(), Some("h"));
    }

    #[test]
    fn a_hash_inside_a_value_is_part_of_it() {
        let text = "# a comment\n[database]\n; another\nconnection = mysql://u:p#1@h/nova\n";
        let config = Config::from_text(text).unwrap();
        assert_eq!(config.get("database", "connection").as_deref(), Some("mysql://u:p#1@h/nova"));
    }

    #[test]
    fn a_dollar_name_refers_to_the_same_group_then_to_default() {
        let config = Config::from_text(
            "[DEFAULT]\nstate_path = /var\nloop = $loop\n[libvirt]\ndir = ${state_path}/x\nprice = $$5 $none\n",
        )
        .unwrap();
        assert_eq!(config.get("libvirt", "dir").as_deref(), Some("/var/x"));
        assert_eq!(config.get("libvirt", "price").as_deref(), Some("$5 $none"));
        assert_eq!(config.get("DEFAULT", "loop").as_deref(), Some("$loop"));
    }

    #[test]
    fn the_environment_wins() {
        let mut values = Values::new();
        merge(&mut values, "[quota]\ninstances = 1\n").unwrap();
        let environment = [("OS_QUOTA__INSTANCES".to_owned(), "7".to_owned())];
        merge_environment(&mut values, environment.into_iter());
        let config = Config { values: Arc::new(values), ..Config::default() };
        assert_eq!(config.parse("quota", "instances", 10).unwrap(), 7);
    }

    #[test]
    fn a_named_file_is_looked_for_beside_the_configuration_then_in_the_other_places() {
        let dirs = [(); 2].map(|()| std::env::temp_dir().join(format!("kilonova-{}", uuid::Uuid::new_v4())));
        for dir in &dirs {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("nova.conf"), "").unwrap();
        }
        let config = Config::load(&[dirs[0].join("nova.conf")], &[]).unwrap().with_place(&dirs[1]);
        std::fs::write(dirs[1].join("a"), "").unwrap();
        assert_eq!(config.find_file("a"), Some(dirs[1].join("a")));
        std::fs::write(dirs[0].join("a"), "").unwrap();
        assert_eq!(config.find_file("a"), Some(dirs[0].join("a")));
        assert_eq!(config.find_file(dirs[1].join("a").to_str().unwrap()), Some(dirs[1].join("a")));
        assert_eq!(config.find_file("b"), None);
        assert_eq!(Config::empty().find_file("nova.conf"), None);
        dirs.iter().for_each(|dir| std::fs::remove_dir_all(dir).unwrap());
    }

    #[test]
    fn a_default_gives_way_to_what_is_set() {
        let config = Config::from_text("[quota]\ncores = 3\n").unwrap();
        let config = config.with_default("quota", "cores", "5").with_default("quota", "ram", "7");
        assert_eq!((config.get("quota", "cores"), config.get("quota", "ram")), (Some("3".into()), Some("7".into())));
    }

    #[test]
    fn a_value_that_does_not_fit_names_its_option() {
        let config = Config::from_text("[quota]\ncores = many\n").unwrap();
        let message = config.parse::<i64>("quota", "cores", 1).unwrap_err().to_string();
        assert!(message.starts_with("[quota] cores: \"many\""), "{message}");
    }
}
